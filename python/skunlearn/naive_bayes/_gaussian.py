"""Gaussian naive Bayes that forgets exactly."""

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import sklearn.naive_bayes
from _unlearn_native._native import ln

from skunlearn._linalg._distances import squared_distances_dense
from skunlearn._linalg.fixed_order import freeze, sum_in_order
from skunlearn._moment_core import MomentCore, total_of
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.naive_bayes._base import NaiveBayes, NaiveBayesState, classes_with_rows
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, validate_data

__all__ = ["GaussianNB"]

_LN_2_PI = 1.8378770664093453


class GaussianNB(NaiveBayes):
    """Naive Bayes classifier with a normal distribution for each feature, that forgets rows exactly.

    What is kept of the rows are exact integer sums for each class, so `partial_forget` is their subtraction:
    afterwards the model equals, bit for bit, one fitted on the rows that are left. Means and variances are rounded
    once, from the exact sums.

    Parameters
    ----------
    priors : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes, which sum to 1; they are then not learned.
    var_smoothing : float, default=1e-9
        The part of the largest variance of all features that is added to every variance.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class; with weights, to the rounding of their roots.
    class_prior_ : ndarray of shape (n_classes,)
        Probability of each class.
    theta_ : ndarray of shape (n_classes, n_features)
        Mean of each feature in each class, correctly rounded; float64 also where X is float32.
    var_ : ndarray of shape (n_classes, n_features)
        Variance of each feature in each class, correctly rounded, or 1 without rows; plus `epsilon_`.
    epsilon_ : float
        What was added to the variances.
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
    MultinomialNB : Naive Bayes on counts.
    sklearn.naive_bayes.GaussianNB : The estimator that `release` returns.

    Notes
    -----
    With S_0, S_1 and S_2 the weighted sums of 1, x_j and x_j^2 over the rows of a class, feature j has the mean
    S_1 / S_0 and the variance (S_0 S_2 - S_1^2) / S_0^2 there, in exact integers: nothing cancels. Every value enters
    as an integer, rounded by at most 2**-53 of the largest live value of its column. `epsilon_` takes the weighted
    variances over all live rows; scikit-learn's ignores the weights, and its `partial_fit` takes the last batch alone,
    which is history.

    Forgetting m rows takes O(m n_features) integer operations; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over the rows. Weight k is k copies only
    to rounding, because rows are multiplied by the root of their weight. The model keeps its rows; `release` does not.

    Where a variance is 0 (all rows are equal, or `var_smoothing` is 0) or too large for float64, there is no density:
    predicting and `release` then raise `DegenerateRowsError`, where scikit-learn predicts from NaN.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., section 6.6.3,
       Springer, 2009.

    Examples
    --------
    >>> from skunlearn.naive_bayes import GaussianNB
    >>> X, y = [[1.0], [3.0], [7.0], [9.0], [80.0]], [0, 0, 1, 1, 1]
    >>> model = GaussianNB().fit(X, y, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).theta_
    array([[2.],
           [8.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "priors": ["array-like", None],
        "var_smoothing": [Interval(Real, 0, None, closed="left")],
        "classes": ["array-like", None],
    }

    class_prior_ = fitted_attribute()
    theta_ = fitted_attribute()
    var_ = fitted_attribute()
    epsilon_ = fitted_attribute()

    def __init__(self, *, priors: Any = None, var_smoothing: float = 1e-9, classes: Any = None) -> None:
        self.priors = priors
        self.var_smoothing = var_smoothing
        self.classes = classes

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_GaussianCore":
        return _GaussianCore(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        return validate_data(estimator, X, dtype=(np.float64, np.float32), **options)

    def _native_twin(self, state: "GaussianNBState", params: dict[str, Any]) -> Any:
        state.check_densities()
        twin = sklearn.naive_bayes.GaussianNB(**{name: value for name, value in params.items() if name != "classes"})
        for name in ("classes_", "class_count_", "class_prior_", "theta_", "var_"):
            setattr(twin, name, getattr(state, name).copy())
        twin.epsilon_ = state.epsilon_
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 32 * n_classes * (1 + X.shape[1])


@dataclass(frozen=True, slots=True, eq=False)
class GaussianNBState(NaiveBayesState):
    """The published state of a `GaussianNB`.

    Parameters
    ----------
    class_prior_ : ndarray of shape (n_classes,)
        As in the estimator.
    theta_, var_ : ndarray of shape (n_classes, n_features)
        As in the estimator.
    epsilon_ : float
        As in the estimator.
    deviations : ndarray of shape (n_classes, n_features)
        Roots of the variances.
    log_density_at_mean : ndarray of shape (n_classes,)
        log P(c) - sum over features of log(2 pi var) / 2.
    """

    class_prior_: np.ndarray
    theta_: np.ndarray
    var_: np.ndarray
    epsilon_: float
    deviations: np.ndarray
    log_density_at_mean: np.ndarray

    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y) for rows that were checked."""
        self.check_densities()
        distances = np.empty((len(X), len(self.classes_)))
        squared_distances_dense(np.ascontiguousarray(X), self.theta_, self.deviations, distances)
        return self.log_density_at_mean - 0.5 * distances

    def check_densities(self) -> None:
        """Raise DegenerateRowsError where there is no density to predict from."""
        n_zero = int(np.count_nonzero(self.var_ == 0))
        if n_zero:
            raise DegenerateRowsError(
                f"{n_zero} of {self.var_.size} variances of this GaussianNB are 0: its rows are equal there. Learn "
                "rows that differ, or raise var_smoothing."
            )
        n_large = int(np.count_nonzero(~np.isfinite(self.var_)))
        if n_large:
            raise DegenerateRowsError(
                f"{n_large} of {self.var_.size} variances of this GaussianNB are too large for float64. Scale X down."
            )


