"""Real tables, where they are (SKUNLEARN_DATA, else ../shared/data), as numbers."""

import functools
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest


def _folder():
    return Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def load(name):
    """Return X, y of a table as its loader gives them, or skip."""
    folder = _folder()
    if not any(folder.glob(f"{name}*.[pn][aip][rz]*")):
        pytest.skip(f"{name} is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(name)[:2]


@functools.cache
def adult_one_hot():
    """Return Adult as 6 numbers of the unit interval, rounded in their last place, and one column a category."""
    X, y = load("adult")
    import pandas as pd

    numbers = X.select_dtypes("number").astype(np.float64)
    numbers = (numbers - numbers.min()) / (numbers.max() - numbers.min())
    codes = pd.get_dummies(X.select_dtypes(exclude="number").astype(str), dtype=np.float64)
    return np.ascontiguousarray(np.column_stack([numbers, codes])), np.asarray(y)


def numeric(name, n_rows=20_000):
    """Return the standardised numeric columns of a table: rows without missing values, columns that vary; and y."""
    X, y = load(name)
    X = X.toarray() if hasattr(X, "toarray") else X.select_dtypes("number").astype(np.float64).to_numpy()
    kept = np.random.default_rng(0).permutation(np.flatnonzero(~np.isnan(X).any(axis=1)))[:n_rows]
    X, y = X[kept], np.asarray(y)[kept]
    X = X[:, X.std(axis=0) > 0]
    return (X - X.mean(axis=0)) / X.std(axis=0), y
