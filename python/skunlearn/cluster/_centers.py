"""What clusterers by centres share: learning, and answers about rows by their distances to the centres."""

import math
from typing import Any, Self

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin

from skunlearn.base import ForgetMixin
from skunlearn.utils._sklearn_compat import check_sample_weight, effective_n_threads, fit_context, validate_data

__all__ = ["CentersMixin"]

#: Rows at a time for which `score` holds the distances to all centres.
_SCORED_ROWS = 8192


class CentersMixin(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, ForgetMixin):
    """Methods of an estimator that publishes `cluster_centers_`, and in its state their `distances` to rows."""

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`. The model is then that of all rows, as if fitted at once.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : Ignored
            There for the interface.
        sample_weight : float or array-like of shape (n_samples,), default=None
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
        return self._learn_rows(X, None, sample_weight, sample_ids, subject_ids)

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> np.ndarray:
        """Cluster rows and return their labels.

        Parameters
        ----------
        X, y, sample_weight, sample_ids, subject_ids
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Label of each row.
        """
        fitted = self.fit(X, None, sample_weight, sample_ids=sample_ids, subject_ids=subject_ids)
        labels: np.ndarray = fitted.labels_
        return labels

    def fit_transform(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Any:
        """Cluster rows and return their distances to the centres.

        Parameters
        ----------
        X, y, sample_weight, sample_ids, subject_ids
            As in `fit`.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            As of `transform`.
        """
        return self.fit(X, None, sample_weight, sample_ids=sample_ids, subject_ids=subject_ids)._transform(X)

    def transform(self, X: Any) -> np.ndarray:
        """Return the distances of rows to the centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        distances : ndarray of shape (n_samples, n_clusters)
            Euclidean distances, dense also where X is sparse; float32 where X and centres are.
        """
        return self._transform(X)

    def _transform(self, X: Any) -> np.ndarray:
        state = self._published()
        X = self._check_X(self, X, reset=False)
        distances: np.ndarray = state.distances(X, effective_n_threads())
        return distances.astype(np.float32) if X.dtype == state.cluster_centers_.dtype == np.float32 else distances

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the negative of what `inertia_` would be on other rows with these centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : Ignored
            There for the interface.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        score : float
            The sum, rounded once, of the negative weighted squared distances.
        """
        state = self._published()
        X = self._check_X(self, X, reset=False)
        weight = check_sample_weight(sample_weight, X, dtype=np.float64)
        parts = []
        for start in range(0, X.shape[0], _SCORED_ROWS):
            nearest = state.distances(X[start : start + _SCORED_ROWS], effective_n_threads()).min(axis=1)
            parts.append(math.fsum((weight[start : start + _SCORED_ROWS] * nearest * nearest).tolist()))
        return -math.fsum(parts)

    @property
    def _n_features_out(self) -> int:
        return len(self.cluster_centers_)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(
            estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=options["reset"]
        )
        return (checked, None) if "y" in options else checked

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
