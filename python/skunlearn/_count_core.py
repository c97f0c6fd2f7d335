"""Exact counts of the values of columns, for all that depends on which values there are and how often."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn.columns import CATEGORY_DTYPES, NAN, TableRows, is_missing, plain_value, to_json, value_key, value_order
from skunlearn.live import Core, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore

__all__ = ["BYTES_A_VALUE", "CountCore", "as_rows", "category_of", "dtypes_of"]

#: A counted value: its key twice, itself, its number, and two entries in dictionaries.
BYTES_A_VALUE = 300


def as_rows(X: Any, dtypes: Sequence[str]) -> TableRows:
    """Return the rows of a block as a table; numbers alone come as an array."""
    if isinstance(X, TableRows):
        return X
    if isinstance(X, CsrRows):
        X = sp.csr_array((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, len(dtypes)))
    return TableRows(X.toarray() if sp.issparse(X) else X, tuple(dtypes), (None,) * X.shape[1])


def dtypes_of(rows: RowStore) -> tuple[str, ...]:
    """Return the dtypes of the columns of a store."""
    return (rows.native.dtype,) * rows.native.n_features if rows.columns is None else rows.columns.dtypes


def category_of(value: Any) -> Any:
    """Return a value under which equal values meet: 1, 1.0 and True, and all that is NaN."""
    value = plain_value(value)
    return NAN if value is not None and is_missing(value) else value


def category_order(value: Any) -> tuple[int, Any]:
    """Return a sort key: numbers, bytes, text, None, NaN."""
    if is_missing(value):
        return 3, value is not None
    return (0 if isinstance(value, (bool, int, float)) else 1 + isinstance(value, str)), value


class CountCore(Core):
    """How many rows bear each value of each column: integers, so exact.

    Parameters
    ----------
    model_name : str
        Named in errors.
    dtypes : sequence of str
        Dtypes of the columns.
    """

    def __init__(self, model_name: str, dtypes: Sequence[str]) -> None:
        self._model_name = model_name
        self._dtypes = tuple(dtypes)
        #: How often a value has come to a column or left it with its last row: whether what is made of them is stale.
        self.n_changes = 0
        self._clear()

    def _clear(self) -> None:
        self.n_rows = 0
        self.n_changes += 1
        self.counts: list[dict[Any, int]] = [{} for _ in self._dtypes]
        self.values: list[dict[Any, Any]] = [{} for _ in self._dtypes]

    def _tallies(self, block: RowBlock) -> list[list[tuple[Any, Any, int]]]:
        """Return (key, value, number of rows) of every value of every column."""
        table = as_rows(block.X, self._dtypes)
        if len(table) == 1:
            return [[(value_key(v), v, 1)] for v in (table.distinct(j)[0][0] for j in range(table.shape[1]))]
        tallies = []
        for j in range(table.shape[1]):
            values, places = table.distinct(j)
            numbers = np.bincount(places, minlength=len(values)).tolist()
            tallies.append([(value_key(v), v, n) for v, n in zip(values, numbers, strict=True)])
        return tallies

    def _learn(self, block: RowBlock) -> None:
        self.n_rows += len(block)
        for j, tallies in enumerate(self._tallies(block)):
            counts, values = self.counts[j], self.values[j]
            n_before = len(values)
            for key, value, number in tallies:
                counts[key] = counts.get(key, 0) + number
                values.setdefault(key, value)
            self.n_changes += len(values) - n_before

    def _forget(self, block: RowBlock) -> None:
        self.n_rows -= len(block)
        for j, tallies in enumerate(self._tallies(block)):
            counts, values = self.counts[j], self.values[j]
            for key, _, number in tallies:
                counts[key] -= number
                if counts[key] == 0:
                    del counts[key], values[key]
                    self.n_changes += 1

    def _rebuild(self, owner: Owner) -> None:
        self._clear()
        for block in owner.effective_blocks():
            self._learn(block)

    def categories(self, j: int) -> list[tuple[Any, int]]:
        """Return categories in order and how many rows bear them; equal values of several types are one category."""
        if self._dtypes[j] not in CATEGORY_DTYPES:  # of one type, and of one order
            items = list(self.values[j].items())
            ascending = np.argsort(np.array([value for _, value in items], dtype=np.float64)).tolist()
            return [(items[i][1], self.counts[j][items[i][0]]) for i in ascending]
        merged: dict[Any, tuple[Any, int]] = {}
        ordered = sorted(self.values[j].items(), key=lambda item: value_order(item[1]))
        for key, value in ordered:
            first, number = merged.get(category_of(value), (category_of(value), 0))
            merged[category_of(value)] = first, number + self.counts[j][key]
        return sorted(merged.values(), key=lambda item: category_order(item[0]))

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the counts in the order of their values."""
        parts = [str(self.n_rows).encode()]
        for values, counts in zip(self.values, self.counts, strict=True):
            items = sorted(values.items(), key=lambda item: value_order(item[1]))
            parts.append(json.dumps([to_json([v for _, v in items]), [counts[key] for key, _ in items]]).encode())
        return parts

    def nbytes(self) -> int:
        """Return the size of the counts in bytes."""
        return BYTES_A_VALUE * sum(map(len, self.counts))
