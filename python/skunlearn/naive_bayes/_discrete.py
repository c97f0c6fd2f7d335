"""What the naive Bayes classifiers over counts share: priors, smoothing, prediction."""

import warnings
from abc import abstractmethod
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
from _unlearn_native._native import exp, ln, log_normalize
from sklearn.base import ClassifierMixin

from skunlearn._linalg.fixed_order import freeze, sum_in_order
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.utils._sklearn_compat import Interval, fit_context

__all__ = [
    "DiscreteNB",
    "DiscreteNBState",
    "class_log_prior",
    "classes_with_rows",
    "freeze",
    "smoothing",
    "sum_in_order",
]

_SMALLEST_ALPHA = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteNBState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class.
    class_log_prior_ : ndarray of shape (n_classes,)
        Log probability of each class.
    """

    classes_: np.ndarray
    class_count_: np.ndarray
    class_log_prior_: np.ndarray

    @abstractmethod
    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y), of shape (n_samples, n_classes); a row alone gives the bits that it gives in bulk."""


class DiscreteNB(ClassifierMixin, ForgetMixin):
    """Naive Bayes over counts: reading and prediction. A subclass counts, and publishes a `DiscreteNBState`."""

    _parameter_constraints: dict[str, Any] = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "force_alpha": ["boolean"],
        "fit_prior": ["boolean"],
        "class_prior": ["array-like", None],
        "classes": ["array-like", None],
    }

    classes_ = fitted_attribute()
    class_count_ = fitted_attribute()
    class_log_prior_ = fitted_attribute()
    feature_log_prob_ = fitted_attribute()

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
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
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
        """
        return self._fit_rows(
            X, y, sample_weight, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable
        )

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            Declared classes, at the first call; the parameter of the same name by default.
        sample_weight : array-like of shape (n_samples,), default=None
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
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids, classes=classes)

    def predict_joint_log_proba(self, X: Any) -> np.ndarray:
        """Return the joint log probability ``log P(x, y) = log P(y) + log P(x|y)``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        joint_log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``. A row alone gives the bits that it gives in bulk.
        """
        return self._read(X)[1]

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of every row; of several, the first.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        state, joint = self._read(X)
        return state.classes_[joint.argmax(axis=1)]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return log_normalize(self._read(X)[1])

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
        return exp(self.predict_log_proba(X))

    def _read(self, X: Any) -> tuple[DiscreteNBState, np.ndarray]:
        """Return one published version and what it says about `X`."""
        state = self._published()
        return state, state.joint_log_likelihood(self._check_X(self, X, reset=False))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.poor_score = True
        return tags


def classes_with_rows(owner: Owner, model_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and labels of the classes in order, or say that every row is gone."""
    codes, labels = owner.codes.classes()
    if not owner.codes.n_effective.any():
        raise DegenerateRowsError(
            f"This {model_name} has no row of a weight above 0 left, so there is nothing to predict from. Call "
            "partial_fit or fit."
        )
    return codes, labels


def smoothing(params: dict[str, Any], n_features: int) -> Any:
    """Return alpha as a float or an array of shape (n_features,), checked as scikit-learn does."""
    alpha: Any = params["alpha"]
    if not isinstance(alpha, Real):
        alpha = np.asarray(alpha, dtype=np.float64)
    if isinstance(alpha, np.ndarray):
        if alpha.shape != (n_features,):
            raise ValueError(
                f"When alpha is an array, it should contains `n_features`. Got {alpha.shape[0] if alpha.ndim else 0} "
                f"elements instead of {n_features}."
            )
        if not (alpha >= 0).all():
            raise ValueError("All values in alpha must be greater than 0.")
    if np.min(alpha) < _SMALLEST_ALPHA and not params["force_alpha"]:
        warnings.warn(
            f"alpha too small will result in numeric errors, setting alpha = {_SMALLEST_ALPHA:.1e}. Use "
            "`force_alpha=True` to keep alpha unchanged.",
            stacklevel=2,
        )
        return np.maximum(alpha, _SMALLEST_ALPHA)
    return alpha


def class_log_prior(params: dict[str, Any], class_count: np.ndarray, has_rows: np.ndarray) -> np.ndarray:
    """Return the log prior of every class: given, empirical or uniform; a class without rows has probability 0."""
    n_classes = len(class_count)
    if params["class_prior"] is not None:
        prior = np.asarray(params["class_prior"], dtype=np.float64)
        if prior.shape != (n_classes,):
            raise DegenerateRowsError(
                f"Number of priors must match number of classes. class_prior has shape {prior.shape}, and there are "
                f"{n_classes} classes. Declare classes= to keep a prior for a class that has no rows."
            )
        if not (prior >= 0).all():
            raise ValueError("class_prior holds entries that are negative or NaN. Give probabilities of at least 0.")
        log_prior = ln(prior)
    elif params["fit_prior"]:
        log_prior = ln(class_count) - ln(sum_in_order(class_count[None, :]))
    else:
        log_prior = np.full(n_classes, -ln(np.array([float(n_classes)]))[0])
    return np.where(has_rows, log_prior, -np.inf)
