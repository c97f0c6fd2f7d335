"""Multinomial naive Bayes that forgets exactly."""

from typing import Any

import numpy as np
import sklearn.naive_bayes
from _unlearn_native._native import ln

from skunlearn._linalg.fixed_order import freeze, sum_in_order
from skunlearn.live import Owner
from skunlearn.naive_bayes._base import classes_with_rows
from skunlearn.naive_bayes._discrete import class_log_prior
from skunlearn.naive_bayes._occurrences import OccurrenceCore, OccurrenceNB, OccurrenceNBState
from skunlearn.rows import RowStore

__all__ = ["MultinomialNB"]


class MultinomialNB(OccurrenceNB):
    """Naive Bayes classifier on numbers of occurrences, such as words in texts, that forgets rows exactly.

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
        Whether to learn class prior probabilities; if False, the prior is uniform.
    class_prior : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; they are then not learned.
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
    feature_log_prob_ : ndarray of shape (n_classes, n_features)
        Smoothed log probability of a feature in each class.
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
    ComplementNB : Suits classes of unequal sizes.
    sklearn.naive_bayes.MultinomialNB : The estimator that `release` returns.

    Notes
    -----
    With N_cj the sum of feature j over the rows of class c, P(j | c) is (N_cj + alpha_j) / sum_j (N_cj + alpha_j),
    section 13.2 of [1]_. A weighted row enters as its values times its weight, each product rounded once; sums are
    exact, whatever the sizes of the values. Forgetting a row takes one addition for each of its features that is not
    0; its time does not depend on the number of rows.

    A feature of probability 0 in a class (alpha=0) rules the class out where it occurs, and enters nothing where it
    does not; scikit-learn, and with it a release, then multiplies 0 by infinity. The model keeps its rows; `release`
    does not.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan, H. Schuetze, "Introduction to Information Retrieval", Cambridge University Press,
       2008.

    Examples
    --------
    >>> from skunlearn.naive_bayes import MultinomialNB
    >>> X = [[2, 0], [1, 1], [0, 3], [0, 4]]
    >>> model = MultinomialNB().fit(X, [0, 0, 1, 1], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["b"]).feature_count_
    array([[2., 0.],
           [0., 7.]])
    """

    def __init__(
        self,
        *,
        alpha: Any = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
        classes: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.classes = classes

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_MultinomialCore":
        return _MultinomialCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: OccurrenceNBState, params: dict[str, Any]) -> Any:
        twin = sklearn.naive_bayes.MultinomialNB(**{name: value for name, value in params.items() if name != "classes"})
        for name in ("classes_", "class_count_", "class_log_prior_", "feature_count_", "feature_log_prob_"):
            setattr(twin, name, getattr(state, name).copy())
        return twin


class MultinomialNBState(OccurrenceNBState):
    """The published state of a `MultinomialNB`."""

    __slots__ = ()

    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y) for rows that were checked."""
        scores, is_impossible = self._scores(X)
        scores[is_impossible] = -np.inf
        return scores


class _MultinomialCore(OccurrenceCore):
    """Exact sums, and the probabilities of features that they give."""

    def publish(self, owner: Owner) -> MultinomialNBState:
        """Return the probabilities."""
        codes, labels = classes_with_rows(owner, self._model_name)
        counts = self._counts(self._sums_in_order(codes))
        feature_count, class_count = counts[:, :-1].copy(), counts[:, -1].copy()
        prior = class_log_prior(self._params, class_count, owner.codes.n_effective[codes] > 0)
        feature_log_prob = self._log_probabilities(feature_count)
        freeze(labels, class_count, prior, feature_count, feature_log_prob)
        return MultinomialNBState(
            classes_=labels,
            class_count_=class_count,
            class_log_prior_=prior,
            feature_count_=feature_count,
            feature_log_prob_=feature_log_prob,
            bias=prior,
        )

    def _log_probabilities(self, feature_count: np.ndarray) -> np.ndarray:
        """Return log P(j | c); uniform in a class whose rows are all 0, where alpha is 0."""
        smoothed = feature_count + self._alpha
        total = sum_in_order(smoothed)[:, None]
        if not np.isfinite(total).all():
            raise self._too_large(int(np.count_nonzero(~np.isfinite(total))), total.size)
        with np.errstate(invalid="ignore"):
            log_prob: np.ndarray = ln(smoothed) - ln(total)
        log_prob[total[:, 0] == 0] = -ln(np.array([float(self._n_features)]))[0]
        return log_prob
