"""What scikit-learn's fitted estimators keep of rows, found by looking for a marked row in their pickles.

`python -m tests.retention` fits every estimator that a generic call can fit, and prints the two lists that stand in
`skunlearn._retention`, for the installed version.
"""

import pickle
import warnings
from typing import Any

import numpy as np
import sklearn
from sklearn.utils import all_estimators

N_ROWS, N_FEATURES = 120, 4
MARKED = 57


def marked_rows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positive rows, one of which has mantissas like no other number's; two classes; and its bytes."""
    rng = np.random.default_rng(29)
    X = rng.random((N_ROWS, N_FEATURES)) + 0.5
    return X, (X[:, 0] > 1.0).astype(int), X[MARKED].copy()


def what_is_kept(estimator: Any) -> str:
    """Return "rows", "one entry a row", "" or "not fitted", after fitting `estimator`."""
    X, y, row = marked_rows()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X, y)
        saved = pickle.dumps(estimator)
    except Exception:
        return "not fitted"
    if any(value.tobytes() in saved for value in row):
        return "rows"
    return "one entry a row" if has_entry_a_row(estimator) else ""


def has_entry_a_row(estimator: Any) -> bool:
    """Whether an attribute has as many entries as there were rows."""
    values = [value for name, value in vars(estimator).items() if name.endswith("_")]
    return any(getattr(value, "shape", ())[:1] == (N_ROWS,) for value in values)


def main() -> None:
    """Print the lists."""
    kept: dict[str, list[str]] = {}
    for name, Estimator in all_estimators():
        try:
            estimator = Estimator()
        except TypeError:
            continue
        kept.setdefault(what_is_kept(estimator), []).append(name)
    print(f"scikit-learn {sklearn.__version__}: {sum(map(len, kept.values()))} estimators")  # noqa: T201
    for what in ("rows", "one entry a row", "not fitted"):
        print(what, len(kept.get(what, [])), kept.get(what, []))  # noqa: T201


if __name__ == "__main__":
    main()
