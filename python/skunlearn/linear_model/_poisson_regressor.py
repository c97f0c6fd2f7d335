"""Poisson regression that forgets exactly."""

from typing import Any

import sklearn.linear_model

from skunlearn.linear_model._generalized_linear import GeneralizedLinearRegressor
from skunlearn.linear_model._loss_regressor import RegressorState

__all__ = ["PoissonRegressor"]


class PoissonRegressor(GeneralizedLinearRegressor):
    """Poisson regression with an L2 penalty, that forgets rows exactly.

    Counts, or rates with weights, whose means are exp of a linear score.

    The optimum is a function of the rows. What is published is that optimum, rounded to a lattice of step 2**-20
    relative to the scale of each column, and accepted only with a proof that no boundary between two points of the
    lattice is within the error: so it is, bit for bit, what fitting to the rows that are left gives.

    Parameters
    ----------
    alpha : float, default=1.0
        Strength of the penalty; 0 for none. The intercept has no penalty.
    fit_intercept : bool, default=True
        Whether to have an intercept.
    solver, max_iter, tol, warm_start, verbose
        Accepted and without effect: the published optimum is proved, and does not depend on how it was found.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients, float64 also where X is float32.
    intercept_ : float
        Intercept; 0.0 without one.
    n_iter_ : int
        Always 1: how many steps led to the optimum is history.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    GammaRegressor, TweedieRegressor : Other deviances.
    sklearn.linear_model.PoissonRegressor : The estimator that `release` returns.

    Notes
    -----
    With weights s_i and half deviances d_i = exp(z_i) - y_i z_i, but for what does not depend on w,
    the optimum minimises sum_i s_i d_i(w) / sum_i s_i + alpha |w|^2 / 2 [1]_. The sum of the weights is exact. When
    rows come or go all weights in the mean change, which moves the penalty of the Hessian that is kept and nothing
    else.

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, "Generalized Linear Models", 2nd ed., Chapman & Hall 1989, section 2.2.

    Examples
    --------
    >>> from skunlearn.linear_model import PoissonRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [1.0, 2.0, 4.0, 1.0]
    >>> model = PoissonRegressor(alpha=0.0).fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).predict([[3.0]]).round(3)
    array([8.])
    """

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        solver: str = "lbfgs",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose

    def _power_and_link(self, params: dict[str, Any]) -> tuple[float, bool]:
        return 1.0, True

    def _native_twin(self, state: RegressorState, params: dict[str, Any]) -> Any:
        return self._twin(sklearn.linear_model.PoissonRegressor(**params), state)
