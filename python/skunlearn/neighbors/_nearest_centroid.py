"""Nearest centroids that forget exactly."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.neighbors
from _unlearn_native._native import exp, ln, log_normalize
from sklearn.base import ClassifierMixin

from skunlearn._linalg._distances import squared_distances_csr, squared_distances_dense
from skunlearn._moment_core import ColumnSums, MomentCore, nearest_root, total_of
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.class_codes import best_columns
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.rows import RowStore, csr_rows
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["NearestCentroid"]


class NearestCentroid(ClassifierMixin, ForgetMixin):
    """Classifier by the nearest mean of a class, that forgets rows exactly.

    What is kept of the rows are exact integer sums for each class, so `partial_forget` is their subtraction:
    afterwards the model equals, bit for bit, one fitted on the rows that are left. Centroids and deviations are
    rounded once, from the exact sums.

    Parameters
    ----------
    metric : {"euclidean", "manhattan"}, default="euclidean"
        Must be "euclidean": the centroids of "manhattan" are medians, which sums do not determine.
    shrink_threshold : float, default=None
        By how many of their deviations centroids move towards the centroid of all rows, and not beyond it.
    priors : {"uniform", "empirical"} or array-like of shape (n_classes,), default="uniform"
        Probabilities of the classes: equal, their share of the rows, or given; those are divided by their sum.
    classes : array-like of shape (n_classes,), default=None
        Labels that are classes whether or not a row bears them; without rows they have probability 0. Recommended in
        production: it keeps the shape of every output when a class loses its last row.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_prior_ : ndarray of shape (n_classes,)
        Probability of each class; 0 without rows.
    centroids_ : ndarray of shape (n_classes, n_features)
        Means of the classes, correctly rounded; shrunken where `shrink_threshold` is given, and 0 without rows.
    within_class_std_dev_ : ndarray of shape (n_features,)
        Pooled standard deviation about the means of the classes, correctly rounded.
    deviations_ : ndarray of shape (n_classes, n_features)
        Centroids less that of all rows, in units of their standard errors, shrunken by `shrink_threshold`.
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
    sklearn.neighbors.NearestCentroid : The estimator that `release` returns.

    Notes
    -----
    Scores are -sum_j ((x_j - centroid_cj) / s_j)^2 + 2 log P(c), eq. (18.2) of [1]_, with s_j the pooled standard
    deviation, or 1 where that is 0. As in scikit-learn, `predict` takes the nearest centroid without s_j where all
    classes are equally probable, and the best score otherwise: also where a declared class is without rows, as a
    release does. Every value enters as an integer, rounded by at most 2**-53 of the largest live value of its column.

    Forgetting m rows takes O(m n_features) integer operations; its time does not depend on the number of rows, unless
    the last of the largest values of a column goes: the next read then passes over the rows. Fewer than two classes
    with rows, or rows that are all equal, determine no model: it keeps its rows, and reading raises
    `DegenerateRowsError`. The model keeps its rows; `release` does not.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, J. Friedman, "The Elements of Statistical Learning", 2nd ed., Springer, 2009.

    Examples
    --------
    >>> from skunlearn.neighbors import NearestCentroid
    >>> X, y = [[1.0], [3.0], [7.0], [9.0], [80.0]], [0, 0, 1, 1, 1]
    >>> model = NearestCentroid().fit(X, y, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).centroids_
    array([[2.],
           [8.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "metric": [StrOptions({"manhattan", "euclidean"})],
        "shrink_threshold": [Interval(Real, 0, None, closed="neither"), None],
        "priors": ["array-like", StrOptions({"empirical", "uniform"})],
        "classes": ["array-like", None],
    }

    classes_ = fitted_attribute()
    class_prior_ = fitted_attribute()
    centroids_ = fitted_attribute()
    within_class_std_dev_ = fitted_attribute()
    deviations_ = fitted_attribute()

    def __init__(
        self,
        metric: str = "euclidean",
        *,
        shrink_threshold: float | None = None,
        priors: Any = "uniform",
        classes: Any = None,
    ) -> None:
        self.metric = metric
        self.shrink_threshold = shrink_threshold
        self.priors = priors
        self.classes = classes

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
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
        _warn_of_sum(self.priors)
        return self._fit_rows(X, y, None, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
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
        return self._learn_rows(X, y, None, sample_ids, subject_ids, classes=classes)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the score of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_classes) or (n_samples,)
            Columns in the order of ``classes_``; of two classes, the second score less the first.
        """
        scores = self._scores(X)
        if scores.shape[1] != 2:
            return scores
        # Both may be -inf, of rows that are too far away from everything.
        return np.subtract(scores[:, 1], scores[:, 0], out=np.zeros(len(scores)), where=scores[:, 1] != scores[:, 0])

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of every row; of several, the first.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels. A row alone gives what it gives in bulk, dense or sparse.
        """
        state = self._published()
        return state.predict(self._check_X(self, X, reset=False))

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
        return log_normalize(self._scores(X))

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

    def _scores(self, X: Any) -> np.ndarray:
        state: NearestCentroidState = self._published()
        return state.scores(self._check_X(self, X, reset=False))

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_CentroidCore":
        return _CentroidCore(type(self).__name__, params, rows.native.n_features)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        return validate_data(estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)

    def _native_twin(self, state: "NearestCentroidState", params: dict[str, Any]) -> Any:
        twin = sklearn.neighbors.NearestCentroid(**{name: value for name, value in params.items() if name != "classes"})
        for name in ("classes_", "class_prior_", "centroids_", "within_class_std_dev_", "deviations_"):
            setattr(twin, name, getattr(state, name).copy())
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 32 * n_classes * (1 + X.shape[1])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class NearestCentroidState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_, class_prior_ : ndarray of shape (n_classes,)
        As in the estimator.
    centroids_, deviations_ : ndarray of shape (n_classes, n_features)
        As in the estimator.
    within_class_std_dev_ : ndarray of shape (n_features,)
        As in the estimator.
    """

    classes_: np.ndarray
    class_prior_: np.ndarray
    centroids_: np.ndarray
    within_class_std_dev_: np.ndarray
    deviations_: np.ndarray

    def scores(self, X: Any) -> np.ndarray:
        """Return the discriminant scores of rows that were checked."""
        scale = np.where(self.within_class_std_dev_ == 0, 1.0, self.within_class_std_dev_)
        return 2.0 * ln(self.class_prior_) - self._squared_distances(X, scale)

    def predict(self, X: Any) -> np.ndarray:
        """Return labels for rows that were checked."""
        if np.isclose(self.class_prior_, 1 / len(self.classes_)).all():
            return self.classes_[self._squared_distances(X, np.ones(self.centroids_.shape[1])).argmin(axis=1)]
        return self.classes_[best_columns(self.scores(X), self.class_prior_ > 0)]

    def _squared_distances(self, X: Any, scale: np.ndarray) -> np.ndarray:
        scales = np.ascontiguousarray(np.broadcast_to(scale, self.centroids_.shape))
        out = np.empty((X.shape[0], len(self.classes_)))
        if sp.issparse(X):
            squared_distances_csr(*csr_rows(X), self.centroids_, scales, np.zeros(X.shape[1]), out)
        else:
            squared_distances_dense(np.ascontiguousarray(X), self.centroids_, scales, out)
        return out


class _CentroidCore(MomentCore):
    """Exact moments by class, and the centroids that they make."""

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        if params["metric"] != "euclidean":
            raise ValueError(
                f"{model_name} does not offer metric='manhattan'. Nothing was changed. Its centroids are medians: "
                "order statistics, which the sums that are kept do not determine; use metric='euclidean'."
            )
        super().__init__(model_name, n_features)
        self._shrink_threshold = params["shrink_threshold"]
        self._priors = params["priors"] if isinstance(params["priors"], str) else _given_priors(params["priors"])

    def publish(self, owner: Owner) -> NearestCentroidState:
        """Return centroids, deviations and priors."""
        codes, labels = owner.codes.classes()
        n_rows = np.array([self._moments.n_rows_of(code) for code in codes.tolist()], dtype=np.int64)
        has_rows = n_rows > 0
        self._check_determined(int(has_rows.sum()))
        parts = [self._column_sums(code) for code in codes.tolist()]
        total = total_of(parts)
        if not any(total.spreads()):
            raise DegenerateRowsError(
                f"All features of this {self._model_name} have zero variance: its rows are equal. Learn other rows."
            )
        within = _within_deviations([part for part, some in zip(parts, has_rows, strict=True) if some])
        centroids, deviations = self._centroids(parts, total, n_rows, within)
        prior = self._class_prior(n_rows)
        for array in (labels, prior, centroids, within, deviations):
            array.flags.writeable = False
        return NearestCentroidState(
            classes_=labels,
            class_prior_=prior,
            centroids_=centroids,
            within_class_std_dev_=within,
            deviations_=deviations,
        )

    def _check_determined(self, n_classes: int) -> None:
        if n_classes < 2:
            raise DegenerateRowsError(
                f"The number of classes with rows has to be greater than one; this {self._model_name} has {n_classes} "
                f"class{'' if n_classes == 1 else 'es'}. Learn rows of another class."
            )

    def _centroids(
        self, parts: list[ColumnSums], total: ColumnSums, n_rows: np.ndarray, within: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return centroids and deviations, shrunken where that is asked for; eqs. (18.4) to (18.7) of the reference."""
        has_rows = n_rows > 0
        centroids, centre = np.array([part.means() for part in parts]), total.means()
        of_count = np.sqrt(1.0 / np.maximum(n_rows, 1) - 1.0 / n_rows.sum())
        errors = of_count[:, None] * (within + np.median(within))
        with np.errstate(divide="ignore", over="ignore"):
            gaps = centroids - centre
            deviations = np.divide(gaps, errors, out=np.zeros_like(gaps), where=gaps != 0)
        if self._shrink_threshold:
            sizes = np.maximum(np.abs(deviations) - self._shrink_threshold, 0.0)
            deviations = np.copysign(sizes, gaps) + 0.0
            # An error of 0 allows no shrinking: the deviation is infinite, or 0 already.
            moved = centre + np.multiply(errors, deviations, out=gaps, where=errors != 0)
            centroids = moved
        centroids[~has_rows], deviations[~has_rows] = 0.0, 0.0
        return centroids, deviations

    def _class_prior(self, n_rows: np.ndarray) -> np.ndarray:
        """Return the probability of every class; one without rows has none."""
        if isinstance(self._priors, str):
            parts = n_rows if self._priors == "empirical" else np.minimum(n_rows, 1)
            return np.asarray(parts / parts.sum())
        if self._priors.shape != n_rows.shape:
            raise DegenerateRowsError(
                f"Number of priors must match number of classes. priors has shape {self._priors.shape}, and there are "
                f"{len(n_rows)} classes. Declare classes= to keep a prior for a class that has no rows."
            )
        prior = np.where(n_rows > 0, self._priors, 0.0)
        if not prior.any():
            raise DegenerateRowsError(
                f"Every class of this {self._model_name} with rows has a prior of zero. Learn rows of another class."
            )
        return prior


def _within_deviations(parts: Sequence[ColumnSums]) -> np.ndarray:
    """Return the float64 nearest to the root of each pooled variance; 0 where every class has one row."""
    n_rows = [part.weights[0] for part in parts]
    freedom = sum(n_rows) - len(parts)
    if freedom == 0:
        return np.zeros(len(parts[0].sums))
    columns = zip(parts[0].shifts, *(part.spreads() for part in parts), strict=True)
    within = []
    for shift, *spreads in columns:
        pooled = sum((Fraction(spread, n) for spread, n in zip(spreads, n_rows, strict=True)), Fraction(0))
        within.append(nearest_root(pooled.numerator, pooled.denominator * freedom, -2 * shift))
    return np.array(within)


def _given_priors(priors: Any) -> np.ndarray:
    """Return priors as probabilities."""
    given = np.asarray(priors, dtype=np.float64)
    if not (given >= 0).all():
        raise ValueError("priors must be non-negative. Nothing was changed.")
    if not given.any() or np.isinf(given).any():
        raise ValueError("priors are all zero, or not finite. Nothing was changed. Give some class one above zero.")
    return given if np.isclose(given.sum(), 1.0) else given / given.sum()


def _warn_of_sum(priors: Any) -> None:
    if not isinstance(priors, str) and not np.isclose(np.sum(priors), 1.0):
        warnings.warn("The priors do not sum to 1. Normalizing such that it sums to one.", UserWarning, stacklevel=4)
