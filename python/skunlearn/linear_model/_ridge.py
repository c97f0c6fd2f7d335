"""Ridge regression that forgets exactly."""

from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.linear_model

from skunlearn.linear_model._least_squares import LeastSquares, LeastSquaresCore, LeastSquaresState
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions

__all__ = ["Ridge"]


class Ridge(LeastSquares):
    """Linear least squares with a penalty on the squares of the coefficients, that forgets rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the model
    equals, bit for bit, one fitted on the rows that are left. Coefficients are the float64 numbers nearest to the
    optimum, proved, so no bit of them depends on a solver, BLAS, threads or processor.

    Parameters
    ----------
    alpha : float or array-like of shape (n_targets,), default=1.0
        Strength of the penalty, at least 0 and finite; an array has one for each target. 0 is `LinearRegression`.
    fit_intercept : bool, default=True
        Whether to calculate the intercept, which is not penalised.
    copy_X : bool, default=True
        Without effect: X is never changed. For compatibility, as the three below.
    max_iter : int, default=None
        Without effect: the optimum itself is published.
    tol : float, default=1e-4
        Without effect.
    solver : {"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"}, default="auto"
        Without effect.
    positive : bool, default=False
        Must be False: which coefficients are zero would be decided by an iterative solver.
    random_state : int, RandomState instance, Key or None, default=None
        Without effect: nothing is random.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, float64 also where X is float32.
    intercept_ : float or ndarray of shape (n_targets,)
        The float64 nearest to the mean of y minus that of ``X @ coef_.T``; 0.0 without an intercept.
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
    LinearRegression : Without a penalty.
    sklearn.linear_model.Ridge : The estimator that `release` returns.

    Notes
    -----
    With rows x_i, targets y_i and weights s_i the coefficients w minimise sum_i s_i (y_i - b - x_i'w)^2 + alpha w'w
    [1]_. Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column (of the
    weighted column, where there are weights); sums are exact. The normal equations about the means are solved by
    refinement with exact residuals, until an error bound proves every rounding.

    Forgetting m rows takes O(m n_features^2) integer additions; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over that column, or all rows. The first
    read after it takes O(n_features^3).

    `n_iter_` and `solver_` are not offered; a release has them. Weight k is k copies only to rounding, because rows are
    multiplied by the root of their weight. The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] A. E. Hoerl, R. W. Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics
       12, 1970.

    Examples
    --------
    >>> from skunlearn.linear_model import Ridge
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [0.0, 1.0, 2.0, 0.0]
    >>> model = Ridge(alpha=0.5).fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).coef_
    array([0.8])
    """

    _parameter_constraints: dict[str, Any] = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "max_iter": [Interval(Integral, 1, None, closed="left"), None],
        "tol": [Interval(Real, 0, None, closed="left")],
        "solver": [StrOptions({"auto", "svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga", "lbfgs"})],
        "positive": ["boolean"],
        "random_state": "no_validation",
    }

    def __init__(
        self,
        alpha: Any = 1.0,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        max_iter: int | None = None,
        tol: float = 1e-4,
        solver: str = "auto",
        positive: bool = False,
        random_state: Any = None,
    ) -> None:
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.max_iter = max_iter
        self.tol = tol
        self.solver = solver
        self.positive = positive
        self.random_state = random_state

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> LeastSquaresCore:
        alphas = _penalties(params["alpha"], rows.native.n_targets)
        return LeastSquaresCore(type(self).__name__, params, rows, alphas, ravel_one_target=True)

    def _native_twin(self, state: LeastSquaresState, params: dict[str, Any]) -> Any:
        twin = sklearn.linear_model.Ridge(**params)
        twin.coef_ = state.coef_.copy()
        twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
        twin.n_iter_, twin.solver_ = None, "cholesky"
        return twin


def _penalties(alpha: Any, n_targets: int) -> np.ndarray:
    """Return the penalty of every target."""
    penalties = np.atleast_1d(np.asarray(alpha, dtype=np.float64)).ravel()
    if len(penalties) not in (1, n_targets):
        raise ValueError(
            f"Number of targets and number of penalties do not correspond: {len(penalties)} != {n_targets}. Nothing "
            "was changed. Pass one alpha, or one for each target."
        )
    n_wrong = int(np.count_nonzero(~((penalties >= 0) & np.isfinite(penalties))))
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {len(penalties)} alphas are negative or not finite. Nothing was changed. Penalties must be "
            "finite and at least 0."
        )
    return np.broadcast_to(penalties, n_targets)
