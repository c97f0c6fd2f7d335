"""The penalised log likelihood of logistic models in scaled coordinates, with a proved error of its gradient.

Column j of X is divided by 2**exponents[j], so that |x_j| <= 1, and its coefficient multiplied by it: all of that is
exact. Parameters v are of shape (k, d + 1), the intercept last: k = 1 for two classes, else one row a class. The
objective is

    F(v) = sum_i weight_i loss_i(v) + sum_j penalty_j |v_j|^2 / 2 + sum_j (sum_l v_lj)^2 / 2,

the last for k > 1 alone. The likelihood does not change when all classes move together, so at a minimum with penalties
the coefficients of a column sum to zero already; without one, the last term chooses the minimum where they do.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from skunlearn._linalg import _likelihood as kernels
from skunlearn._linalg import _likelihood_dd as precise_kernels
from skunlearn._linalg import _passes as fused_kernels
from skunlearn._linalg.scales import SMALLEST_EXPONENT
from skunlearn.rows import CsrRows

__all__ = ["LabelledRows", "Likelihood", "weighted_gram", "wipe"]

_U = 2.0**-53
#: Above all that underflow takes away: errors below the root of the smallest number have squares of 0.
_FLOOR = 2.0**-400
#: Rows whose curvature is computed at a time.
_BLOCK_ROWS = 4096


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Rows of a weight above 0.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features) or CsrRows
        Values.
    labels : ndarray of shape (n_rows,), int32
        Classes as 0, 1, ... in the order of their labels.
    weight : ndarray of shape (n_rows,), float64
        Weights.
    """

    X: Any
    labels: np.ndarray
    weight: np.ndarray


