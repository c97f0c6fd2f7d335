"""Complement naive Bayes that forgets exactly."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import sklearn.naive_bayes
from _unlearn_native._native import ln

from skunlearn._linalg import _tallies
from skunlearn._linalg.fixed_order import freeze, sum_in_order
from skunlearn.base import fitted_attribute
from skunlearn.live import Owner
from skunlearn.naive_bayes._base import classes_with_rows
from skunlearn.naive_bayes._discrete import class_log_prior
from skunlearn.naive_bayes._occurrences import OccurrenceCore, OccurrenceNB, OccurrenceNBState
from skunlearn.rows import RowStore

__all__ = ["ComplementNB"]


class ComplementNB(OccurrenceNB):
    """Naive Bayes classifier on what occurs outside each class, that forgets rows exactly.

    What is kept of the rows are exact sums of their features for each class, so `partial_forget` is their subtraction:
    afterwards the model equals, bit for bit, one fitted on the rows that are left. Features may be any numbers that are
    not negative, such as tf-idf.

    Parameters
    ----------
    alpha : float or array-like of shape (n_features,), default=1.0
        Additive (Laplace/Lidstone) smoothing parameter.
    force_alpha : bool, default=True
        If False, alpha below 1e-10 is set to 1e-10, with a warning.
    fit_prior : bool, default=True
        Whether to learn class prior probabilities; if False, the prior is uniform. It counts only where there is
        one class.
    class_prior : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; they are then not learned.
    norm : bool, default=False
        Whether the weights of each class are divided by their sum.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class.
    class_log_prior_ : ndarray of shape (n_classes,)
        Log probability of each class.
    feature_count_ : ndarray of shape (n_classes, n_features)
        Weighted sum of each feature over the rows of each class: the exact sum, rounded once.
    feature_all_ : ndarray of shape (n_features,)
        Weighted sum of each feature over all rows, rounded once.
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
        Weight of a feature for each class: minus the smoothed log probability of the feature in all other classes, or
        that probability divided by the sum over features.
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
    MultinomialNB : On what occurs in each class.
    sklearn.naive_bayes.ComplementNB : The estimator that `release` returns.

    Notes
    -----
    With N_j the sum of feature j over all rows and N_cj that over the rows of class c, the weight is
    -log((N_j - N_cj + alpha_j) / sum_j (N_j - N_cj + alpha_j)), section 4.4 of [1]_; differences are taken before
    anything is rounded. A weighted row enters as its values times its weight, each product rounded once. Forgetting a
    row takes one addition for each of its features that is not 0; its time does not depend on the number of rows.

    A feature that occurs in no other class (alpha=0) makes its class certain where it occurs, and enters nothing where
    it does not; several such classes are equally probable. With ``norm=True`` such features share the weight of their
    class equally. scikit-learn, and with it a release, computes with infinities there. The model keeps its rows;
    `release` does not.

    References
    ----------
    .. [1] J. D. M. Rennie, L. Shih, J. Teevan, D. R. Karger, "Tackling the Poor Assumptions of Naive Bayes Text
       Classifiers", ICML 2003.

    Examples
    --------
    >>> from skunlearn.naive_bayes import ComplementNB
    >>> X = [[2, 0], [1, 1], [0, 3], [0, 4]]
    >>> model = ComplementNB().fit(X, [0, 0, 1, 1], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["b"]).feature_all_
    array([2., 7.])
    """

    _parameter_constraints: dict[str, Any] = {**OccurrenceNB._parameter_constraints, "norm": ["boolean"]}

    feature_all_ = fitted_attribute()

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
        norm: bool = False,
        classes: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.norm = norm
        self.classes = classes

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_ComplementCore":
        return _ComplementCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: "ComplementNBState", params: dict[str, Any]) -> Any:
        twin = sklearn.naive_bayes.ComplementNB(**{name: value for name, value in params.items() if name != "classes"})
        for name in ("classes_", "class_count_", "class_log_prior_", "feature_count_", "feature_all_"):
            setattr(twin, name, getattr(state, name).copy())
        twin.feature_log_prob_ = state.feature_log_prob_.copy()
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class ComplementNBState(OccurrenceNBState):
    """The published state of a `ComplementNB`.

    Parameters
    ----------
    feature_all_ : ndarray of shape (n_features,)
        As in the estimator.
    """

    feature_all_: np.ndarray

    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return the scores of rows that were checked: 0 and -inf where a class is certain."""
        scores, is_certain = self._scores(X)
        is_certain &= self.bias > -np.inf
        some = is_certain.any(axis=1)
        scores[some] = np.where(is_certain[some], 0.0, -np.inf)
        return scores


class _ComplementCore(OccurrenceCore):
    """Exact sums, and the weights of features that they give."""

    def publish(self, owner: Owner) -> ComplementNBState:
        """Return the weights."""
        codes, labels = classes_with_rows(owner, self._model_name)
        has_rows = owner.codes.n_effective[codes] > 0
        sums = self._sums_in_order(codes)
        counts = self._counts(sums)
        others = self._counts([(exponents, _complements(part)) for exponents, part in sums])
        feature_count, class_count = counts[:, :-1].copy(), counts[:, -1].copy()
        feature_all = others[-1, :-1].copy()
        prior = class_log_prior(self._params, class_count, has_rows)
        weights = self._weights(others[:-1, :-1])
        freeze(labels, class_count, prior, feature_count, feature_all, weights)
        return ComplementNBState(
            classes_=labels,
            class_count_=class_count,
            class_log_prior_=prior,
            feature_count_=feature_count,
            feature_log_prob_=weights,
            bias=prior if len(labels) == 1 else np.where(has_rows, 0.0, -np.inf),
            feature_all_=feature_all,
        )

    def _weights(self, other_count: np.ndarray) -> np.ndarray:
        """Return the weights of features; equal ones where nothing is in the other classes, and alpha is 0."""
        smoothed = other_count + self._alpha
        total = sum_in_order(smoothed)[:, None]
        if not np.isfinite(total).all():
            raise self._too_large(int(np.count_nonzero(~np.isfinite(total))), total.size)
        smoothed[total[:, 0] == 0] = 1.0
        weights: np.ndarray = -ln(smoothed / sum_in_order(smoothed)[:, None])
        return _normalised(weights) if self._params["norm"] else weights


def _complements(sums: np.ndarray) -> np.ndarray:
    out = np.empty((len(sums) + 1, *sums.shape[1:]), dtype=np.int64)
    _tallies.complements(sums, out)
    return out


def _normalised(weights: np.ndarray) -> np.ndarray:
    """Return weights that sum to 1 in each class; infinite ones share it, and so do all where all are 0."""
    infinite = np.isinf(weights)
    weights = np.where(infinite.any(axis=1)[:, None], infinite.astype(np.float64), weights)
    weights[(weights == 0).all(axis=1)] = 1.0
    return np.asarray(weights / sum_in_order(weights)[:, None])
