"""Naive Bayes on categorical features that forgets exactly."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.naive_bayes
from _unlearn_native._native import CategoryCounts, categorical_joint_log_likelihood, ln
from sklearn.utils.validation import check_non_negative

from skunlearn._linalg.fixed_order import freeze
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import CategoryVanishedWarning, UnknownCategoryError
from skunlearn.live import Core, Owner
from skunlearn.naive_bayes._base import classes_with_rows
from skunlearn.naive_bayes._discrete import DiscreteNB, DiscreteNBState, class_log_prior, smoothing
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.utils._sklearn_compat import Interval, validate_data

__all__ = ["CategoricalNB"]

#: Categories are kept as float32, exact up to here; a table of more would be no table of categories.
_MAX_CATEGORIES = 2**24


class CategoricalNB(DiscreteNB):
    """Naive Bayes classifier for categorical features that forgets rows exactly.

    The model is a table of integer counts, so `partial_forget` is their subtraction: afterwards the model equals, bit
    for bit, one fitted on the rows that are left. A weighted count is the exact sum of the weights, rounded once.

    Parameters
    ----------
    alpha : float, default=1.0
        Additive (Laplace/Lidstone) smoothing parameter.
    force_alpha : bool, default=True
        If False, alpha below 1e-10 is set to 1e-10, with a warning.
    fit_prior : bool, default=True
        Whether to learn class prior probabilities; if False, the prior is uniform.
    class_prior : array-like of shape (n_classes,), default=None
        Prior probabilities of the classes; they are then not learned.
    min_categories : int or array-like of shape (n_features,), default=None
        Least number of categories of every feature. Without it, a feature has one category more than the largest that
        a live row bears; recommended in production: it keeps the shape when that row is forgotten.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0.

    Attributes
    ----------
    category_count_ : list of n_features ndarrays of shape (n_classes, n_categories of the feature)
        Total weight of the rows of each class and category.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class.
    class_log_prior_ : ndarray of shape (n_classes,)
        Log probability of each class.
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    feature_log_prob_ : list of n_features ndarrays of shape (n_classes, n_categories of the feature)
        Smoothed log probability of each category in a class.
    n_categories_ : ndarray of shape (n_features,), int64
        Number of categories of each feature.
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
    BernoulliNB : Naive Bayes on binary features.
    sklearn.naive_bayes.CategoricalNB : The estimator that `release` returns.

    Notes
    -----
    With N_c the total weight of class c, N_cjv that of its rows with category v of feature j and K_j the number of
    categories, P(x_j = v | c) is (N_cjv + alpha) / (N_c + alpha K_j), section 13.2 of [1]_. Forgetting m rows takes
    O(m n_features) integer additions; its time does not depend on the number of rows.

    Features are integers from 0 up; as in scikit-learn, fractions are cut off. Sparse input is accepted, its missing
    entries being category 0. The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] C. D. Manning, P. Raghavan, H. Schuetze, "Introduction to Information Retrieval", Cambridge University Press,
       2008.

    Examples
    --------
    >>> from skunlearn.naive_bayes import CategoricalNB
    >>> X = [[0, 1], [1, 2], [1, 0], [1, 0]]
    >>> model = CategoricalNB(min_categories=3).fit(X, [0, 0, 1, 1], sample_ids=["a", "b", "c", "d"])
    >>> model.partial_forget(["b"]).category_count_[1]
    array([[0., 1., 0.],
           [2., 0., 0.]])
    """

    _parameter_constraints: dict[str, Any] = {
        **DiscreteNB._parameter_constraints,
        "alpha": [Interval(Real, 0, None, closed="left")],
        "min_categories": [None, "array-like", Interval(Integral, 1, None, closed="left")],
    }

    category_count_ = fitted_attribute()
    n_categories_ = fitted_attribute()

    def __init__(
        self,
        *,
        alpha: float = 1.0,
        force_alpha: bool = True,
        fit_prior: bool = True,
        class_prior: Any = None,
        min_categories: Any = None,
        classes: Any = None,
    ) -> None:
        self.alpha = alpha
        self.force_alpha = force_alpha
        self.fit_prior = fit_prior
        self.class_prior = class_prior
        self.min_categories = min_categories
        self.classes = classes

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_CategoricalCore":
        return _CategoricalCore(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        # scikit-learn casts a sparse matrix before it looks for NaN, which would become a number.
        dtype = "numeric" if sp.issparse(X) else "int"
        checked = validate_data(estimator, X, accept_sparse="csr", dtype=dtype, **options)
        X, y = checked if isinstance(checked, tuple) else (checked, None)
        X = _as_categories(X)
        return (X, y) if isinstance(checked, tuple) else X

    def _native_twin(self, state: "CategoricalNBState", params: dict[str, Any]) -> Any:
        twin = sklearn.naive_bayes.CategoricalNB(**{name: value for name, value in params.items() if name != "classes"})
        twin.classes_ = state.classes_.copy()
        twin.class_count_ = state.class_count_.copy()
        twin.class_log_prior_ = state.class_log_prior_.copy()
        twin.category_count_ = [counts.copy() for counts in state.category_count_]
        twin.feature_log_prob_ = [terms.copy() for terms in state.feature_log_prob_]
        twin.n_categories_ = state.n_categories_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        largest = X.max(axis=0)
        largest = largest.toarray() if sp.issparse(largest) else largest
        total = int(np.maximum(largest + 1, _least_categories(self.min_categories, X.shape[1])).sum())
        return (16 * n_classes + 8) * total

    def _stored_dtype(self, X: Any) -> np.dtype:
        return np.dtype(np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.positive_only = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class CategoricalNBState(DiscreteNBState):
    """The published state of a `CategoricalNB`.

    Parameters
    ----------
    category_count_, feature_log_prob_ : list of ndarrays of shape (n_classes, n_categories of the feature)
        As in the estimator.
    n_categories_ : ndarray of shape (n_features,), int64
        Number of categories of each feature.
    log_prob_by_category : list of ndarrays of shape (n_categories of the feature, n_classes)
        `feature_log_prob_` in the layout that prediction reads.
    """

    category_count_: list[np.ndarray]
    feature_log_prob_: list[np.ndarray]
    n_categories_: np.ndarray
    log_prob_by_category: list[np.ndarray]

    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y) for rows that were checked."""
        X = X.toarray() if sp.issparse(X) else X
        beyond = X.max(axis=0, initial=0) >= self.n_categories_
        if beyond.any():
            raise UnknownCategoryError(
                f"{np.count_nonzero(beyond)} of {len(beyond)} features of X hold categories beyond those of the model. "
                "Declare min_categories, so that the model knows categories that no live row bears."
            )
        return categorical_joint_log_likelihood(X, self.log_prob_by_category, self.class_log_prior_)