Blocks = Callable[[], Iterator[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Likelihood:
    """The objective F on the rows that `blocks` makes a pass over.

    Parameters
    ----------
    blocks : callable
        Returns an iterator of `LabelledRows`.
    n_rows : int
        How many rows they are at most.
    n_scores : int
        1 for two classes of which one has score 0, else the number of classes.
    exponents : ndarray of shape (n_features,), int32
        Scales of the columns.
    penalty : ndarray of shape (n_features + 1,)
        Penalties in scaled coordinates.
    has_intercept : bool
        If not, the last column of v is zero and stays there.
    column_norms : ndarray of shape (n_features + 1,)
        Bounds of the norms of the scaled columns.
    """

    blocks: Blocks
    n_rows: int
    n_scores: int
    exponents: np.ndarray
    penalty: np.ndarray
    has_intercept: bool
    column_norms: np.ndarray

    #: Curvatures of rows change by no more than exp of this times the change of their scores.
    bend: ClassVar[float] = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of v."""
        return self.n_scores, len(self.exponents) + 1

    @property
    def used(self) -> np.ndarray:
        """Which of the entries of v, in C order, are free to move; those of columns that count as zero are zero."""
        mask = np.ones(self.shape, dtype=bool)
        mask[:, :-1] = self.exponents > SMALLEST_EXPONENT
        mask[:, -1] = self.has_intercept
        return mask.ravel()

    def gradient(self, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the gradient at v, how far each of its entries may be off, and F, about."""
        if self._is_fused:
            return self.gradient_and_change(v, v)[:3]
        k, p = self.shape
        levels, counts = np.zeros((kernels.N_LEVELS, k, p)), np.zeros(kernels.N_LEVELS, dtype=np.int64)
        sums, scratch, n_additions = np.zeros(k + 1), np.empty((4, k)), kernels.n_additions(self.n_rows)
        for rows in self.blocks():
            self._add_gradient(rows, v, levels, counts, sums, scratch, n_additions)
        gradient = levels[0]
        for level in levels[1:]:
            gradient = gradient + level
        pull = self.pull(v)
        errors = 1.02 * _U * (np.sqrt(sums[:k, None]) + _FLOOR) * self.column_norms
        total = gradient + pull
        errors += (k + 4) * _U * (self.penalty * np.abs(v) + self._common_penalty * np.abs(v).sum(axis=0))
        errors += 2 * _U * np.abs(total)
        loss = sums[k] + (self.penalty * np.square(v)).sum() / 2
        return total, errors, float(loss + (self._common_penalty * np.square(v.sum(axis=0))).sum() / 2)

    def _add_gradient(self, rows: Any, v: np.ndarray, *sums: Any) -> None:
        """Add what rows contribute to a gradient: into the tree of sums, how full its levels are, errors and loss."""
        levels, counts, errors, scratch, n_additions = sums
        rest: Any = (rows.labels, rows.weight, self.scale, v, levels, counts, errors, scratch, n_additions)
        if isinstance(rows.X, CsrRows):
            kernels.add_gradient_csr(*rows.X, *rest)
        else:
            kernels.add_gradient_dense(rows.X, *rest)

    def gradient_and_change(
        self, v: np.ndarray, since: np.ndarray, *, tight: bool = False
    ) -> tuple[np.ndarray, np.ndarray, float, float]:
        """Return the same, and how far a score changes at most from `since` to v: infinite if that is not measured.

        A tight pass takes longer, and says more exactly what the gradient is; without `has_tight_pass` it is no other.
        """
        if not self._is_fused:
            return *self.gradient(v), np.inf
        change, d = (v - since)[0], len(self.exponents)
        coef = np.stack([v[0], change])
        coef[:, :-1] *= self.scale
        gradient, sums = np.zeros((2, d + 1)), np.zeros(3)
        pairs, interleaved = np.ascontiguousarray(coef.T), np.zeros((d + 1, 2))
        for rows in self.blocks():
            if isinstance(rows.X, CsrRows):
                fused_kernels.add_gradient_csr(*rows.X, rows.labels, rows.weight, pairs, interleaved, sums, tight)
            else:
                fused_kernels.add_gradient_dense(rows.X, rows.labels, rows.weight, coef, gradient, sums, tight)
        high, low = gradient + interleaved.T
        unpenalised = high + low
        unpenalised[:-1] *= self.scale
        total, pull = unpenalised + self.penalty * v, self.penalty * np.abs(v)
        # What additions rounded away is itself rounded, at most once a row: the last term of the first line.
        relative = 1.02 + (self.n_rows * _U) ** 2 / _U
        errors = relative * _U * (np.sqrt(sums[:1, None]) + _FLOOR) * self.column_norms
        errors += 2 * _U * pull + 2 * _U * np.abs(total)
        loss = float(sums[1] + (self.penalty * np.square(v)).sum() / 2)
        return total, errors, loss, float(sums[2] + (d + 4) * _U * np.abs(change).sum())

    @property
    def has_tight_pass(self) -> bool:
        """Whether there is a pass between the one in float64 and the one in double-doubles."""
        return self._is_fused

    @property
    def _is_fused(self) -> bool:
        """Whether `_passes` has the kernels; a likelihood of another loss has its own."""
        exponent = int(self.exponents.max(initial=0))
        return type(self) is Likelihood and self.n_scores == 1 and exponent <= fused_kernels.LARGEST_EXPONENT

    def precise_gradient(self, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradient at high + low as rational numbers, and how far each may be off."""
        k, p = self.shape
        coef = np.stack([high, low], axis=2)
        gradient, sums, scratch = np.zeros((k, p, 2)), np.zeros(k), np.empty((6, k))
        chain, relative = (p + 8) * 2.0**-98, 2.0**-89 + self.n_rows * 2.0**-99
        for rows in self.blocks():
            self._add_precise_gradient(rows, coef, chain, relative, gradient, sums, scratch)
        v = _fractions(high) + _fractions(low)
        total = _fractions(gradient[:, :, 0]) + _fractions(gradient[:, :, 1]) + _fractions(self.penalty) * v
        total += self._common_penalty * v.sum(axis=0)
        return total, 1.02 * (np.sqrt(sums[:, None]) + _FLOOR) * self.column_norms

    def _add_precise_gradient(self, rows: Any, coef: np.ndarray, *rest: Any) -> None:
        arguments: Any = (rows.labels, rows.weight, self.scale, coef, *rest)
        if isinstance(rows.X, CsrRows):
            precise_kernels.add_gradient_csr(*rows.X, *arguments)
        else:
            precise_kernels.add_gradient_dense(rows.X, *arguments)

    def pull(self, v: np.ndarray) -> np.ndarray:
        """Return what the penalties add to the gradient."""
        return self.penalty * v + self._common_penalty * v.sum(axis=0)

    @property
    def _common_penalty(self) -> int:
        return int(self.n_scores > 1)

    @property
    def scale(self) -> np.ndarray:
        """Powers of two by which the columns are multiplied."""
        return np.ldexp(1.0, -self.exponents)

    def hessian(self, v: np.ndarray) -> np.ndarray:
        """Return the Hessian of F at v, of shape (v.size, v.size)."""
        k, p = self.shape
        hessian = np.zeros((k, p, k, p))
        for rows in self.blocks():
            hessian += self.curvature(rows, v)
        diagonal = np.arange(p)
        for label in range(k):
            hessian[label, diagonal, label, diagonal] += self.penalty
        hessian[:, diagonal, :, diagonal] += self._common_penalty
        return hessian.reshape(k * p, k * p)

    def curvature(self, rows: LabelledRows, v: np.ndarray) -> np.ndarray:
        """Return what rows add to the Hessian, without the penalties, of shape (k, d + 1, k, d + 1)."""
        k, p = self.shape
        out = np.zeros((k, p, k, p))
        for X, shares, weight in self.shares(rows, v):
            if k == 1:
                out[0, :, 0] += weighted_gram(X, weight * shares[:, 0] * shares[:, 1])
                continue
            for one in range(k):
                for other in range(one):
                    gram = weighted_gram(X, weight * shares[:, one] * shares[:, other])
                    out[one, :, other] -= gram
                    out[other, :, one] -= gram
                    out[one, :, one] += gram
                    out[other, :, other] += gram
        return out

    def row_and_slope(self, rows: LabelledRows, v: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return x, scaled, and a of a single row whose curvature is a x x'; None with more than one score."""
        if self.n_scores > 1 or len(rows.labels) != 1:
            return None
        shares = self._probabilities(rows, v)
        return self._single(rows.X), float(rows.weight[0] * shares[0, 0] * shares[0, 1])

    def _single(self, X: Any) -> np.ndarray:
        """Return the scaled values of a single row, with a one."""
        x = np.zeros(len(self.exponents) + 1)
        if isinstance(X, CsrRows):
            x[X.indices] = np.ldexp(X.data.astype(np.float64), -self.exponents[X.indices])
        else:
            x[:-1] = np.ldexp(X[0].astype(np.float64), -self.exponents)
        x[-1] = 1.0
        return x

    def relative_error_of_curvature(self, n_rows: int, v: np.ndarray) -> float:
        """Bound the error of what `n_rows` rows add to entry j, k of the Hessian, relative to the root of what they add
        to j, j times what they add to k, k.

        A product of two probabilities is off by as much as exp of four times what scores are; the rest is the steps to
        and from it, and the sum.
        """
        k, p = self.shape
        of_scores = 4 * (p // kernels.N_LANES_OF_SCORE + 12) * float(np.abs(v).sum()) * _U
        return float(np.expm1(of_scores)) * 1.01 + (n_rows + 6 * k + 60) * 1.01 * _U

    def is_separated(self, loss: float) -> bool:
        """Whether `loss` proves that there is no minimum: no penalty, and every row is on its side of all boundaries.

        Then the loss of every row is less than its weight times ln 2, and only then need all of them be.
        """
        if self.penalty.any():
            return False
        lightest = min((float(rows.weight.min()) for rows in self.blocks()), default=0.0)
        return loss < 0.69 * lightest

    def shares(self, rows: LabelledRows, v: np.ndarray) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
        """Yield scaled values with a column of ones, probabilities of the classes, and weights."""
        shares = self._probabilities(rows, v)
        for start in range(0, len(rows.labels), _BLOCK_ROWS):
            chosen = slice(start, start + _BLOCK_ROWS)
            values = self.scaled(rows.X, chosen)
            yield values, shares[chosen], rows.weight[chosen]
            wipe(values)

    def _probabilities(self, rows: LabelledRows, v: np.ndarray) -> np.ndarray:
        k, _ = self.shape
        shares, scratch = np.empty((len(rows.labels), max(k, 2))), np.empty(k)
        if isinstance(rows.X, CsrRows):
            kernels.probabilities_csr(*rows.X, self.scale, v, shares, scratch)
        else:
            kernels.probabilities_dense(rows.X, self.scale, v, shares, scratch)
        return shares

    def scaled(self, X: Any, chosen: slice = slice(None)) -> Any:
        """Return scaled values as float64, with a column of ones."""
        if isinstance(X, CsrRows):
            d = len(self.exponents)
            matrix = sp.csr_array((X.data.astype(np.float64), X.indices, X.indptr), shape=(len(X.indptr) - 1, d))[
                chosen
            ]
            matrix.data = np.ldexp(matrix.data, -self.exponents[matrix.indices])
            return sp.hstack([matrix, np.ones((matrix.shape[0], 1))], format="csr")
        values = np.empty((len(X[chosen]), len(self.exponents) + 1))
        np.ldexp(X[chosen], -self.exponents, out=values[:, :-1], casting="unsafe")
        values[:, -1] = 1.0
        return values


def weighted_gram(X: Any, weight: np.ndarray) -> np.ndarray:
    """Return X' diag(weight) X."""
    if sp.issparse(X):
        return (X.T @ X.multiply(weight[:, None])).toarray()
    root = X * np.sqrt(weight)[:, None]
    gram = root.T @ root
    wipe(root)
    return gram


def wipe(X: Any) -> None:
    """Overwrite a copy of rows that is no longer needed."""
    (X.data if sp.issparse(X) else X).fill(0.0)


def _fractions(values: np.ndarray) -> np.ndarray:
    return np.array([Fraction(value) for value in values.ravel().tolist()], dtype=object).reshape(values.shape)
