"""What transformers of rows without weights share: `fit` and `partial_fit`, with scikit-learn's signatures."""

from abc import abstractmethod
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import OneToOneFeatureMixin

from skunlearn.base import ForgetMixin
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import check_array, fit_context, validate_data

__all__ = [
    "ColumnMap",
    "ColumnScaler",
    "UnweightedTransformer",
    "divide_columns",
    "is_tiny",
    "multiply_columns",
    "without_tiny",
]

_FLOATS = (np.float64, np.float32)


class UnweightedTransformer(ForgettingTransformerMixin, ForgetMixin):
    """A transformer whose rows have neither targets nor weights."""

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None, forgettable: bool = True
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
        return self._fit_rows(X, None, None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
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
        return self._learn_rows(X, None, None, sample_ids, subject_ids)


class ColumnMap(TransformMap):
    """A map of every column by itself. Values that become too large are infinite, without a warning."""

    __slots__ = ()

    @abstractmethod
    def map_in_place(self, X: Any) -> Any:
        """Transform rows where they are."""

    @abstractmethod
    def map_back_in_place(self, X: Any) -> Any:
        """Undo the transformation of rows where they are."""

    def apply(self, X: Any) -> Any:
        """Return rows transformed."""
        return self.forth(X.copy())

    def forth(self, X: Any) -> Any:
        """Transform rows where they are."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.map_in_place(X)

    def back(self, X: Any) -> Any:
        """Undo the transformation of rows where they are."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self.map_back_in_place(X)


class ColumnScaler(OneToOneFeatureMixin, UnweightedTransformer):
    """A transformer that maps every column by itself, to one of the same dtype, and back.

    A subclass publishes a `ColumnMap`, has the parameter `copy`, and says in `_takes_sparse` whether it takes sparse
    rows. NaN stands for a missing value.
    """

    def transform(self, X: Any) -> Any:
        """Transform rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows; NaN stays NaN.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_features)
            Transformed rows, of the dtype of X. A row alone gives the bits that it gives in bulk, dense or sparse.
        """
        state: ColumnMap = self._published()
        return state.forth(self._check_X(self, X, reset=False, copy=self.copy, force_writeable=True))

    def inverse_transform(self, X: Any) -> Any:
        """Undo `transform`, to rounding.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Transformed rows.

        Returns
        -------
        X_original : {ndarray, sparse matrix} of shape (n_samples, n_features)
            Rows, of the dtype of X.
        """
        state: ColumnMap = self._published()
        X = check_array(
            X,
            accept_sparse="csr" if self._takes_sparse() else False,
            copy=self.copy,
            dtype=_FLOATS,
            force_writeable=True,
            ensure_all_finite="allow-nan",
        )
        if X.shape[1] != state.n_features_in:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {state.n_features_in} features "
                "as input."
            )
        self._check_values(X)
        return state.back(X)

    def _takes_sparse(self) -> bool:
        """Return whether rows may be sparse."""
        return True

    def _check_values(self, X: Any) -> None:
        """Refuse values, in `fit` or later, with a ValueError."""

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y = "y" in options
        options.pop("y", None)
        X = validate_data(
            estimator,
            X,
            accept_sparse="csr" if self._takes_sparse() else False,
            dtype=_FLOATS,
            ensure_all_finite="allow-nan",
            **options,
        )
        estimator._check_values(X)
        return (X, None) if has_y else X

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = self._takes_sparse()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def divide_columns(X: Any, divisors: np.ndarray) -> None:
    """Divide columns of dense or CSR rows where they are; each cell gives the same bits in both."""
    if sp.issparse(X):
        X.data /= divisors[X.indices]
    else:
        X /= divisors


def multiply_columns(X: Any, factors: np.ndarray) -> None:
    """Multiply columns of dense or CSR rows where they are; each cell gives the same bits in both."""
    if sp.issparse(X):
        X.data *= factors[X.indices]
    else:
        X *= factors


def is_tiny(scale: np.ndarray) -> np.ndarray:
    """Return which scales are too small to divide by, where scikit-learn draws the line."""
    tiny: np.ndarray = scale < 10 * np.finfo(scale.dtype).eps
    return tiny


def without_tiny(scale: np.ndarray) -> np.ndarray:
    """Return a scale with 1 in place of what is too small to divide by."""
    return np.where(is_tiny(scale), scale.dtype.type(1), scale)
