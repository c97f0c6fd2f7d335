"""What estimators over exact first moments and squares share: the core that keeps them, and how they are read.

A read rounds once, from the exact integers: a mean is the float64 nearest to the quotient of two sums, a variance that
nearest to (S0 S2 - S1**2) / S0**2. Nothing cancels, and no variance is negative.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn._linalg.diagonal import DiagonalMoments
from skunlearn._linalg.moments import Rows
from skunlearn._linalg.solve import nearest_ratio
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, csr_rows

__all__ = ["ColumnSums", "MomentCore", "nearest_root", "total_of"]


@dataclass(frozen=True, slots=True)
class ColumnSums:
    """Exact sums over some rows; number j is an integer times a power of two.

    Parameters
    ----------
    weights : list of int
        Total weight of the rows, for each column, times 2**(2 * weight_shifts[j]).
    sums : list of int
        Weighted sums of the columns, times 2**(weight_shifts[j] + shifts[j]).
    squares : list of int
        Weighted sums of squares of the columns, times 2**(2 * shifts[j]).
    weight_shifts, shifts : list of int
        The scales.
    """

    weights: list[int]
    sums: list[int]
    squares: list[int]
    weight_shifts: list[int]
    shifts: list[int]

    def total_weight(self) -> float:
        """Return the float64 nearest to the total weight, where all columns have one; of the roots that are kept."""
        return nearest_ratio(self.weights[0], 1, -2 * self.weight_shifts[0])

    def means(self) -> np.ndarray:
        """Return the float64 nearest to each mean; 0 where there is no weight."""
        rows = zip(self.weights, self.sums, self.weight_shifts, self.shifts, strict=True)
        return np.array([nearest_ratio(s, w, a - b) if w else 0.0 for w, s, a, b in rows])

    def spreads(self) -> list[int]:
        """Return S0 S2 - S1**2 of each column: the variance times S0**2, in integers."""
        rows = zip(self.weights, self.sums, self.squares, strict=True)
        return [w * q - s * s for w, s, q in rows]

    def variances(self) -> np.ndarray:
        """Return the float64 nearest to each variance (ddof 0); 0 where there is no weight."""
        rows = zip(self.weights, self.spreads(), self.weight_shifts, self.shifts, strict=True)
        return np.array([nearest_ratio(v, w * w, 2 * (a - b)) if w else 0.0 for w, v, a, b in rows])

    def deviations(self) -> np.ndarray:
        """Return the float64 nearest to each root of a variance; finite also where that is too large."""
        rows = zip(self.weights, self.spreads(), self.weight_shifts, self.shifts, strict=True)
        return np.array([nearest_root(v, w * w, 2 * (a - b)) if w else 0.0 for w, v, a, b in rows])


def total_of(parts: Sequence[ColumnSums]) -> ColumnSums:
    """Return the sums over the rows of all parts, at least one, which are at the same scales."""
    weights, sums, squares = (
        [sum(column) for column in zip(*(getattr(part, name) for part in parts), strict=True)]
        for name in ("weights", "sums", "squares")
    )
    return ColumnSums(weights, sums, squares, parts[0].weight_shifts, parts[0].shifts)


class MomentCore(Core):
    """Exact first moments and squares of the rows, by class code where there are classes.

    Parameters
    ----------
    model_name : str
        Named in errors.
    n_features : int
        Columns of X.
    """

    def __init__(self, model_name: str, n_features: int) -> None:
        self._model_name = model_name
        self._n_features = n_features
        self._moments = self._new_moments()

    def _new_moments(self) -> DiagonalMoments:
        return DiagonalMoments(self._n_features)

    def _rows(self, X: Any, weight: np.ndarray | None, codes: np.ndarray | None) -> Rows:
        """Return rows as the engine takes them."""
        return Rows(X, weight=weight, codes=codes)

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that their weight makes infinite."""
        if incoming.weight is None:
            return
        X = incoming.X
        X = csr_rows(X) if sp.issparse(X) or isinstance(X, CsrRows) else np.ascontiguousarray(X)
        self._moments.check(self._rows(X, incoming.weight, None))

    def _learn(self, block: RowBlock) -> None:
        self._moments.learn(self._block_rows(block))

    def _forget(self, block: RowBlock) -> None:
        self._moments.forget(self._block_rows(block))

    def _rebuild(self, owner: Owner) -> None:
        self._moments.rebuild(lambda: self._all_rows(owner))

    def is_settled(self) -> bool:
        """Whether scales and sums are those of the rows."""
        return self._moments.is_settled

    def _settle(self, owner: Owner) -> None:
        self._moments.settle(lambda: self._all_rows(owner))

    def _all_rows(self, owner: Owner) -> Iterator[Rows]:
        return map(self._block_rows, owner.effective_blocks())

    def _block_rows(self, block: RowBlock) -> Rows:
        return self._rows(block.X, block.weight, None if block.y is None else block.y[:, 0].astype(np.intp))

    def _column_sums(self, code: int = 0) -> ColumnSums:
        """Return the sums over the rows of a code."""
        d = self._n_features
        of_weight, *shifts = self._moments.shifts.tolist()
        if self._moments.n_rows_of(code) == 0:
            return ColumnSums([0] * d, [0] * d, [0] * d, [of_weight] * d, shifts)
        (weight, *sums), (_, *squares) = self._moments.integers(code)
        return ColumnSums([weight] * d, sums, squares, [of_weight] * d, shifts)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and their scales, classes in the order of their labels."""
        codes = owner.codes.classes()[0].tolist()
        return self._moments.digest_parts(codes if len(owner.codes) else None)

    def nbytes(self) -> int:
        """Return the size of the sums in bytes."""
        return self._moments.nbytes()


def nearest_root(numerator: int, denominator: int, scale: int) -> float:
    """Return the float64 nearest to the root of numerator / denominator * 2**scale, ties to even."""
    if numerator == 0:
        return 0.0
    # 64 bits of the root and more, and whether any follow: enough to round once.
    excess = numerator.bit_length() - denominator.bit_length()
    shift = 2 * max(0, 66 - excess // 2)
    shift += (scale - shift) % 2
    quotient, rest = divmod(numerator << shift, denominator)
    root = math.isqrt(quotient)
    sticky = rest != 0 or root * root != quotient
    return nearest_ratio(2 * root + sticky, 1, (scale - shift) // 2 - 1)
