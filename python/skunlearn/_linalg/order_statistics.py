"""Exact order statistics of columns, under rows that come and go: extremes, medians, quantiles.

A sorted copy of every column would be the table once more. What is kept instead, for each quantile that is asked for,
is a *window*: some neighbours among the sorted values of a column, around the place of the quantile, and how many
values come before them. A row that comes or goes moves that place by at most one rank, so the window answers for many
rows; when the place has left it, one pass over the rows finds another. A value that goes has left the windows at once.

What a window holds depends on history; what is read of it does not, and nothing else is published, saved or hashed.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from skunlearn._linalg import _windows
from skunlearn.rows import CsrRows

__all__ = ["OrderStatistics", "interpolate"]

#: Cells of dense rows that are made of sparse ones at a time.
_DENSE_CELLS = 1 << 18
#: Bytes of columns that a pass copies out at a time; at least one column.
_COLUMN_BYTES = 1 << 26
_LOST = _windows.LOST

Blocks = Callable[[], Iterable[Any]]


class OrderStatistics:
    """Order statistics of the values of each column that are not NaN, at given quantiles.

    Rows are ndarrays of shape (n_rows, n_features) in C order, float64 or float32, or `CsrRows`, whose zeros count.
    Of equal values none is told from the other, and -0.0 reads as 0.0.

    Order of calls: `learn` and `forget` follow the rows in time that does not depend on how many there are. Where a
    window has been exhausted, that is left to `settle`, which passes over the rows. Everything that reads needs a
    settled engine.

    Parameters
    ----------
    n_features : int
        Number of columns.
    quantiles : sequence of float
        Numbers from 0 (the smallest value) to 1 (the largest).
    capacity : int, default=256
        Values of a window. With c of them, c / 2 deletions on one side of a quantile exhaust it; c**2 / 4 random ones.
    """

    def __init__(self, n_features: int, quantiles: Any, *, capacity: int = 256) -> None:
        self._n_features = n_features
        self._quantiles = np.array(quantiles, dtype=np.float64)
        self._capacity = capacity
        # A window at an end of the column is filled as the rows come by; for one in between they must be sorted first.
        self._has_extremes_only = bool(np.isin(self._quantiles, (0.0, 1.0)).all())
        self._clear()

    def _clear(self) -> None:
        """Hold no row."""
        shape = (self._n_features, len(self._quantiles))
        self._windows = np.zeros((*shape, self._capacity))
        self._sizes = np.zeros(shape, dtype=np.int64)
        self._below = np.zeros(shape, dtype=np.int64)
        self._counts = np.zeros(self._n_features, dtype=np.int64)

    # --- learning and forgetting -------------------------------------------------------------------------------------

    def learn(self, X: Any) -> None:
        """Take rows in."""
        if not (self._has_extremes_only or self._counts.any()):
            self._below.fill(_LOST)
        for dense in _dense(X, self._n_features):
            self._update(dense, 1)

    def forget(self, X: Any) -> None:
        """Take rows out; they were learned, with these values, and not forgotten since."""
        for dense in _dense(X, self._n_features):
            self._update(dense, -1)

    def _update(self, X: np.ndarray, sign: int) -> None:
        _windows.update(X, self._quantiles, self._windows, self._sizes, self._below, self._counts, sign)

    # --- settling ----------------------------------------------------------------------------------------------------

    @property
    def is_settled(self) -> bool:
        """Whether every window holds what is asked of it."""
        return not self._exhausted().any()

    def _exhausted(self) -> np.ndarray:
        """Return the columns that have a window from which the neighbours of its quantile are missing."""
        first, last, _ = self._places()
        is_held = (self._below != _LOST) & (first >= self._below) & (last < self._below + self._sizes)
        exhausted: np.ndarray = ~is_held.all(axis=1) & (self._counts > 0)
        return exhausted

    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the ranks before and behind each quantile, and how far it is from the first to the second."""
        top = np.maximum(self._counts - 1, 0)[:, None]
        place = self._quantiles * top
        first = np.minimum(np.floor(place), top).astype(np.int64)
        share = place - first
        return first, np.minimum(first + (share > 0), top), share

    def settle(self, blocks: Blocks, n_rows: int) -> None:
        """Find the values of exhausted windows, by passes over the `n_rows` live rows, which `blocks` makes."""
        columns = np.flatnonzero(self._exhausted())
        step = max(_COLUMN_BYTES // (8 * max(n_rows, 1)), 1)
        for start in range(0, len(columns), step):
            self._find_windows(columns[start : start + step], blocks, n_rows)

    def rebuild(self, blocks: Blocks, n_rows: int) -> None:
        """Start afresh from the `n_rows` live rows."""
        self._clear()
        if self._has_extremes_only:
            for X in blocks():
                self.learn(X)
            return
        self._counts.fill(n_rows)
        self._below.fill(_LOST)
        self.settle(blocks, n_rows)

    def _find_windows(self, columns: np.ndarray, blocks: Blocks, n_rows: int) -> None:
        values = np.empty((len(columns), n_rows))
        start = 0
        for X in blocks():
            for dense in _dense(X, self._n_features):
                values[:, start : start + len(dense)] = dense[:, columns].T
                start += len(dense)
        for j, column in zip(columns.tolist(), values, strict=True):
            is_missing = np.isnan(column)
            self._find_windows_of(j, column[~is_missing] if is_missing.any() else column)
        values.fill(0)

    def _find_windows_of(self, j: int, values: np.ndarray) -> None:
        n = len(values)
        self._counts[j] = n
        middles = np.floor(self._quantiles * max(n - 1, 0)).astype(np.int64)
        starts = np.clip(middles - (self._capacity - 1) // 2, 0, max(n - self._capacity, 0))
        stops = np.minimum(starts + self._capacity, n)
        self._windows[j] = 0.0
        self._below[j], self._sizes[j] = starts, stops - starts
        if n == 0:
            return
        values.partition(np.unique([starts, stops - 1]))
        for k, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
            self._windows[j, k, : stop - start] = np.sort(values[start:stop])

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def counts(self) -> np.ndarray:
        """How many values each column has that are not NaN."""
        return self._counts.copy()

    def neighbours(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the values before and behind each quantile, and how far it is from the first to the second.

        Returns
        -------
        before, behind : ndarray of shape (n_quantiles, n_features)
            Values of ranks floor(q (n - 1)) and ceil(q (n - 1)) of n; NaN where a column has no value.
        share : ndarray of shape (n_quantiles, n_features)
            The fractional part of q (n - 1).
        """
        if not self.is_settled:
            raise RuntimeError("The windows wait for a pass over the rows. Call settle first.")
        first, last, share = self._places()
        is_empty = (self._counts == 0)[:, None]
        rows = np.arange(self._n_features)[:, None]
        windows = np.arange(len(self._quantiles))
        ends = []
        for ranks in (first, last):
            held = self._windows[rows, windows, np.where(is_empty, 0, ranks - self._below)]
            ends.append(np.where(is_empty, np.nan, held + 0.0).T)  # -0.0 + 0.0 is 0.0
        return ends[0], ends[1], share.T

    def quantiles(self) -> np.ndarray:
        """Return the quantiles, (n_quantiles, n_features), linear between two values; NaN where there is none."""
        return interpolate(*self.neighbours())

    def digest_parts(self) -> list[bytes]:
        """Return counts and values in canonical form, free of history."""
        before, behind, _ = self.neighbours()
        parts = (self._counts.astype("<i8"), before.astype("<f8"), behind.astype("<f8"))
        return [part.tobytes() for part in parts]

    def nbytes(self) -> int:
        """Return the size of the windows in bytes."""
        return sum(part.nbytes for part in (self._windows, self._sizes, self._below, self._counts))


def interpolate(before: np.ndarray, behind: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return what lies `share` of the way from one number to another; it never leaves them, and no sum overflows."""
    is_apart = np.signbit(before) != np.signbit(behind)
    with np.errstate(over="ignore", invalid="ignore"):
        near = before + (behind - before) * share
    far = before * (1.0 - share) + behind * share
    between: np.ndarray = np.minimum(np.maximum(np.where(is_apart, far, near), before), behind)
    return between


def _dense(X: Any, n_features: int) -> Iterator[np.ndarray]:
    """Yield rows as they are, or runs of sparse ones made dense, which are wiped."""
    if not isinstance(X, CsrRows):
        yield X
        return
    step = max(_DENSE_CELLS // max(n_features, 1), 1)
    n_rows = len(X.indptr) - 1
    buffer = np.zeros((min(step, n_rows), n_features), dtype=X.data.dtype)
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        first, last = X.indptr[start], X.indptr[stop]
        at = np.repeat(np.arange(stop - start), np.diff(X.indptr[start : stop + 1])), X.indices[first:last]
        dense = buffer[: stop - start]
        dense[at] = X.data[first:last]
        yield dense
        dense[at] = 0.0
