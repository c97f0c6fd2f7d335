"""What a sharded model releases: its shards, without a row store, ids or key."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from skunlearn.class_codes import best_columns
from skunlearn.utils._sklearn_compat import validate_data

__all__ = [
    "ShardEnsembleClassifier",
    "ShardEnsembleRegressor",
    "as_shards_take",
    "mean_prediction",
    "mean_probabilities",
]


def mean_probabilities(
    estimators: Sequence[Any],
    labels: Sequence[np.ndarray],
    weights: np.ndarray,
    classes: np.ndarray,
    X: Any,
    *,
    vote: bool,
) -> np.ndarray:
    """Return the weighted mean of what shards say about the classes, added up in the order of the shards.

    Parameters
    ----------
    estimators : sequence of estimator or None
        The shards; None for one without rows, or with a single class.
    labels : sequence of ndarray
        The classes of each shard: what its codes 0, 1, ... stand for.
    weights : ndarray of shape (n_shards,)
        What each shard counts; 0 for one without rows.
    classes : ndarray of shape (n_classes,)
        Classes of the ensemble, among them those of all shards.
    X : {ndarray, sparse matrix} of shape (n_samples, n_features)
        Validated rows.
    vote : bool
        Whether each shard gives its whole weight to one class.

    Returns
    -------
    proba : ndarray of shape (n_samples, n_classes)
    """
    total = np.zeros((X.shape[0], len(classes)))
    for estimator, own, weight in zip(estimators, labels, weights.tolist(), strict=True):
        if weight == 0:
            continue
        columns = np.searchsorted(classes, own)
        if estimator is None:
            total[:, columns] += weight
        elif vote or not hasattr(estimator, "predict_proba"):
            chosen = columns[np.asarray(estimator.predict(X), dtype=np.intp)]
            total[np.arange(len(chosen)), chosen] += weight
        else:
            total[:, columns] += weight * np.asarray(estimator.predict_proba(X), dtype=np.float64)
    return total / weights.sum()


def mean_prediction(estimators: Sequence[Any], weights: np.ndarray, X: Any) -> np.ndarray:
    """Return the weighted mean of the predictions of shards, added up in the order of the shards."""
    total: Any = 0.0
    for estimator, weight in zip(estimators, weights.tolist(), strict=True):
        if weight:
            total = total + weight * np.asarray(estimator.predict(X), dtype=np.float64)
    return np.asarray(total / weights.sum())


def as_shards_take(X: Any) -> Any:
    """Return validated rows as foreign estimators take them: sparse ones under indices of 32 bits, if they suffice."""
    return sp.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape) if sp.issparse(X) else X


class _ShardEnsemble(BaseEstimator):
    """Fitted shards; made by `release` of a sharded model, and never fitted itself."""

    def fit(self, X: Any, y: Any = None) -> Any:
        """Refuse: what was released is final.

        Raises
        ------
        NotImplementedError
            Always.
        """
        raise NotImplementedError(f"{type(self).__name__} is a release and cannot be fitted. Fit the model it is of.")

    def _rows(self, X: Any) -> Any:
        check_is_fitted(self, "estimators_")
        X = validate_data(
            self, X, reset=False, accept_sparse="csr", dtype=(np.float64, np.float32), ensure_all_finite="allow-nan"
        )
        return as_shards_take(X)


class ShardEnsembleClassifier(ClassifierMixin, _ShardEnsemble):
    """The classifier that `SISAClassifier.release` returns: fitted shards and how to add them up.

    Parameters
    ----------
    vote : bool, default=False
        Whether each shard gives its whole weight to one class.

    Attributes
    ----------
    estimators_ : tuple of estimator or None
        The shards; None for one without rows, or with a single class. What they keep of rows is theirs: a tree keeps
        thresholds, nearest neighbours keep rows.
    shard_classes_ : tuple of ndarray
        The classes of each shard.
    shard_weights_ : ndarray of shape (n_shards,)
        What each shard counts.
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    n_features_in_ : int
        Number of features.
    """

    def __init__(self, vote: bool = False) -> None:
        self.vote = vote

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the mean of the shards' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        shards = (self.estimators_, self.shard_classes_, self.shard_weights_, self.classes_)
        return mean_probabilities(*shards, self._rows(X), vote=self.vote)

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
        has_rows = np.isin(self.classes_, np.concatenate(self.shard_classes_))
        labels: np.ndarray = self.classes_[best_columns(self.predict_proba(X), has_rows)]
        return labels


class ShardEnsembleRegressor(RegressorMixin, _ShardEnsemble):
    """The regressor that `SISARegressor.release` returns: fitted shards and how to add them up.

    Attributes
    ----------
    estimators_ : tuple of estimator or None
        The shards; None for one without rows.
    shard_weights_ : ndarray of shape (n_shards,)
        What each shard counts.
    n_features_in_ : int
        Number of features.
    """

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean of the shards' predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions.
        """
        return mean_prediction(self.estimators_, self.shard_weights_, self._rows(X))
