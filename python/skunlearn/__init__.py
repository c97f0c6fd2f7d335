"""scikit-learn estimators that can forget.

Every estimator is scikit-learn's of the same name with one more method: ``partial_forget(sample_ids)`` takes rows out
of a fitted model, fast, and under a guarantee that a test can check.
"""

import _unlearn_native._native as _native

from skunlearn._version import __version__

#: What this package was written against; an integer says what is incompatible, where a version only says what is new.
_ABI = 3
if _native.ABI != _ABI:
    raise ImportError(
        f"skunlearn {__version__} needs the native half with ABI {_ABI} and found ABI {_native.ABI}. Install both from "
        "one source: pip install ./unlearn_native ."
    )

from skunlearn.digest import reference_fit, state_digest  # noqa: E402  (after the check that the native half fits)
from skunlearn.forgetting import ForgetPlan, ForgetReceipt, can_forget, forget  # noqa: E402
from skunlearn.guarantee import Guarantee  # noqa: E402
from skunlearn.key import Key  # noqa: E402

__all__ = [
    "ForgetPlan",
    "ForgetReceipt",
    "Guarantee",
    "Key",
    "__version__",
    "can_forget",
    "forget",
    "reference_fit",
    "state_digest",
]