class _CategoricalCore(Core):
    """Exact weighted counts by class code and category; the tables are native."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        self._model_name = model_name
        self._params = params
        self._alpha = smoothing(params, n_features)
        self._min_categories = _least_categories(params["min_categories"], n_features)
        self._n_features = n_features
        self._counts = CategoryCounts(n_features)

    def _learn(self, block: RowBlock) -> None:
        with _dense(block.X, self._n_features) as X:
            self._counts.learn(X, _codes(block), block.weight)

    def _forget(self, block: RowBlock) -> None:
        with _dense(block.X, self._n_features) as X:
            self._counts.forget(X, _codes(block), block.weight)

    def _rebuild(self, owner: Owner) -> None:
        self._counts = CategoryCounts(self._n_features)
        for block in owner.effective_blocks():
            self._learn(block)

    def warn_before_forget(self, block: RowBlock) -> None:
        """Warn where a feature loses the last row of its largest category, and with it the category."""
        with _dense(block.X, self._n_features) as X:
            n_shrinking = self._counts.n_shrinking(X, self._min_categories)
        if n_shrinking:
            warnings.warn(
                f"{n_shrinking} of {self._n_features} features lose their largest category in this {self._model_name}. "
                "Declare min_categories to keep it.",
                CategoryVanishedWarning,
                stacklevel=6,
            )

    def publish(self, owner: Owner) -> CategoricalNBState:
        """Return the probabilities that the counts give."""
        codes, labels = classes_with_rows(owner, self._model_name)
        has_rows = owner.codes.n_effective[codes] > 0
        slots = codes.astype(np.int32)
        class_count = self._counts.class_sums(slots)
        n_categories = np.maximum(self._counts.n_categories(), self._min_categories)
        category_count = [self._counts.category_sums(j, slots, n) for j, n in enumerate(n_categories.tolist())]
        log_prob = self._log_prob(category_count, class_count, n_categories)
        by_category = np.where(has_rows[:, None], log_prob, 0.0).T
        edges = np.cumsum(n_categories)[:-1]
        feature_log_prob = [np.ascontiguousarray(part) for part in np.split(log_prob, edges, axis=1)]
        prior = class_log_prior(self._params, class_count, has_rows)
        freeze(labels, class_count, prior, n_categories, *category_count, *feature_log_prob)
        return CategoricalNBState(
            classes_=labels,
            class_count_=class_count,
            class_log_prior_=prior,
            category_count_=category_count,
            feature_log_prob_=feature_log_prob,
            n_categories_=n_categories,
            log_prob_by_category=np.split(np.ascontiguousarray(by_category), edges),
        )

    def _log_prob(self, counts: list[np.ndarray], class_count: np.ndarray, n_categories: np.ndarray) -> np.ndarray:
        """Return the log probabilities of all categories of all features, side by side."""
        smoothed = np.concatenate(counts, axis=1) + self._alpha
        totals = class_count[:, None] + self._alpha * n_categories
        # alpha=0 in a class without rows is 0 of 0, and scikit-learn would predict a class that is NaN.
        smoothed[(class_count + self._alpha) == 0] = 1.0
        totals = np.where(totals == 0, n_categories, totals)
        return ln(smoothed) - np.repeat(ln(totals), n_categories, axis=1)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact counts, classes in the order of their labels."""
        codes, _ = owner.codes.classes()
        return [self._counts.sums_digest_parts(codes.astype(np.int32))]

    def nbytes(self) -> int:
        """Return the size of the counts in bytes."""
        return int(self._counts.nbytes)


