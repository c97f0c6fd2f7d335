"""What the naive Bayes classifiers over counts share: priors, smoothing, prediction."""

import warnings
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from _unlearn_native._native import ln

from skunlearn._linalg.fixed_order import sum_in_order
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.naive_bayes._base import NaiveBayes, NaiveBayesState
from skunlearn.utils._sklearn_compat import Interval

__all__ = ["DiscreteNB", "DiscreteNBState", "class_log_prior", "smoothing"]

_SMALLEST_ALPHA = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class DiscreteNBState(NaiveBayesState):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    class_log_prior_ : ndarray of shape (n_classes,)
        Log probability of each class.
    """

    class_log_prior_: np.ndarray


class DiscreteNB(NaiveBayes):
    """Naive Bayes over counts: its parameters. A subclass counts, and publishes a `DiscreteNBState`."""

    _parameter_constraints: dict[str, Any] = {
        "alpha": [Interval(Real, 0, None, closed="left"), "array-like"],
        "force_alpha": ["boolean"],
        "fit_prior": ["boolean"],
        "class_prior": ["array-like", None],
        "classes": ["array-like", None],
    }

    class_log_prior_ = fitted_attribute()
    feature_log_prob_ = fitted_attribute()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.classifier_tags.poor_score = True
        return tags


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
