"""Ordinary least squares that forgets exactly."""

from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.linear_model

from skunlearn.base import fitted_attribute
from skunlearn.linear_model._least_squares import LeastSquares, LeastSquaresCore, LeastSquaresState
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval

__all__ = ["LinearRegression"]


class LinearRegression(LeastSquares):
    """Ordinary least squares that forgets rows exactly.

    What is kept of the rows are exact integer sums, so `partial_forget` is their subtraction: afterwards the model
    equals, bit for bit, one fitted on the rows that are left. Coefficients are the float64 numbers nearest to the
    optimum, proved, so no bit of them depends on BLAS, threads or processor.

    Parameters
    ----------
    fit_intercept : bool, default=True
        Whether to calculate the intercept.
    copy_X : bool, default=True
        Without effect: X is never changed. For compatibility, as the two below.
    tol : float, default=1e-6
        Without effect: nothing is iterated.
    n_jobs : int, default=None
        Without effect.
    positive : bool, default=False
        Must be False: which coefficients are zero would be decided by an iterative solver.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, float64 also where X is float32.
    intercept_ : float or ndarray of shape (n_targets,)
        The float64 nearest to the mean of y minus that of ``X @ coef_.T``; 0.0 without an intercept.
    rank_ : int
        Rank of X, about its means where there is an intercept: columns are compared at unit length, so it does not
        depend on their units. `singular_` is not offered: singular values are no correctly rounded function of the
        rows here.
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
    Ridge : With a penalty on the coefficients.
    sklearn.linear_model.LinearRegression : The estimator that `release` returns.

    Notes
    -----
    Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column (of the weighted
    column, where there are weights); sums are exact. The normal equations about the means are solved as in [1]_, by
    refinement with exact residuals, until an error bound proves every rounding.

    Forgetting m rows takes O(m n_features^2) integer additions; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over that column, or all rows. The first
    read after it takes O(n_features^3).

    Where columns are linearly dependent, of all optima that of least norm with columns at unit length is published, a
    function of the rows as well; scikit-learn takes the least norm in the units of the columns.

    Weight k is k copies only to rounding, because rows are multiplied by the root of their weight. The model keeps its
    rows; `release` does not.

    References
    ----------
    .. [1] N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., SIAM, 2002, chapter 12.

    Examples
    --------
    >>> from skunlearn.linear_model import LinearRegression
    >>> X, y = [[0.0], [1.0], [2.0], [9.0]], [1.0, 3.0, 5.0, 0.0]
    >>> model = LinearRegression().fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["d"]).coef_
    array([2.])
    """

    _parameter_constraints: dict[str, Any] = {
        "fit_intercept": ["boolean"],
        "copy_X": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [None, Integral],
        "positive": ["boolean"],
    }

    rank_ = fitted_attribute()

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        copy_X: bool = True,
        tol: float = 1e-6,
        n_jobs: int | None = None,
        positive: bool = False,
    ) -> None:
        self.fit_intercept = fit_intercept
        self.copy_X = copy_X
        self.tol = tol
        self.n_jobs = n_jobs
        self.positive = positive

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> LeastSquaresCore:
        alphas = np.zeros(rows.native.n_targets)
        return LeastSquaresCore(type(self).__name__, params, rows, alphas, ravel_one_target=False)

    def _native_twin(self, state: LeastSquaresState, params: dict[str, Any]) -> Any:
        twin = sklearn.linear_model.LinearRegression(**params)
        twin.coef_ = state.coef_.copy()
        twin.intercept_ = np.copy(state.intercept_) if np.ndim(state.intercept_) else state.intercept_
        twin.rank_ = state.rank_
        return twin
