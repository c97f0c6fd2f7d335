"""Tables to forget from: bundled with scikit-learn, generated, or files of the folder in SKUNLEARN_DATA."""

import hashlib
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import load_diabetes, load_digits

__all__ = [
    "Table",
    "arrays_of",
    "binary",
    "categorical",
    "classification",
    "clustering",
    "even_or_odd",
    "labelled",
    "late_flights",
    "missing_file",
    "mixed",
    "ordinal",
    "regression",
    "sparse_binary",
]

ROOT = Path(__file__).resolve().parents[2]
FILES = {
    "a9a": "a9a_csr.npz",
    "adult": "adult.parquet",
    "bank_marketing": "bank_marketing.parquet",
    "bike_hour": "bike_hour.parquet",
    "california_housing": "california_housing.parquet",
    "ccpp": "ccpp.parquet",
    "covtype_15k": "covtype_15k.parquet",
    "diabetes130": "diabetes130.parquet",
    "fertility254k": "fertility254k.parquet",
    "flchain": "flchain.parquet",
    "higgs_7500": "higgs_7500.parquet",
    "kddcup99_10pct": "kddcup99_10pct.parquet",
    "lending_club": "lending_club.parquet",
    "letter": "letter.parquet",
    "mpls_stops": "mpls_stops.parquet",
    "mnist": "mnist.npz",
    "mushroom": "mushroom.parquet",
    "nycflights13": "nycflights13.parquet",
    "online_shoppers": "online_shoppers.parquet",
    "satellite": "satellite.parquet",
}


@dataclass(frozen=True)
class Table:
    """Rows and targets as they are fed to every arm."""

    name: str
    X: Any
    y: np.ndarray

    def sha256(self) -> str:
        """Return the hash of the bytes of X and y."""
        digest = hashlib.sha256()
        labels = self.y if self.y.dtype != object else self.y.astype(str)
        for array in (*arrays_of(self.X), labels):
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def arrays_of(X: Any) -> tuple[np.ndarray, ...]:
    """Return the arrays that a table consists of."""
    return (X.indptr, X.indices, X.data) if sp.issparse(X) else (X,)


def folder() -> Path:
    """Return where the files are: the folder in SKUNLEARN_DATA, else shared/data beside the project."""
    named = os.environ.get("SKUNLEARN_DATA")
    return Path(named) if named else ROOT.parent / "shared" / "data"


def missing_file(name: str) -> str | None:
    """Return why a table cannot be loaded, or None if it can."""
    if name not in FILES or (folder() / FILES[name]).exists():
        return None
    return f"{FILES[name]} is not in the data folder (SKUNLEARN_DATA, else ../shared/data)"


def binary(name: str) -> Table:
    """Return a table for models of binary features: what is above their threshold counts as 1."""
    if name in _NUMBERS:
        X, y = _NUMBERS[name]()
        return Table(name, X.astype(np.float64), y)
    if name == "a9a":
        X, y = _load(name)
        return Table(name, sp.csr_array(X), y)
    frame, y = _load(name)
    codes = _codes(frame, n_bins=5)
    n_categories = codes.max(axis=0) + 1
    columns = codes + np.concatenate([[0], np.cumsum(n_categories)[:-1]])
    indptr = np.arange(0, codes.size + 1, codes.shape[1])
    X = sp.csr_array((np.ones(codes.size), columns.ravel(), indptr), shape=(len(codes), int(n_categories.sum())))
    X.indices = X.indices.astype(np.int32)
    X.indptr = X.indptr.astype(np.int32)
    # The large table stays sparse: written out, four of five of its entries would be zeros.
    return Table(name, X if name == "kddcup99_10pct" else X.toarray(), y)


def categorical(name: str) -> Table:
    """Return a table of categories 0, 1, ...; numbers are cut into ten bins of equal counts."""
    if name in _NUMBERS:
        X, y = _NUMBERS[name]()
        return Table(name, X.astype(np.int64), y)
    frame, y = _load(name)
    return Table(name, _codes(frame, n_bins=10), y)


def labelled(name: str) -> Table:
    """Return a table of numbers as they are, and class labels."""
    X, y = _NUMBERS[name]()
    return Table(name, X.astype(np.float64), y)


def ordinal(name: str) -> Table:
    """Return a table for trees: numbers as they are, NaN where missing; categories in the order of their names."""
    if name in _NUMBERS:
        X, y = _NUMBERS[name]()
        return Table(name, X.astype(np.float64), y)
    frame, y = _load(name)
    columns = []
    for column in frame.columns:
        values = frame[column]
        if values.dtype.kind in "iuf":
            columns.append(values.to_numpy(dtype=np.float64))
        else:
            codes = np.unique(values.astype(str).to_numpy(dtype=str), return_inverse=True)[1].astype(np.float64)
            columns.append(np.where(values.isna(), np.nan, codes))
    return Table(name, np.column_stack(columns), y)


def mixed(name: str, most_rows: int) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """Return rows of a file as a frame of numbers and names, targets, and whose rows they are, if anybody's.

    Of a longer table some data subjects are drawn, with all of their rows.
    """
    frame, y, subjects = _load_with_subjects(name)
    owners = (
        np.arange(len(y)) if subjects is None else np.unique(np.asarray(subjects).astype(str), return_inverse=True)[1]
    )
    order = np.random.default_rng(0).permutation(owners.max() + 1)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.cumsum(np.bincount(owners)[order])
    kept = rank[owners] <= most_rows
    frame = frame[kept].reset_index(drop=True)
    frame = frame.drop(columns=[name for name in ("tailnum",) if name in frame])
    texts = frame.select_dtypes(exclude="number").columns
    frame = frame.astype(dict.fromkeys(texts, object))
    frame[texts] = frame[texts].where(frame[texts].notna(), "missing").astype(str)
    return frame, y[kept], None if subjects is None else owners[kept]


