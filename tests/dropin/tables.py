"""Real tables of the scripts, small; a script skips where the data folder lacks its table."""

import numpy as np
from tests.acceptance.data import load


def adult(n_rows):
    """Return people of Adult as a frame with text and numbers, some of them missing, and whether they earn much."""
    X, y = load("adult")
    rows = np.random.default_rng(0).permutation(len(y))[:n_rows]
    X = X.iloc[rows].reset_index(drop=True)
    text = X.select_dtypes("category").columns
    return X.astype(dict.fromkeys(text, object)).astype({"age": float, "hours_per_week": float}), np.asarray(y)[rows]


def messages(n_rows):
    """Return short messages and whether they are spam."""
    X, y = load("sms_spam")
    rows = np.random.default_rng(0).permutation(len(y))[:n_rows]
    return X.to_numpy(dtype=object)[rows], (np.asarray(y)[rows] == "spam").astype(int)


def houses(n_rows):
    """Return blocks of houses, with numbers and one column of text, and their median value in 100,000."""
    X, y = load("california_housing")
    rows = np.random.default_rng(0).permutation(len(y))[:n_rows]
    X = X.iloc[rows].reset_index(drop=True)
    text = X.columns[
        [dtype.kind not in "fiu" for dtype in map(np.asarray, (X[c] for c in X)) for dtype in [dtype.dtype]]
    ]
    return X.astype(dict.fromkeys(text, object)), y[rows] / 1e5
