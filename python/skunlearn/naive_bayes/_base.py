"""What all naive Bayes classifiers share: learning, reading and prediction."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from _unlearn_native._native import exp, log_normalize
from sklearn.base import ClassifierMixin

from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.class_codes import best_columns
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Owner
from skunlearn.utils._sklearn_compat import fit_context

__all__ = ["NaiveBayes", "NaiveBayesState", "classes_with_rows"]


@dataclass(frozen=True, slots=True, eq=False)
class NaiveBayesState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Total weight of the rows of each class.
    """

    classes_: np.ndarray
    class_count_: np.ndarray

    @abstractmethod
    def joint_log_likelihood(self, X: Any) -> np.ndarray:
        """Return log P(x, y), of shape (n_samples, n_classes); a row alone gives the bits that it gives in bulk."""


class NaiveBayes(ClassifierMixin, ForgetMixin):
    """Naive Bayes: learning, reading and prediction. A subclass publishes a `NaiveBayesState`.

    It has the parameter `classes`.
    """

    classes_ = fitted_attribute()
    class_count_ = fitted_attribute()

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
        return state.classes_[best_columns(joint, state.class_count_ > 0)]

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

    def _read(self, X: Any) -> tuple[NaiveBayesState, np.ndarray]:
        """Return one published version and what it says about `X`."""
        state = self._published()
        return state, state.joint_log_likelihood(self._check_X(self, X, reset=False))


def classes_with_rows(owner: Owner, model_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and labels of the classes in order, or say that every row is gone."""
    codes, labels = owner.codes.classes()
    if not owner.codes.n_effective.any():
        raise DegenerateRowsError(
            f"This {model_name} has no row of a weight above 0 left, so there is nothing to predict from. Call "
            "partial_fit or fit."
        )
    return codes, labels
