"""Wrappers around linear models that follow deletions by a step, without a bound on how far they are from a refit."""

import copy
import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from skunlearn.approximate._core import (
    ApproximateCore,
    ApproximateState,
    FineTuneCore,
    GradientCore,
    InfluenceCore,
    NewtonCore,
    with_parameters,
)
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import ApproximateForgettingWarning
from skunlearn.guarantee import Guarantee
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import HasMethods, Interval, fit_context, validate_data

__all__ = ["FineTuneForget", "GradientAscentForget", "InfluenceForget", "NewtonForget", "Residuals"]


@dataclass(frozen=True, slots=True)
class Residuals:
    """Norms of the gradient of the objective on the live rows; at the optimum of these rows it is 0.

    Parameters
    ----------
    model : float
        At the parameters of this model.
    refit : float
        At those of the estimator fitted again.
    nothing_done : float
        At those of the fit before the deletions.
    """

    model: float
    refit: float
    nothing_done: float


def _has_probabilities(model: Any) -> bool:
    return hasattr(model.estimator, "predict_proba")


class _ApproximateForget(ForgetMixin):
    """A linear model and a way to follow deletions: what does not depend on the way."""

    _core_type: type[ApproximateCore]

    _parameter_constraints: dict[str, Any] = {"estimator": [HasMethods(["fit", "predict"])]}

    classes_ = fitted_attribute()
    coef_ = fitted_attribute()
    intercept_ = fitted_attribute()

    estimator: Any

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Fit the estimator to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        TypeError
            If the objective of the estimator is not known here.
        ValueError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids)

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows by the same step, the other way round.

        Parameters
        ----------
        X, y, sample_weight, subject_ids
            As in `fit`.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already. The model is unchanged.
        """
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def partial_forget(self, sample_ids: Any = None, *, subject_ids: Any = None, on_unknown: str = "raise") -> Self:
        """Remove rows, and move the parameters by a step; no bound is known for what is left of them.

        Parameters
        ----------
        sample_ids, subject_ids, on_unknown
            As in every estimator of this library.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        UnknownSampleError
            If ids are not live. The model is unchanged.

        Warns
        -----
        ApproximateForgettingWarning
            At every call.
        """
        super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        warnings.warn(
            f"{type(self).__name__} forgets approximately: its parameters may still depend on the rows that left. "
            "Compare residuals(), and use the class of the same name in skunlearn where a guarantee is needed.",
            ApproximateForgettingWarning,
            stacklevel=2,
        )
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return labels or numbers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
        """
        state: ApproximateState = self._published()
        return state.predict(self._check_X(self, X, reset=False))

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        state: ApproximateState = self._published()
        return state.predict_proba(self._check_X(self, X, reset=False))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy of a classifier, else R2.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
        """
        metric = accuracy_score if is_classifier(self) else r2_score
        return float(metric(y, self.predict(X), sample_weight=sample_weight))

    def residuals(self) -> Residuals:
        """Return how far from optimal this model is on its rows, beside a refit; it costs one.

        Returns
        -------
        residuals : Residuals
            Norms of gradients.
        """
        live = self._require_live()
        with live.lock:
            live.publish()
            core: Any = live.core
            refit = np.zeros_like(core.W)
            model = core.refit(live)
            refit[:, :-1] = np.atleast_2d(model.coef_)
            refit[:, -1] = np.reshape(model.intercept_, -1)
            return Residuals(*(core.residual(live, W) for W in (core.W, refit, core.W_of_fit)))

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot: nothing that can be bounded."""
        self._require_live()
        return Guarantee(
            kind="approximate",
            basis="a step towards the optimum of the rows that are left, without a bound; see residuals()",
            not_covered=("the parameters may still depend on rows that left",),
        )

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> ApproximateCore:
        _refuse_balanced(params["estimator"])
        return self._core_type(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        if "y" in options and not is_classifier(self):
            options |= {"multi_output": True, "y_numeric": True}
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _native_twin(self, state: ApproximateState, params: dict[str, Any]) -> Any:
        live = self._require_live()
        core: Any = live.core
        return with_parameters(copy.deepcopy(core.template), state)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        k = 1 if n_classes == 2 else max(n_classes, n_targets, 1)
        return 24 * k * (X.shape[1] + 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        base = getattr(self, "estimator", None)
        tags.input_tags.sparse = True
        if base is not None:
            of_base = get_tags(base)
            tags.estimator_type = of_base.estimator_type
            tags.classifier_tags, tags.regressor_tags = of_base.classifier_tags, of_base.regressor_tags
            tags.target_tags = of_base.target_tags
        return tags


def _refuse_balanced(estimator: Any) -> None:
    if getattr(estimator, "class_weight", None) == "balanced":
        raise ValueError(
            "class_weight='balanced' weighs all rows anew when one leaves, which no step here follows. Nothing was "
            "changed. Name the weights of classes, or use skunlearn.linear_model."
        )


class InfluenceForget(_ApproximateForget):
    """Forget by one step of influence functions: the Hessian of the fit, the gradients of the rows that leave.

    The parameters become W + H^-1 sum_i grad loss_i(W) over the rows that leave, with the Hessian H at the fit. It
    takes no pass over the rows, and no notice of how the Hessian has changed since.

    Parameters
    ----------
    estimator : estimator
        A LogisticRegression, LinearRegression, Ridge, RidgeClassifier, regressor with a log link, or SGDClassifier or
        SGDRegressor with ``loss="log_loss"`` or ``"squared_error"``, of scikit-learn or of this library. It is fitted
        as a copy.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As in the estimator.
    n_features_in_ : int
        Number of features.
    guarantee_ : Guarantee
        ``kind="approximate"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    skunlearn.utils.rank_by_influence : What such steps are good for.

    Notes
    -----
    A saved model keeps rows alone, and is fitted again when it is loaded.

    References
    ----------
    .. [1] P. W. Koh, P. Liang, "Understanding Black-box Predictions via Influence Functions", ICML 2017, equation 1.

    Examples
    --------
    >>> import warnings
    >>> from sklearn.linear_model import Ridge
    >>> from skunlearn.approximate import InfluenceForget
    >>> X, y = [[0.0], [1.0], [2.0], [3.0]], [0.0, 1.0, 2.0, -9.0]
    >>> model = InfluenceForget(Ridge()).fit(X, y, sample_ids=["a", "b", "c", "d"])
    >>> with warnings.catch_warnings(action="ignore"):
    ...     model = model.partial_forget(["d"])
    >>> residuals = model.residuals()
    >>> residuals.refit < residuals.model < residuals.nothing_done
    True
    """

    _core_type = InfluenceCore

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator


class NewtonForget(_ApproximateForget):
    """Forget by one step of Newton's method on the rows that are left, at the next read.

    For least squares that is where a refit arrives; for other losses the error is of second order in the change. There
    is no noise and no bound: what `skunlearn.linear_model.LogisticRegression` adds with ``guarantee="certified"``.

    Parameters
    ----------
    estimator : estimator
        As in `InfluenceForget`.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As in the estimator.
    n_features_in_ : int
        Number of features.
    guarantee_ : Guarantee
        ``kind="approximate"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    Notes
    -----
    A saved model keeps rows alone, and is fitted again when it is loaded.

    References
    ----------
    .. [1] C. Guo, T. Goldstein, A. Hannun, L. van der Maaten, "Certified Data Removal from Machine Learning Models",
       ICML 2020, equation 3 (the step without its noise).
    """

    _core_type = NewtonCore

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator


class FineTuneForget(_ApproximateForget):
    """Forget by some steps of gradient descent on the rows that are left, at the next read.

    Parameters
    ----------
    estimator : estimator
        As in `InfluenceForget`.
    learning_rate : float, default=0.1
        Of the mean loss of the rows.
    n_steps : int, default=10
        Steps at a read.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As in the estimator.
    n_features_in_ : int
        Number of features.
    guarantee_ : Guarantee
        ``kind="approximate"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    Notes
    -----
    A saved model keeps rows alone, and is fitted again when it is loaded.
    """

    _core_type = FineTuneCore

    _parameter_constraints: dict[str, Any] = {
        **_ApproximateForget._parameter_constraints,
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "n_steps": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, estimator: Any, *, learning_rate: float = 0.1, n_steps: int = 10) -> None:
        self.estimator = estimator
        self.learning_rate = learning_rate
        self.n_steps = n_steps


class GradientAscentForget(_ApproximateForget):
    """Forget by some steps of gradient ascent on the loss of the rows that leave.

    It goes on past the optimum of the rows that are left, since nothing of them enters: the worst of the four.

    Parameters
    ----------
    estimator : estimator
        As in `InfluenceForget`.
    learning_rate : float, default=0.1
        Of the summed loss of the rows that leave, over the number of those that are left.
    n_steps : int, default=1
        Steps at a deletion.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As in the estimator.
    n_features_in_ : int
        Number of features.
    guarantee_ : Guarantee
        ``kind="approximate"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    Notes
    -----
    A saved model keeps rows alone, and is fitted again when it is loaded.
    """

    _core_type = GradientCore

    _parameter_constraints: dict[str, Any] = FineTuneForget._parameter_constraints

    def __init__(self, estimator: Any, *, learning_rate: float = 0.1, n_steps: int = 1) -> None:
        self.estimator = estimator
        self.learning_rate = learning_rate
        self.n_steps = n_steps
