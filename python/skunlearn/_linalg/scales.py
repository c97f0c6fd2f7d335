"""Binades of the largest magnitudes of columns: a function of the live rows that changes rarely."""

from typing import Any

import numpy as np

from skunlearn.rows import CsrRows

__all__ = ["SMALLEST_EXPONENT", "ColumnScales"]

#: The exponent of columns that count as zero: all their magnitudes are below the power of two of it.
SMALLEST_EXPONENT = -150


class ColumnScales:
    """Exponents e_j with 2**(e_j - 1) <= max|x_j| < 2**e_j, and how many rows are in that top binade.

    Attributes
    ----------
    exponents : ndarray of shape (n_features,), int32
        At least `SMALLEST_EXPONENT`.
    """

    def __init__(self, n_features: int) -> None:
        self.exponents = np.full(n_features, SMALLEST_EXPONENT, dtype=np.int32)
        self._n_top = np.zeros(n_features, dtype=np.int64)

    def learn(self, X: Any) -> None:
        """Take rows in."""
        exponents, columns = _exponents(X)
        tops = np.full_like(self.exponents, SMALLEST_EXPONENT)
        np.maximum.at(tops, columns, exponents)
        raised = tops > self.exponents
        self._n_top[raised] = 0
        self.exponents = np.where(raised, tops, self.exponents).astype(np.int32)
        self._n_top += self._count(exponents, columns)

    def forget(self, X: Any) -> None:
        """Take rows out that were taken in."""
        self._n_top -= self._count(*_exponents(X))

    def _count(self, exponents: np.ndarray, columns: np.ndarray) -> np.ndarray:
        top = columns[exponents == self.exponents[columns]]
        return np.bincount(top, minlength=len(self.exponents))

    @property
    def is_loose(self) -> bool:
        """Whether a column lost all rows of its top binade, so that a pass has to find the next one."""
        return bool((self._n_top[self.exponents > SMALLEST_EXPONENT] == 0).any())


def _exponents(X: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the exponents of the values that are not small, and in which columns they are."""
    values, columns = (X.data, X.indices) if isinstance(X, CsrRows) else (X, None)
    exponents = np.frexp(values)[1]
    counted = (exponents > SMALLEST_EXPONENT) & (values != 0)
    if columns is None:
        return exponents[counted], np.nonzero(counted)[1]
    return exponents[counted], columns[counted]