class _GaussianCore(MomentCore):
    """Exact moments by class, and the normal distributions that they make."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        super().__init__(model_name, n_features)
        self._var_smoothing = float(params["var_smoothing"])
        self._priors = None if params["priors"] is None else np.asarray(params["priors"], dtype=np.float64)

    def publish(self, owner: Owner) -> GaussianNBState:
        """Return means, variances and priors."""
        codes, labels = classes_with_rows(owner, self._model_name)
        parts = [self._column_sums(code) for code in codes.tolist()]
        class_count = np.array([part.total_weight() for part in parts])
        theta = np.array([part.means() for part in parts])
        epsilon = self._var_smoothing * float(total_of(parts).variances().max())
        has_rows = owner.codes.n_effective[codes] > 0
        # A release multiplies the density of a class without rows by 0, so it must have one.
        var = np.where(has_rows[:, None], [part.variances() for part in parts], 1.0) + epsilon
        prior = self._class_prior(class_count, has_rows)
        with np.errstate(invalid="ignore"):  # a variance of 0 in a class of probability 0: see `check_densities`
            log_density_at_mean = ln(prior) - 0.5 * sum_in_order(_LN_2_PI + ln(var))
        state = GaussianNBState(
            classes_=labels,
            class_count_=class_count,
            class_prior_=prior,
            theta_=theta,
            var_=var,
            epsilon_=epsilon,
            deviations=np.sqrt(var),
            log_density_at_mean=log_density_at_mean,
        )
        freeze(labels, class_count, prior, theta, var)
        return state

    def _class_prior(self, class_count: np.ndarray, has_rows: np.ndarray) -> np.ndarray:
        """Return the probability of every class: given or empirical; a class without rows has none."""
        if self._priors is None:
            prior: np.ndarray = class_count / sum_in_order(class_count[None, :])
            return prior
        if self._priors.shape != class_count.shape:
            raise DegenerateRowsError(
                f"Number of priors must match number of classes. priors has shape {self._priors.shape}, and there are "
                f"{len(class_count)} classes. Declare classes= to keep a prior for a class that has no rows."
            )
        if not np.isclose(self._priors.sum(), 1.0):
            raise ValueError("The sum of the priors should be 1.")
        if not (self._priors >= 0).all():
            raise ValueError("Priors must be non-negative.")
        given = np.where(has_rows, self._priors, 0.0)
        if not given.any():
            raise DegenerateRowsError(
                f"Every class of this {self._model_name} with rows has a prior of zero. Learn rows of another class."
            )
        return given
