"""Tweedie regression that forgets exactly."""

from numbers import Real
from typing import Any

import sklearn.linear_model

from skunlearn.linear_model._generalized_linear import GeneralizedLinearRegressor
from skunlearn.linear_model._loss_regressor import RegressorState
from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = ["TweedieRegressor"]


class TweedieRegressor(GeneralizedLinearRegressor):
    """Tweedie regression with an L2 penalty, that forgets rows exactly.

    Targets whose variance is a power of their mean; between 1 and 2, zeros among positive numbers.

    The optimum is a function of the rows. What is published is that optimum, rounded to a lattice of step 2**-20
    relative to the scale of each column, and accepted only with a proof that no boundary between two points of the
    lattice is within the error: so it is, bit for bit, what fitting to the rows that are left gives.

    Parameters
    ----------
    power : float, default=0.0
        Power of the variance: 0, the squared error, or from 1, Poisson, to 2, Gamma. Others are refused: no
        distribution has one in (0, 1), and the deviance of the rest is not convex in the score.
    alpha : float, default=1.0
        Strength of the penalty; 0 for none. The intercept has no penalty.
    fit_intercept : bool, default=True
        Whether to have an intercept.
    link : {"auto", "identity", "log"}, default="auto"
        What means are the inverse of, as scores: the identity for power 0, and the logarithm for others, which is what
        "auto" is; other combinations are refused.
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
    PoissonRegressor, GammaRegressor : Powers 1 and 2.
    sklearn.linear_model.TweedieRegressor : The estimator that `release` returns.

    Notes
    -----
    With weights s_i and half deviances d_i, but for what does not depend on w,
    the optimum minimises sum_i s_i d_i(w) / sum_i s_i + alpha |w|^2 / 2 [1]_. The sum of the weights is exact. When
    rows come or go all weights in the mean change, which moves the penalty of the Hessian that is kept and nothing
    else.

    The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] P. McCullagh, J. A. Nelder, "Generalized Linear Models", 2nd ed., Chapman & Hall 1989, section 2.2.

    Examples
    --------
    >>> from skunlearn.linear_model import TweedieRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [1.0, 2.0, 4.0, 1.0]
    >>> model = TweedieRegressor(power=1.5, alpha=0.0).fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).predict([[3.0]]).round(3)
    array([8.])
    """

    _parameter_constraints: dict[str, Any] = {
        **GeneralizedLinearRegressor._parameter_constraints,
        "power": [Interval(Real, None, None, closed="neither")],
        "link": [StrOptions({"auto", "identity", "log"})],
    }

    def __init__(
        self,
        *,
        power: float = 0.0,
        alpha: float = 1.0,
        fit_intercept: bool = True,
        link: str = "auto",
        solver: str = "lbfgs",
        max_iter: int = 100,
        tol: float = 1e-4,
        warm_start: bool = False,
        verbose: int = 0,
    ) -> None:
        self.power = power
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.link = link
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start
        self.verbose = verbose

    def _power_and_link(self, params: dict[str, Any]) -> tuple[float, bool]:
        power, link = float(params["power"]), params["link"]
        has_log_link = link == "log" or (link == "auto" and power > 0)
        name = type(self).__name__
        if power == 0:
            if has_log_link:
                raise ValueError(
                    f'{name} does not offer power=0 with link="log". Nothing was changed. Squares of y - exp(score) '
                    'are not convex, so no optimum could be proved; use link="identity", or a power from 1 to 2.'
                )
            return power, False
        if 0 < power < 1:
            raise ValueError(f"{name} has power={power}, and no distribution has one in (0, 1). Nothing was changed.")
        if not 1 <= power <= 2:
            raise ValueError(
                f"{name} offers power 0 and powers from 1 to 2. Nothing was changed. With a log link the deviance of "
                f"power={power} is not convex in the score, so no optimum could be proved."
            )
        if not has_log_link:
            raise ValueError(
                f'{name} offers link="identity" for power=0 alone. Nothing was changed. With it the deviance of '
                f'power={power} is not defined for scores below 0; use link="log".'
            )
        return power, True

    def _native_twin(self, state: RegressorState, params: dict[str, Any]) -> Any:
        return self._twin(sklearn.linear_model.TweedieRegressor(**params), state)