def late_flights(name: str) -> Table:
    """Return the columns of nycflights13 with two classes: late by more than a quarter of an hour, or not."""
    table = ordinal(name)
    return Table(name, table.X, (table.y > 15).astype(np.int64))


def classification(name: str) -> Table:
    """Return a table for linear classifiers: numbers scaled to at most 1, or one-hot columns."""
    table = binary(name)
    return Table(name, table.X / np.abs(table.X).max(axis=0).clip(1e-300), table.y) if name in _NUMBERS else table


def sparse_binary(name: str) -> Table:
    """Return the table of `binary` in compressed sparse rows."""
    table = binary(name)
    return Table(name, sp.csr_array(table.X), table.y)


def even_or_odd(name: str) -> Table:
    """Return the first 60,000 images of MNIST, values in [0, 1], and whether their digits are odd."""
    with np.load(folder() / FILES[name]) as arrays:
        X, y = arrays["X"][:60_000], arrays["y"][:60_000].astype(np.int64)
    return Table(name, X.reshape(len(X), -1).astype(np.float64) / 255, y % 2)


def regression(name: str) -> Table:
    """Return a table of numbers and a numerical target; columns are centred and scaled, but for those of codes."""
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
    elif name == "onehot_1e5":
        return _one_hot(100_000)
    elif name in _NUMBERS:
        X, _ = _NUMBERS[name]()
        rng = np.random.default_rng(1)
        y = X @ rng.normal(size=X.shape[1]) + rng.normal(size=len(X))
    else:
        X, y = _complete_numbers(name)
        y = y.astype(np.float64)
    return Table(name, (X - X.mean(axis=0)) / X.std(axis=0), y)


def clustering(name: str) -> Table:
    """Return a table of numbers: digits as they are, else columns that vary, centred and scaled to unit variance."""
    if name == "digits":
        return Table(name, *_digits())
    X, y = _NUMBERS[name]() if name in _NUMBERS else _complete_numbers(name)
    X = X[:, X.std(axis=0) > 0]
    return Table(name, (X - X.mean(axis=0)) / X.std(axis=0), y)


def _complete_numbers(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the numerical columns of a file, and its targets, without the rows that lack a number."""
    frame, y = _load(name)
    frame = frame.select_dtypes("number")
    kept = frame.notna().all(axis=1).to_numpy()
    return frame.to_numpy(dtype=np.float64)[kept], y[kept]


def _digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X, y


def _generated(n_rows: int) -> Callable[[], tuple[np.ndarray, np.ndarray]]:
    """Return a maker of n_rows x 30 integers from 0 to 8 that lean on one of two classes."""

    def make() -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        y = rng.integers(0, 2, n_rows)
        return rng.integers(0, 8, (n_rows, 30)) + y[:, None] * rng.integers(0, 2, (n_rows, 30)), y

    return make


def _normal(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return n_rows x 100 normal numbers: every digit of a float64 is in use."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(n_rows, 100)), rng.integers(0, 2, n_rows)


def _one_hot(n_rows: int) -> Table:
    """Return n_rows x 105 codes as CSR, 14 of them 1 in a row, with a target that depends on them."""
    rng = np.random.default_rng(0)
    n_levels = np.array([8] * 13 + [1])
    columns = rng.integers(0, n_levels, (n_rows, 14)) + np.concatenate([[0], np.cumsum(n_levels)[:-1]])
    indptr = np.arange(0, columns.size + 1, 14, dtype=np.int32)
    X = sp.csr_array((np.ones(columns.size), columns.ravel().astype(np.int32), indptr), shape=(n_rows, 105))
    return Table("onehot_1e5", X, X @ rng.normal(size=105) + rng.normal(size=n_rows))


_NUMBERS = {
    "digits": _digits,
    "generated_1e4": _generated(10_000),
    "generated_1e5": _generated(100_000),
    "generated_1e6": _generated(1_000_000),
    "normal_1e5": lambda: _normal(100_000),
}


def _load(name: str) -> tuple[Any, np.ndarray]:
    X, y, _ = _load_with_subjects(name)
    return X, y


def _load_with_subjects(name: str) -> tuple[Any, np.ndarray, Any]:
    """Call `load` of the data folder's own load.py."""
    spec = importlib.util.spec_from_file_location("_skunlearn_data_load", folder() / "load.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X, y, subjects = module.load(name)
    return X, np.asarray(y), subjects


def _codes(frame: Any, n_bins: int) -> np.ndarray:
    """Return every column of a frame as integers from 0; a missing value is a category of its own."""
    codes = np.empty(frame.shape, dtype=np.int64)
    for j, name in enumerate(frame.columns):
        column = frame[name]
        if column.dtype.kind in "iuf":
            values = column.to_numpy(dtype=np.float64)
            edges = np.unique(np.nanquantile(values, np.linspace(0, 1, n_bins + 1)[1:-1]))
            binned = np.searchsorted(edges, values, side="left")
            codes[:, j] = np.unique(np.where(np.isnan(values), len(edges) + 1, binned), return_inverse=True)[1]
        else:
            codes[:, j] = np.unique(column.astype(object).where(column.notna(), "").astype(str), return_inverse=True)[1]
    return codes
