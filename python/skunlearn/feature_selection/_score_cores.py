"""The cores of `SelectKBest`: exact sums, and the scores that are rational functions of them."""

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from skunlearn._linalg.diagonal import DiagonalMoments, PairedMoments
from skunlearn._linalg.fixed_order import freeze
from skunlearn._linalg.moments import Rows
from skunlearn._linalg.solve import nearest_ratio
from skunlearn._moment_core import ColumnSums, MomentCore, total_of
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.feature_selection._mask import SelectionState
from skunlearn.live import IncomingRows, Owner
from skunlearn.rows import RowBlock

__all__ = ["ChiSquareCore", "ClassScoreCore", "CorrelationCore", "ScoreCore", "SelectKBestState"]


@dataclass(frozen=True, slots=True, eq=False)
class SelectKBestState(SelectionState):
    """The published state of one version.

    Parameters
    ----------
    scores_, pvalues_ : ndarray of shape (n_features,)
        As in the estimator.
    """

    scores_: np.ndarray
    pvalues_: np.ndarray


class ScoreCore(MomentCore):
    """Exact sums, scores of them, and the mask of the best.

    Parameters
    ----------
    model_name : str
        Named in errors.
    n_features : int
        Columns of X.
    k : int or "all"
        How many features are kept.
    """

    def __init__(self, model_name: str, n_features: int, k: Any) -> None:
        super().__init__(model_name, n_features)
        self._k = k

    @abstractmethod
    def _scores(self, owner: Owner) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and p-values."""

    def _rows(self, X: Any, weight: np.ndarray | None, codes: np.ndarray | None) -> Rows:
        return Rows(X, codes=codes)

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn that there are fewer features than are to be kept."""
        if self._k != "all" and self._k > self._n_features:
            warnings.warn(
                f"k={self._k} is greater than n_features={self._n_features}. All the features will be returned.",
                UserWarning,
                stacklevel=5,
            )

    def publish(self, owner: Owner) -> SelectKBestState:
        """Return scores, p-values and which features are kept."""
        if self._moments.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no scores. Call partial_fit or fit."
            )
        scores, p_values = self._scores(owner)
        mask = best(scores, len(scores) if self._k == "all" else self._k)
        freeze(mask, scores, p_values)
        return SelectKBestState(mask, scores, p_values)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums, and what is computed of them."""
        return [type(self).__name__.encode(), *super().digest_parts(owner)]


def best(scores: np.ndarray, k: int) -> np.ndarray:
    """Return the mask of the k largest scores: of equal ones the later, and NaN last of all."""
    order = np.argsort(np.where(np.isnan(scores), np.finfo(np.float64).min, scores), kind="stable")
    mask = np.zeros(len(scores), dtype=bool)
    mask[order[max(len(scores) - k, 0) :]] = True
    return mask


class ClassScoreCore(ScoreCore):
    """The F-value of an analysis of variance between classes."""

    def _scores(self, owner: Owner) -> tuple[np.ndarray, np.ndarray]:
        parts = self._class_columns(owner)
        total = total_of(parts)
        n, n_classes = total.weights[0], len(parts)
        counts = [part.weights[0] for part in parts]
        common = math.lcm(n, *counts)
        shares = [common // count for count in counts]
        between_df, within_df = n_classes - 1, n - n_classes
        scores = np.empty(self._n_features)
        for j in range(self._n_features):
            of_all = common // n * total.sums[j] ** 2
            of_classes = sum(share * part.sums[j] ** 2 for share, part in zip(shares, parts, strict=True))
            between, within = of_classes - of_all, common * total.squares[j] - of_classes
            scores[j] = _ratio(between * within_df, within * between_df)
        return scores, scipy.special.fdtrc(between_df, within_df, scores)

    def _class_columns(self, owner: Owner) -> list[ColumnSums]:
        return [self._column_sums(code) for code in owner.codes.classes()[0].tolist()]


class ChiSquareCore(ClassScoreCore):
    """The chi-squared statistic of the sums of features over classes, against those in proportion to their rows."""

    def check(self, incoming: IncomingRows) -> None:
        """Refuse negative values."""
        values = incoming.X.data if hasattr(incoming.X, "indptr") else incoming.X
        n_negative = int(np.count_nonzero(values < 0))
        if n_negative:
            raise ValueError(
                f"Negative values in data passed to chi2: Input X must be non-negative, and {n_negative} of its values "
                "are not. Nothing was changed. Scale them to a range, or take another score_func."
            )

    def _scores(self, owner: Owner) -> tuple[np.ndarray, np.ndarray]:
        parts = self._class_columns(owner)
        total = total_of(parts)
        n, counts = total.weights[0], [part.weights[0] for part in parts]
        common = math.lcm(*counts)
        shares = [n * (common // count) for count in counts]
        scores = np.empty(self._n_features)
        for j, shift in enumerate(total.shifts):
            of_classes = sum(share * part.sums[j] ** 2 for share, part in zip(shares, parts, strict=True))
            excess, scale = of_classes - common * total.sums[j] ** 2, common * total.sums[j]
            scores[j] = nearest_ratio(excess, scale, -shift) if scale else np.nan
        return scores, scipy.special.chdtrc(len(parts) - 1, scores)


class CorrelationCore(ScoreCore):
    """The F-value of a linear regression of the target on each feature."""

    def _new_moments(self) -> DiagonalMoments:
        return PairedMoments(self._n_features)

    def _block_rows(self, block: RowBlock) -> Rows:
        return Rows(block.X, y=block.y)

    def _scores(self, owner: Owner) -> tuple[np.ndarray, np.ndarray]:
        d = self._n_features
        (n, *sums), (_, *squares) = self._moments.integers()
        of_y = n * squares[d] - sums[d] ** 2
        scores, p_values = np.zeros(d), np.ones(d)
        for j in range(d):
            of_x = n * squares[j] - sums[j] ** 2
            shared = (n * sums[d + 1 + j] - sums[j] * sums[d]) ** 2
            if of_x and of_y and n > 2:
                rest = of_x * of_y - shared
                scores[j] = min(_ratio(shared * (n - 2), rest), np.finfo(np.float64).max)
                p_values[j] = scipy.special.fdtrc(1, n - 2, scores[j]) if rest else 0.0
        return scores, p_values

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and their scales."""
        return [type(self).__name__.encode(), *self._moments.digest_parts()]


def _ratio(numerator: int, denominator: int) -> float:
    """Return the float64 nearest to a quotient that is not negative; by zero, infinity or NaN."""
    if denominator == 0:
        return math.inf if numerator else math.nan
    return nearest_ratio(numerator, denominator, 0)