def _as_categories(X: Any) -> Any:
    """Return checked categories, fractions cut off, as float32, which holds every integer up to 2**24."""
    check_non_negative(X, "CategoricalNB (input X)")
    values = X.data if sp.issparse(X) else X
    n_wrong = int(np.count_nonzero(values >= _MAX_CATEGORIES))
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {values.size} values of X are no categories from 0 to {_MAX_CATEGORIES - 1}. Nothing was "
            "changed. Encode X with OrdinalEncoder first."
        )
    return X.astype(np.int32).astype(np.float32)


def _least_categories(min_categories: Any, n_features: int) -> np.ndarray:
    """Return the least number of categories of every feature, checked as scikit-learn does."""
    if min_categories is None:
        return np.zeros(n_features, dtype=np.int64)
    least = np.asarray(min_categories)
    if not np.issubdtype(least.dtype, np.signedinteger):
        raise ValueError(f"'min_categories' should have integral type. Got {least.dtype} instead.")
    if least.ndim and least.shape != (n_features,):
        raise ValueError(
            f"'min_categories' should have shape ({n_features},) when an array-like is provided. Got {least.shape} "
            "instead."
        )
    return np.broadcast_to(least, (n_features,)).astype(np.int64)


def _codes(block: RowBlock) -> np.ndarray:
    assert block.y is not None
    return block.y[:, 0].astype(np.int32)


@contextmanager
def _dense(X: Any, n_features: int) -> Iterator[np.ndarray]:
    """Give rows with their zeros written out (category 0 is a category like any other), and wipe the copy."""
    if not isinstance(X, CsrRows):
        yield X
        return
    written_out = sp.csr_array((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, n_features)).toarray()
    try:
        yield written_out
    finally:
        written_out.fill(0)
