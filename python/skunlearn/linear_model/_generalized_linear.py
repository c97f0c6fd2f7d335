"""Generalised linear models with a log link, exact on a lattice: the objective, prediction, and D^2."""

from numbers import Integral, Real
from typing import Any

import numpy as np
from _unlearn_native._native import exp
from sklearn.metrics import d2_tweedie_score
from sklearn.utils import check_array

from skunlearn._lattice_core import Family
from skunlearn._linalg.losses import SQUARED, tweedie
from skunlearn.linear_model._loss_regressor import LossCore, LossFamily, LossRegressor, RegressorState
from skunlearn.live import IncomingRows, Owner
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = ["GeneralizedLinearCore", "GeneralizedLinearRegressor"]


class GeneralizedLinearRegressor(LossRegressor):
    """A generalised linear model. A subclass names the power of its deviance."""

    _parameter_constraints: dict[str, Any] = {
        "alpha": [Interval(Real, 0.0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "solver": [StrOptions({"lbfgs", "newton-cholesky"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0.0, None, closed="neither")],
        "warm_start": ["boolean"],
        "verbose": ["verbose"],
    }

    def _power_and_link(self, params: dict[str, Any]) -> tuple[float, bool]:
        """Return the power of the variance, and whether the link is the logarithm."""
        raise NotImplementedError

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "GeneralizedLinearCore":
        power, has_log_link = self._power_and_link(params)
        return GeneralizedLinearCore(type(self).__name__, params, rows.native.n_features, power, has_log_link)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the means of targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Means. A row alone gives the bits that it gives in bulk, dense or sparse, on every machine.
        """
        scores = self._scores(X)
        return exp(scores) if self._frozen_power_and_link()[1] else scores

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return D^2, the share of the deviance that is explained.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            True targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
            1 at best; 0 for the mean of y.
        """
        predicted = self.predict(X)
        y = check_array(y, dtype=np.float64, ensure_2d=False)
        power = self._frozen_power_and_link()[0]
        _refuse_targets(type(self).__name__, y, power)
        return float(d2_tweedie_score(y, predicted, sample_weight=sample_weight, power=power))

    def _frozen_power_and_link(self) -> tuple[float, bool]:
        return self._power_and_link(self._require_live().params)

    def _twin(self, twin: Any, state: RegressorState) -> Any:
        twin.coef_, twin.intercept_, twin.n_iter_ = state.coef_.copy(), state.intercept_, state.n_iter_
        twin._base_loss = twin._get_loss()  # what its fit would have set
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        try:
            tags.target_tags.positive_only = self._power_and_link(self.get_params(deep=False))[0] > 0
        except (TypeError, ValueError):  # parameters that fit refuses
            tags.target_tags.positive_only = False
        return tags


class GeneralizedLinearCore(LossCore):
    """The optimum of half the mean deviance and alpha |w|^2 / 2.

    Parameters
    ----------
    model_name, params, n_features
        As in `LatticeCore`.
    power : float
        Of the variance: 0, or from 1 to 2.
    has_log_link : bool
        Whether means are exp of scores, or scores.
    """

    def __init__(
        self, model_name: str, params: dict[str, Any], n_features: int, power: float, has_log_link: bool
    ) -> None:
        super().__init__(model_name, params, n_features)
        self._power = power
        self._has_log_link = has_log_link

    def check(self, incoming: IncomingRows) -> None:
        """Refuse targets that the deviance is not defined of."""
        assert incoming.y is not None
        _refuse_targets(self._model_name, incoming.y, self._power)

    def _family_of_rows(self, owner: Owner) -> Family:
        # scikit-learn's objective is a mean; this is that times the weight of all rows.
        alpha, has_intercept = self._params["alpha"] * self._total_weight(), self._params["fit_intercept"]
        if not np.isfinite(alpha):
            raise self._no_minimum()
        if not self._has_log_link:
            return LossFamily(SQUARED, alpha, has_intercept, self._n_features, self._target_exponent(owner))
        if has_intercept and self._n_positive == 0:
            raise self._no_minimum()
        return LossFamily(tweedie(self._power), alpha, has_intercept, self._n_features)


def _refuse_targets(model_name: str, y: np.ndarray, power: float) -> None:
    if power == 0:
        return
    n_wrong = int(np.count_nonzero(~(y > 0 if power == 2 else y >= 0)))
    if n_wrong:
        raise ValueError(
            f"Some value(s) of y are out of the valid range of the deviance of {model_name}: {n_wrong} of {len(y)} are "
            f"not {'above' if power == 2 else 'at least'} 0. Nothing was changed."
        )
