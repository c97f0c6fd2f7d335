"""First moments and squares without the products of different columns: what needs O(d) a row instead of O(d**2)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from skunlearn._linalg import _diagonal, _moments
from skunlearn._linalg.class_sums import as_integers
from skunlearn._linalg.gram import WIDEN_BITS
from skunlearn._linalg.moments import SMALLEST_VALUE, Moments, Rows

__all__ = ["Diagonal", "DiagonalMoments", "MaskedMoments", "PairedMoments"]

#: Divides zero.
_ANY_POWER = 53


class Diagonal:
    """The sums of q_p q_j and q_j**2 over rows q of integers, exact: the sibling of `Gram`.

    Parameters
    ----------
    partners : ndarray of shape (n_columns,), int32
        The column p that each column j is multiplied with.
    bits : int
        Entries of q are at most 2**bits in magnitude.
    widen_bits : int, default=125
        Sums are kept in 128 bits until a sum of squares reaches 2**widen_bits, and in 192 from then on.

    Attributes
    ----------
    limbs : ndarray of shape (2 * n_columns, 2 or 3), int64
        The sums of products, then those of squares, lowest limb first.
    n_rows : int
        Rows in the sums.
    """

    __slots__ = ("_bits", "_partners", "_widen_bits", "limbs", "n_columns", "n_rows")

    def __init__(self, partners: np.ndarray, bits: int, widen_bits: int = WIDEN_BITS) -> None:
        self.n_columns = len(partners)
        self.n_rows = 0
        self.limbs = np.zeros((2 * self.n_columns, 2), dtype=np.int64)
        self._partners = partners
        self._bits = bits
        self._widen_bits = widen_bits

    def add_rows(self, Q: np.ndarray, sign: int, bits_in_use: np.ndarray | None = None) -> None:
        """Add rows, or take them away; set in `bits_in_use`, one a column, what bits their integers have."""
        bits = np.zeros(self.n_columns, dtype=np.int64) if bits_in_use is None else bits_in_use
        _diagonal.add_rows(Q, self._partners, self.limbs, sign, bits)
        if bits_in_use is None:
            bits.fill(0)  # it held a row
        self.widen_if_full()

    def add_columns(self, Q: np.ndarray, chosen: np.ndarray) -> None:
        """Add what rows contribute to the sums that columns in the mask `chosen` enter."""
        others = ~self._sums_of(chosen)
        kept = self.limbs[others]
        self.add_rows(Q, 1)
        self.limbs[others] = kept if kept.shape[1] == self.limbs.shape[1] else _widened(kept)

    def clear_columns(self, columns: np.ndarray) -> None:
        """Set the sums that columns enter to zero."""
        chosen = np.zeros(self.n_columns, dtype=bool)
        chosen[columns] = True
        self.limbs[self._sums_of(chosen)] = 0

    def _sums_of(self, chosen: np.ndarray) -> np.ndarray:
        return np.concatenate([chosen | chosen[self._partners], chosen])

    def rescale(self, powers: np.ndarray) -> None:
        """Multiply column j of Q by 2**powers[j], which the caller knows to be exact."""
        if powers.max() > 0 and self.n_rows << 2 * self._bits >= 1 << self._widen_bits:
            self.widen()
        _diagonal.rescale(self.limbs, self._partners, powers)

    def widen_if_full(self) -> None:
        """Widen once the squares say so; to be called at least every 2**16 rows."""
        if self.limbs.shape[1] == 2 and _diagonal.exceeds(self.limbs, self._widen_bits):
            self.widen()

    def widen(self) -> None:
        """Keep sums in 192 bits from now on."""
        self.limbs = self.wide_limbs()

    def wide_limbs(self) -> np.ndarray:
        """Return the sums in 192 bits, whatever they are kept in."""
        return self.limbs if self.limbs.shape[1] == 3 else _widened(self.limbs)


class _Adder:
    """Adds many rows to a `Diagonal`, and finds out what divides their integers; as `Slicer` does for a `Gram`."""

    def __init__(self, diagonal: Diagonal, sign: int) -> None:
        self._diagonal = diagonal
        self._sign = sign
        self._bits_in_use = np.zeros(diagonal.n_columns, dtype=np.int64)

    def add(self, Q: np.ndarray) -> None:
        """Add rows."""
        self._diagonal.add_rows(Q, self._sign, self._bits_in_use)

    def powers_of_two(self) -> np.ndarray:
        """Return for each column the exponent of a power of two that divides all its integers; after `close`."""
        return self._powers

    def close(self) -> None:
        """Take stock, and overwrite what came from rows."""
        lowest = self._bits_in_use & -self._bits_in_use
        exponents = np.frexp(np.maximum(lowest, 1).astype(np.float64))[1] - 1
        self._powers = np.where(lowest == 0, _ANY_POWER, exponents)
        self._bits_in_use.fill(0)


class DiagonalMoments(Moments):
    """Exact first moments and squares of [c | X | y], one `Diagonal` for each code of a row, at scales that all share.

    Rows, scales, widths, weights and the order of calls are those of `Moments`; what needs products of different
    columns cannot be read.

    Parameters
    ----------
    n_features, n_targets : int
        Columns of X and of y.
    partners : array-like of shape (1 + n_features + n_targets,), int, default=None
        With which column each is multiplied, where it is not column 0. No partner may have another one as partner.
    dtype : dtype, float64 or float32
        Of X; says how many bits a value keeps.
    widen_bits : int, default=125
        See `Diagonal`; lower in tests.
    """

    def __init__(
        self,
        n_features: int,
        n_targets: int = 0,
        *,
        partners: Any = None,
        dtype: Any = np.float64,
        widen_bits: int = WIDEN_BITS,
    ) -> None:
        super().__init__(n_features, n_targets, dtype=dtype, widen_bits=widen_bits)
        self._partners = np.zeros(self.n_columns, dtype=np.int32)
        if partners is not None:
            self._partners[:] = partners

    def _new_gram(self) -> Diagonal:
        return Diagonal(self._partners, self._bits, self._widen_bits)

    def _adder(self, gram: Any, unit_column: bool, sign: int = 1) -> _Adder:
        return _Adder(gram, sign)

    def _forget_one(self, rows: Rows) -> None:
        self._forget_many(rows)

    def integers(self, code: int = 0) -> list[list[int]]:
        """Return, as Python integers, the sums of q_p q_j and those of q_j**2."""
        both = as_integers(self.limbs(code))
        return [both[: self.n_columns], both[self.n_columns :]]

    def sums(self, code: int = 0) -> list[int]:
        """Return the sums of q_p q_j as Python integers: the total weight, and where p is 0 the sums of the columns."""
        return as_integers(self.limbs(code)[: self.n_columns])

    def squares(self, code: int = 0) -> list[int]:
        """Return the sums of q_j**2 as Python integers."""
        return as_integers(self.limbs(code)[self.n_columns :])


class MaskedMoments(DiagonalMoments):
    """Moments of columns that may miss values: those of a column are sums over the rows that have a value there.

    Z has the columns [c | x | p], with p_j = c where x_j is a number, and p_j = x_j = 0 where it is NaN. The partner of
    x_j is p_j, so the sum of p_j x_j over that of p_j**2 is the weighted mean of what is there.

    Parameters
    ----------
    n_features : int
        Columns of X.
    """

    def __init__(self, n_features: int) -> None:
        partners = np.zeros(1 + 2 * n_features, dtype=np.int32)
        partners[1 : 1 + n_features] = np.arange(1 + n_features, 1 + 2 * n_features)
        super().__init__(n_features, n_features, partners=partners)

    def _load(self, rows: Rows) -> Iterator[tuple[np.ndarray, int, np.ndarray | None]]:
        for Z, n_weighted, codes in super()._load(rows):
            values, present = Z[:, 1 : 1 + self._n_features], Z[:, 1 + self._n_features :]
            missing = np.isnan(values)
            present[:] = Z[:, :1]
            present[missing] = values[missing] = 0.0
            yield Z, n_weighted, codes

    def _raise_peaks(self, rows: Rows, peaks: np.ndarray) -> None:
        for Z, n_weighted, _ in self._load(rows):
            _moments.raise_peaks(Z, peaks)
            self._n_weighted += n_weighted


class PairedMoments(DiagonalMoments):
    """Moments of columns, and of each with one target, for rows without weights.

    Z has the columns [c | x | y | x'], where x' is x again and has y as partner.

    Parameters
    ----------
    n_features : int
        Columns of X.
    """

    def __init__(self, n_features: int) -> None:
        partners = np.zeros(2 + 2 * n_features, dtype=np.int32)
        partners[2 + n_features :] = 1 + n_features
        super().__init__(n_features, 1 + n_features, partners=partners)

    def _load(self, rows: Rows) -> Iterator[tuple[np.ndarray, int, np.ndarray | None]]:
        y, at = rows.y, 1 + self._n_features
        assert y is not None
        start = 0
        for Z, n_weighted, codes in super()._load(replace(rows, y=None)):
            target = y[start : start + len(Z), 0]
            Z[:, at] = np.where(np.abs(target) < SMALLEST_VALUE, 0.0, target)
            Z[:, at + 1 :] = Z[:, 1:at]
            start += len(Z)
            yield Z, n_weighted, codes

    def _raise_peaks(self, rows: Rows, peaks: np.ndarray) -> None:
        for Z, _, _ in self._load(rows):
            _moments.raise_peaks(Z, peaks)


def _widened(limbs: np.ndarray) -> np.ndarray:
    return np.concatenate([limbs, limbs[:, 1:] >> 63], axis=1)
