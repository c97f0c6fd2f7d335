"""What regressors that minimise a convex loss of one score share: exact optima on a lattice, fitting, prediction."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import RegressorMixin

from skunlearn._lattice_core import Family, LatticeCore
from skunlearn._linalg.exact_total import ExactTotal
from skunlearn._linalg.likelihood import Likelihood
from skunlearn._linalg.losses import Loss
from skunlearn._linalg.objective import Objective, TargetRows
from skunlearn._linalg.scales import ColumnScales
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import CertificateError, DegenerateRowsError
from skunlearn.linear_model._least_squares import linear_scores
from skunlearn.live import Owner
from skunlearn.rows import RowBlock
from skunlearn.utils._sklearn_compat import fit_context, validate_data

__all__ = ["LossCore", "LossFamily", "LossRegressor", "RegressorState"]


class LossRegressor(RegressorMixin, ForgetMixin):
    """A linear model of one target under a convex loss. A subclass has the parameters and makes the core."""

    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()
    n_iter_ = fitted_attribute()

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored and enters nothing.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the model can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        CertificateError
            If the rows have no optimum that can be proved in float64. A model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Targets.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The model is unchanged.
        MissingSampleIdsError
            If the model is fitted and there are no `sample_ids`. The model is unchanged.
        """
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def _scores(self, X: Any) -> np.ndarray:
        state = self._published()
        X = self._check_X(self, X, reset=False)
        scores: np.ndarray = linear_scores(X, state.coef_, state.intercept_)[:, 0]
        return scores

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        if "y" in options:
            options["y_numeric"] = True
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 24 * (X.shape[1] + 1) ** 2  # a Hessian, what is measured to be its inverse, and the magnitudes of that

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class RegressorState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    coef_ : ndarray of shape (n_features,)
        As in the estimator.
    intercept_ : float
        As in the estimator.
    n_iter_ : int
        1: how many steps led to the optimum is history.
    """

    coef_: np.ndarray
    intercept_: float
    n_iter_: int


class LossFamily(Family):
    """One loss, with a penalty.

    Parameters
    ----------
    loss : Loss
        Of targets divided by 2**exponent.
    alpha : float
        Strength of the penalty.
    has_intercept : bool
        Whether there is an intercept; it has no penalty.
    n_features : int
        Width of X.
    exponent : int
        Targets are divided by 2 to this power, and parameters multiplied by it.
    """

    def __init__(self, loss: Loss, alpha: float, has_intercept: bool, n_features: int, exponent: int = 0) -> None:
        self._loss = loss
        self._alpha = alpha
        self._has_intercept = has_intercept
        self.shape = (1, n_features + 1)
        self.exponent = exponent

    def rows(self, block: RowBlock, which: int) -> TargetRows:
        """Return rows with scaled targets."""
        assert block.y is not None
        targets = np.ldexp(block.y[:, 0], -self.exponent)
        return TargetRows(block.X, targets, np.ones(len(targets)) if block.weight is None else block.weight)

    def drift(self, then: Any, which: int) -> float:
        """Return 0: weights are the rows' own. Targets in other units are another problem."""
        return 0.0 if then.exponent == self.exponent else np.inf

    def likelihood(self, which: int, **parts: Any) -> Likelihood:
        """Return the objective."""
        penalty = np.append(np.ldexp(self._alpha, -2 * parts["exponents"]), 0.0)
        return Objective(n_scores=1, penalty=penalty, has_intercept=self._has_intercept, loss=self._loss, **parts)

    def start(self, which: int, blocks: Callable[[], Iterator[Any]]) -> np.ndarray:
        """Return the optimum without features, about: it keeps exp from overflowing, and steps from being many."""
        out = np.zeros(self.shape)
        if not self._has_intercept:
            return out
        if self._loss.bend == 0:
            out[0, -1] = np.median(np.concatenate([rows.targets for rows in blocks()]))
            return out
        sums = np.sum([(np.sum(rows.weight * rows.targets), np.sum(rows.weight)) for rows in blocks()], axis=0)
        out[0, -1] = np.log(sums[0] / sums[1])
        return out


class LossCore(LatticeCore):
    """The optimum of a linear model of one target."""

    def _clear(self) -> None:
        super()._clear()
        self._weight = ExactTotal()
        self._n_positive = 0
        self._target_scale = ColumnScales(1)

    def _tally(self, block: RowBlock, sign: int) -> None:
        assert block.y is not None
        self._weight.add(np.array([float(len(block))]) if block.weight is None else block.weight, sign)
        self._n_positive += sign * int(np.count_nonzero(block.y > 0))
        (self._target_scale.learn if sign > 0 else self._target_scale.forget)(np.ascontiguousarray(block.y))

    def _target_exponent(self, owner: Owner) -> int:
        """Return the binade of the largest target."""
        if self._target_scale.is_loose:
            self._target_scale = ColumnScales(1)
            for block in owner.effective_blocks():
                self._target_scale.learn(np.ascontiguousarray(block.y))
        return int(self._target_scale.exponents[0])

    def _family(self, owner: Owner) -> Family:
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )
        return self._family_of_rows(owner)

    @abstractmethod
    def _family_of_rows(self, owner: Owner) -> Family:
        """Return the loss and the penalty of a live set that has rows."""

    def _total_weight(self) -> float:
        try:
            return float(self._weight)
        except OverflowError as error:
            raise self._no_minimum() from error

    def _no_minimum(self) -> CertificateError:
        return CertificateError(
            f"The rows of this {self._model_name} have no optimum that can be proved in float64: without a penalty "
            "columns may depend on each other; columns, weights or targets may differ too much in scale; or targets "
            "may put the optimum at infinity. Choose a larger alpha, or scale the columns."
        )

    def publish(self, owner: Owner) -> RegressorState:
        """Return the coefficients."""
        coef, intercept = super().publish(owner)
        coef = np.ascontiguousarray(coef[0])
        coef.flags.writeable = False
        return RegressorState(coef, float(intercept[0]), 1)
