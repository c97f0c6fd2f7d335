"""A penalised sum of losses of one score, in scaled coordinates: what `Likelihood` is for labels, for any `Loss`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from skunlearn._linalg import _likelihood as row_kernels
from skunlearn._linalg import _likelihood_dd as precise_kernels
from skunlearn._linalg import _losses as kernels
from skunlearn._linalg.likelihood import Likelihood, weighted_gram, wipe
from skunlearn._linalg.losses import Loss
from skunlearn.rows import CsrRows

__all__ = ["Objective", "TargetRows"]

_U = 2.0**-53
#: Rows that a pass takes at a time, so that they are still near when they are added up.
_PASS_ROWS = 512
#: Rows whose curvature is computed at a time.
_BLOCK_ROWS = 4096
#: Weights, and their products with targets, beyond this are refused: what underflows in a curvature could then matter.
_LARGEST = 2.0**400


@dataclass(frozen=True, slots=True, eq=False)
class TargetRows:
    """Rows of a weight above 0.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features) or CsrRows
        Values.
    targets : ndarray of shape (n_rows,), float64
        What the loss compares scores with.
    weight : ndarray of shape (n_rows,), float64
        Weights.
    """

    X: Any
    targets: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Objective(Likelihood):
    """F(v) = sum_i weight_i loss(x_i'v, target_i) + sum_j penalty_j v_j^2 / 2 on the rows that `blocks` passes over.

    Parameters
    ----------
    loss : Loss
        The loss. `n_scores` is 1, and `blocks` are of `TargetRows`.
    """

    loss: Loss

    @property
    def bend(self) -> float:  # type: ignore[override]
        """Curvatures of rows change by no more than exp of this times the change of their scores."""
        return self.loss.bend

    def _add_gradient(self, rows: Any, v: np.ndarray, *sums: Any) -> None:
        levels, counts, errors, _, n_additions = sums
        for X, targets, weight in _parts(rows, _PASS_ROWS):
            scores, spreads = self._scores(X, v, len(targets))
            c = np.empty(len(targets))
            kernels.add_slopes(*self._loss, scores, spreads, targets, weight, n_additions, c, errors)
            if isinstance(X, CsrRows):
                row_kernels.add_rows_csr(*X, c, self.scale, levels[:, 0], counts)
            else:
                row_kernels.add_rows_dense(X, c, self.scale, levels[:, 0], counts)

    def _add_precise_gradient(self, rows: Any, coef: np.ndarray, *rest: Any) -> None:
        chain, relative, gradient, errors, _ = rest
        arguments: Any = (rows.targets, rows.weight, self.scale, coef[0], chain, relative, gradient[0], errors)
        if isinstance(rows.X, CsrRows):
            precise_kernels.add_gradient_of_loss_csr(*self._loss, *rows.X, *arguments)
        else:
            precise_kernels.add_gradient_of_loss_dense(*self._loss, rows.X, *arguments)

    @property
    def _loss(self) -> tuple[int, float]:
        return self.loss.code, self.loss.parameter

    def _scores(self, X: Any, v: np.ndarray, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores, and how far they are off in units of 2**-53."""
        scores, spreads = np.empty(n_rows), np.empty(n_rows)
        if isinstance(X, CsrRows):
            row_kernels.scores_csr(*X, self.scale, v[0], scores, spreads)
        else:
            row_kernels.scores_dense(X, self.scale, v[0], scores, spreads)
        return scores, spreads

    def curvature(self, rows: Any, v: np.ndarray) -> np.ndarray:
        """Return what rows add to the Hessian, without the penalties, of shape (1, d + 1, 1, d + 1)."""
        scores, _ = self._scores(rows.X, v, len(rows.targets))
        slopes = np.empty(len(scores))
        kernels.curvatures(*self._loss, scores, rows.targets, slopes)
        return self._gram(rows, slopes)

    def row_and_slope(self, rows: Any, v: np.ndarray) -> tuple[np.ndarray, float] | None:
        """Return x, scaled, and a of a single row whose curvature is a x x'; None of several."""
        if len(rows.targets) != 1 or not float(rows.weight[0]) * max(abs(float(rows.targets[0])), 1.0) < _LARGEST:
            return None
        scores, _ = self._scores(rows.X, v, 1)
        slopes = np.empty(1)
        kernels.curvatures(*self._loss, scores, rows.targets, slopes)
        return self._single(rows.X), float(rows.weight[0] * slopes[0])

    def relative_error_of_curvature(self, n_rows: int, v: np.ndarray) -> float:
        """Bound the error of what `n_rows` rows add to entry j, k of the Hessian, relative to the root of what they add
        to j, j times what they add to k, k; where curvatures jump, of rows that are clear of it.
        """
        of_scores = self.loss.bend * (self.shape[1] // row_kernels.N_LANES_OF_SCORE + 14) * float(np.abs(v).sum()) * _U
        return float(np.expm1(of_scores)) * 1.01 + (n_rows + 60) * 1.01 * _U

    def is_separated(self, loss: float) -> bool:
        """Whether `loss` proves that there is no minimum."""
        return False

    # --- losses with kinks -------------------------------------------------------------------------------------------

    def clearance(self, v: np.ndarray) -> float:
        """Return how far the scores of all rows are at least from where the curvature of their loss jumps."""
        return min((float(self._clearances(rows, v).min()) for rows in self.blocks()), default=np.inf)

    def clearance_of(self, rows: Any, v: np.ndarray) -> float:
        """Return it of these rows."""
        return float(self._clearances(rows, v).min())

    def least_hessian(self, v: np.ndarray, clearance: float) -> np.ndarray:
        """Return the Hessian without the rows nearer to a jump than that: no point within it has a lesser one."""
        total = np.diag(self.penalty)
        for rows in self.blocks():
            scores, _ = self._scores(rows.X, v, len(rows.targets))
            slopes = np.empty(len(scores))
            kernels.curvatures(*self._loss, scores, rows.targets, slopes)
            slopes[~(self._clearances(rows, v) > clearance)] = 0.0
            total = total + self._gram(rows, slopes)[0, :, 0]
        return total

    def majorant(self, v: np.ndarray) -> np.ndarray:
        """Return the Hessian of a quadratic that lies above Huber's loss and meets it at v."""
        total = np.diag(self.penalty)
        for rows in self.blocks():
            scores, _ = self._scores(rows.X, v, len(rows.targets))
            residuals = np.abs(scores - rows.targets)
            slopes = self.loss.parameter / np.maximum(residuals, self.loss.parameter)
            total = total + self._gram(rows, slopes)[0, :, 0]
        return total

    def _clearances(self, rows: Any, v: np.ndarray) -> np.ndarray:
        scores, spreads = self._scores(rows.X, v, len(rows.targets))
        out = np.empty(len(scores))
        kernels.clearances(*self._loss, scores, spreads, rows.targets, out)
        return out

    def _gram(self, rows: Any, slopes: np.ndarray) -> np.ndarray:
        p = self.shape[1]
        out = np.zeros((1, p, 1, p))
        if not (rows.weight * np.maximum(np.abs(rows.targets), 1.0) < _LARGEST).all():
            return out * np.nan
        for start in range(0, len(slopes), _BLOCK_ROWS):
            chosen = slice(start, start + _BLOCK_ROWS)
            values = self.scaled(rows.X, chosen)
            out[0, :, 0] += weighted_gram(values, rows.weight[chosen] * slopes[chosen])
            wipe(values)
        return out


def _parts(rows: Any, size: int) -> Iterator[tuple[Any, np.ndarray, np.ndarray]]:
    """Yield values, targets and weights of `size` rows at a time, without a copy."""
    n = len(rows.targets)
    for start in range(0, n, size):
        stop = min(start + size, n)
        X = rows.X
        part = CsrRows(X.indptr[start : stop + 1], X.indices, X.data) if isinstance(X, CsrRows) else X[start:stop]
        yield part, rows.targets[start:stop], rows.weight[start:stop]
