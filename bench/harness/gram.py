"""What exactness costs a fit: Gram matrices in integers against plain BLAS, and whole fits against scikit-learn's."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg.blas import dsyrk
from sklearn.base import clone

from harness.datasets import Table
from harness.forgetting import Say, Sizes
from harness.records import measurement
from harness.sampling import Samples, interleaved, quiet
from skunlearn._linalg.moments import Moments, Rows

__all__ = ["measure_gram"]

#: Of the norms of two columns, what their sums of products may differ by.
_RELATIVE_ERROR = 1e-9


def measure_gram(estimator: Any, table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time exact sums of the rows of a model, dsyrk on the same rows as a dense table, and fits of both libraries."""
    model = clone(estimator).fit(table.X, table.y)
    blocks = [Rows(block.X, block.y) for block in model._live.effective_blocks()]
    moments = Moments(table.X.shape[1], 1)
    dense = np.asfortranarray((table.X.toarray() if sp.issparse(table.X) else table.X).T)
    calls = {
        ("skunlearn", "gram"): partial(moments.rebuild, lambda: blocks),
        ("BLAS", "gram"): partial(dsyrk, 1.0, dense),
        ("skunlearn", "fit"): lambda: clone(estimator).fit(table.X, table.y),
        ("scikit-learn", "fit"): partial(_refit, model.release(), table),
    }
    say(f"sums and fits of {len(table.y):,} rows, {sizes.n_rounds} rounds in turns")
    samples = {arm: Samples() for arm in calls}
    for i, arm in interleaved(list(calls), sizes.n_rounds + 1):
        with quiet():
            (samples[arm] if i else Samples()).time(calls[arm])
    return {
        "case": {
            "data": table.name,
            "sha256": table.sha256(),
            "n": len(table.y),
            "d": int(table.X.shape[1]),
            "layout": "csr" if sp.issparse(table.X) else "dense",
            "parameters": {"estimator": type(estimator).__name__},
            "seed": 0,
        },
        "measurements": [
            measurement(name, operation, taken, rows_per_call=len(table.y))
            for (name, operation), taken in samples.items()
        ],
        "checks": list(_checks(moments, dense)),
    }


def _refit(peer: Any, table: Table) -> None:
    clone(peer).fit(table.X, table.y)


def _checks(moments: Moments, transposed: np.ndarray) -> Iterator[str]:
    """Yield what holds: both arms have summed the same products.

    Raises
    ------
    AssertionError
        If they have not: then a comparison means nothing.
    """
    high, _ = moments.products()
    scales = np.ldexp(1.0, -moments.shifts)
    exact = (high * scales * scales[:, None])[1 : 1 + len(transposed), 1 : 1 + len(transposed)]
    plain = transposed @ transposed.T
    roots = np.sqrt(plain.diagonal())
    if not (np.abs(exact - plain) <= _RELATIVE_ERROR * roots * roots[:, None]).all():
        raise AssertionError("The exact Gram matrix and that of BLAS differ by more than rounding.")
    yield "the Gram matrices of both arms agree to rounding"
