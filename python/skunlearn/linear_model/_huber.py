"""Robust regression that forgets exactly."""

from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import sklearn.linear_model

from skunlearn._lattice_core import Family
from skunlearn._linalg import _linear as kernels
from skunlearn._linalg.losses import huber
from skunlearn.base import fitted_attribute
from skunlearn.linear_model._least_squares import linear_scores
from skunlearn.linear_model._loss_regressor import LossCore, LossFamily, LossRegressor, RegressorState
from skunlearn.live import Owner
from skunlearn.rows import CsrRows, RowStore
from skunlearn.utils._sklearn_compat import Interval

__all__ = ["HuberRegressor"]


class HuberRegressor(LossRegressor):
    """Linear regression by Huber's loss at a fixed scale, that forgets rows exactly.

    The optimum is a function of the rows. What is published is that optimum, rounded to a lattice, and accepted only
    with a proof that no boundary between two points of the lattice is within the error: so it is, bit for bit, what
    fitting to the rows that are left gives. The lattice has steps of about 2**-20 of ``epsilon * scale`` over the scale
    of each column.

    Parameters
    ----------
    epsilon : float, default=1.35
        Residuals beyond this many scales count by their magnitude instead of their square; at least 1.
    max_iter, warm_start, tol
        Accepted and without effect: the published optimum is proved, and does not depend on how it was found.
    alpha : float, default=0.0001
        Strength of the penalty; the intercept has none.
    fit_intercept : bool, default=True
        Whether to have an intercept.
    scale : float, default=None
        The scale of the residuals, above 0; public, and no function of the rows. It must be given. scikit-learn's
        estimator fits it together with the coefficients: their joint objective is not quadratic between kinks, and the
        proof of the published coefficients does not hold for it.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
        Coefficients, float64 also where X is float32.
    intercept_ : float
        Intercept; 0.0 without one.
    n_iter_ : int
        Always 1: how many steps led to the optimum is history.
    scale_ : float
        The parameter `scale`.
    outliers_ : ndarray of shape (n_live_,), bool
        Which of the rows that the model holds have residuals beyond ``epsilon * scale``, in the order in which they
        were learned.
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
    Ridge : Least squares.
    sklearn.linear_model.HuberRegressor : The estimator that `release` returns.

    Notes
    -----
    With weights s_i, residuals r_i, sigma the scale and e epsilon, the optimum minimises sum_i s_i sigma H(r_i / sigma)
    + alpha |w|^2, where H(t) is t^2 up to e and 2 e |t| - e^2 beyond [1]_: scikit-learn's objective at that scale, but
    for a constant. A scale that is not known can be had from public or old data: 1.4826 times the median magnitude of
    residuals, say, or the ``scale_`` of scikit-learn's estimator.

    Without a penalty the optimum may not be unique; a `CertificateError` then says so. The model keeps its rows, and
    `outliers_` has an entry for each; a release holds a copy of that, as scikit-learn's estimator does.

    References
    ----------
    .. [1] P. J. Huber, E. M. Ronchetti, "Robust Statistics", 2nd ed., Wiley 2009, section 7.3.

    Examples
    --------
    >>> from skunlearn.linear_model import HuberRegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [1.0]], [0.0, 1.0, 2.0, 3.0, 50.0]
    >>> model = HuberRegressor(scale=0.1, alpha=0.0).fit(X, y, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.outliers_
    array([False, False, False, False,  True])
    >>> model.partial_forget(["e"]).coef_
    array([1.])
    """

    _parameter_constraints: dict[str, Any] = {
        "epsilon": [Interval(Real, 1.0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "fit_intercept": ["boolean"],
        "tol": [Interval(Real, 0.0, None, closed="left")],
        "scale": [Interval(Real, 0, None, closed="neither"), None],
    }

    scale_ = fitted_attribute()
    outliers_ = fitted_attribute()

    def __init__(
        self,
        *,
        epsilon: float = 1.35,
        max_iter: int = 100,
        alpha: float = 0.0001,
        warm_start: bool = False,
        fit_intercept: bool = True,
        tol: float = 1e-05,
        scale: float | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.max_iter = max_iter
        self.alpha = alpha
        self.warm_start = warm_start
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.scale = scale

    def predict(self, X: Any) -> np.ndarray:
        """Predict the targets of rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predictions. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        return self._scores(X)

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_Core":
        name = type(self).__name__
        if params["scale"] is None:
            raise ValueError(
                f"{name} needs a fixed scale=. Nothing was changed. With a scale that is fitted too the objective is "
                "not quadratic between kinks, and no optimum could be proved. Pass the scale of the residuals, from "
                "public or old data: 1.4826 times their median magnitude, or the scale_ of scikit-learn's estimator."
            )
        threshold = float(params["epsilon"]) * float(params["scale"])
        if not _SMALLEST < threshold < 1 / _SMALLEST:
            raise ValueError(
                f"{name} has epsilon * scale = {threshold}, and needs it between 2**-400 and 2**400. Nothing was "
                "changed. Scale y."
            )
        return _Core(name, params, rows.native.n_features)

    def _native_twin(self, state: "HuberState", params: dict[str, Any]) -> Any:
        twin = sklearn.linear_model.HuberRegressor(**{name: value for name, value in params.items() if name != "scale"})
        twin.coef_, twin.intercept_, twin.n_iter_ = state.coef_.copy(), state.intercept_, state.n_iter_
        twin.scale_, twin.outliers_ = state.scale_, state.outliers_.copy()
        return twin


#: Thresholds are within this and its inverse, so that nothing underflows.
_SMALLEST = 2.0**-400


@dataclass(frozen=True, slots=True, eq=False)
class HuberState(RegressorState):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    scale_ : float
        The parameter.
    outliers_ : ndarray of shape (n_rows,), bool
        Which rows have residuals beyond epsilon * scale, in the order in which they were learned.
    """

    scale_: float
    outliers_: np.ndarray


class _Core(LossCore):
    """The optimum; scale, epsilon, alpha and fit_intercept are read."""

    @property
    def _threshold(self) -> float:
        return float(self._params["epsilon"]) * float(self._params["scale"])

    def _family_of_rows(self, owner: Owner) -> Family:
        """Return the family in units of the threshold's binade, of the objective times half the scale."""
        exponent = int(np.frexp(self._threshold)[1])
        alpha = self._params["alpha"] * self._params["scale"]
        loss = huber(float(np.ldexp(self._threshold, -exponent)))
        return LossFamily(loss, alpha, self._params["fit_intercept"], self._n_features, exponent)

    def publish(self, owner: Owner) -> HuberState:
        """Return the coefficients, and which rows are beyond the threshold."""
        state = super().publish(owner)
        outliers = np.concatenate(list(self._outliers(owner, state)))
        outliers.flags.writeable = False
        return HuberState(state.coef_, state.intercept_, state.n_iter_, float(self._params["scale"]), outliers)

    def _outliers(self, owner: Owner, state: RegressorState) -> Iterator[np.ndarray]:
        for block in owner.rows.blocks_in_order("insertion"):
            assert block.y is not None
            scores = block_scores(block.X, state)
            yield np.abs(block.y[:, 0] - scores) > self._threshold
            block.wipe()


def block_scores(X: Any, state: RegressorState) -> np.ndarray:
    """Return the scores of rows from the store."""
    if not isinstance(X, CsrRows):
        scores: np.ndarray = linear_scores(X, state.coef_, state.intercept_)[:, 0]
        return scores
    out = np.empty((len(X.indptr) - 1, 1))
    kernels.predict_csr(*X, state.coef_[None], np.array([state.intercept_]), out)
    return out[:, 0]
