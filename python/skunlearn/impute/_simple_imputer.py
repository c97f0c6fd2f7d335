"""Imputation by a statistic of each column, forgetting rows exactly."""

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.impute
from sklearn import config_context
from sklearn.utils._missing import is_pandas_na, is_scalar_nan

from skunlearn._count_core import BYTES_A_VALUE, CountCore, category_of, dtypes_of
from skunlearn._linalg.order_statistics import OrderStatistics
from skunlearn._order_core import OrderCore
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.columns import NAN, TableRows, as_table, plain_value, to_json
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.preprocessing._lattice import on_lattice
from skunlearn.preprocessing._standard_scaler import _ScalerCore
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import StrOptions, check_array, fit_context, validate_data

__all__ = ["SimpleImputer"]

#: What the phases of the lattice of medians are derived for; that of means is the one of `StandardScaler`.
_MEDIAN_PURPOSES = ("imputer median", "imputer spread")


class SimpleImputer(ForgettingTransformerMixin, ForgetMixin):
    """Fill in missing values with a statistic of their column, forgetting rows exactly.

    What is kept of the rows are exact integer sums for means, and counts of values for all other statistics, so
    `partial_forget` is their subtraction: afterwards the imputer equals, bit for bit, one fitted with the same key on
    the rows that are left.

    By default means and medians are published on a lattice: within a quarter of a scale, which is within a factor of
    1.09 of the standard deviation or, for medians, of the distance of the quartiles. Few deletions then change the
    transform; those that do change rows with a missing value alone. The lattice is placed by the key: with
    ``random_state=None`` two fits differ within a cell; pass an int or a `Key` to repeat one.

    Parameters
    ----------
    missing_values : int, float, str, np.nan, None or pandas.NA, default=np.nan
        What stands for a missing value.
    strategy : {"mean", "median", "most_frequent", "constant"} or callable, default="mean"
        The statistic; of equally frequent values the smallest. A callable is given the values of a column that are
        there, ascending.
    fill_value : str or number, default=None
        The constant: 0 for numbers and "missing_value" for others by default.
    copy : bool, default=True
        If False, `transform` changes its input where it can.
    add_indicator : bool, default=False
        Whether to append a column for each feature with missing values, which says where they were.
    keep_empty_features : bool, default=False
        Whether to keep a feature of which all values are missing, filled with 0, or with the constant.
    exact_statistics : bool, default=False
        Publish the true mean or median. The transform then changes in nearly every deletion.
    random_state : int, RandomState instance, Key or None, default=None
        Where the lattice lies.

    Attributes
    ----------
    statistics_ : ndarray of shape (n_features,)
        What is filled in; NaN for a feature that is left out.
    indicator_ : sklearn.impute.MissingIndicator or None
        Which features have missing values, where that is asked for.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.

    See Also
    --------
    sklearn.impute.SimpleImputer : What `release` returns.

    Notes
    -----
    Forgetting m rows takes O(m n_features) operations on integers or look-ups, whatever the number of rows; the next
    read sorts the distinct values of a column for a median. The model keeps its rows; `release` does not.

    Examples
    --------
    >>> from skunlearn.impute import SimpleImputer
    >>> X = [["a"], [None], ["b"], ["b"]]
    >>> model = SimpleImputer(missing_values=None, strategy="most_frequent").fit(X, sample_ids=[7, 8, 9, 10])
    >>> model.partial_forget([9]).transform([[None]])
    array([['a']], dtype=object)
    """

    _parameter_constraints: dict[str, Any] = {
        "missing_values": "no_validation",
        "strategy": [StrOptions({"mean", "median", "most_frequent", "constant"}), callable],
        "fill_value": "no_validation",
        "copy": ["boolean"],
        "add_indicator": ["boolean"],
        "keep_empty_features": ["boolean"],
        "exact_statistics": ["boolean"],
        "random_state": "no_validation",
    }

    statistics_ = fitted_attribute()
    indicator_ = fitted_attribute()

    def __init__(
        self,
        *,
        missing_values: Any = np.nan,
        strategy: str | Callable[[np.ndarray], float] = "mean",
        fill_value: Any = None,
        copy: bool = True,
        add_indicator: bool = False,
        keep_empty_features: bool = False,
        exact_statistics: bool = False,
        random_state: Any = None,
    ) -> None:
        self.missing_values = missing_values
        self.strategy = strategy
        self.fill_value = fill_value
        self.copy = copy
        self.add_indicator = add_indicator
        self.keep_empty_features = keep_empty_features
        self.exact_statistics = exact_statistics
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows: numbers, or for the most frequent value and a constant also objects.
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
        ValueError, TypeError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, None, None, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any = None, *, sample_ids: Any = None, subject_ids: Any = None) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows, of the kinds that the model was fitted on.
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

    def transform(self, X: Any) -> Any:
        """Fill in missing values.

        Parameters
        ----------
        X : {array-like, sparse matrix, data frame} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_imputed : {ndarray, sparse matrix} of shape (n_samples, n_features_out)
            Rows with the statistics in the place of missing values.
        """
        state: ImputerState = self._published()
        return state.imputed(self._check_X(self, X, reset=False, copy=self.copy, force_writeable=True))

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Put missing values back where the indicator says that they were.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features_out)
            Transformed rows, with the columns of the indicator.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Rows with missing values in the features that have an indicator.
        """
        X = check_array(X, dtype=None, ensure_all_finite="allow-nan")
        if X.dtype.kind not in "biuf":
            raise ValueError("inverse_transform needs numbers: rows of objects cannot be restored, as in scikit-learn.")
        return self.release().inverse_transform(X)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns that `transform` gives.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features; by default those of `fit`, or x0, x1, ...

        Returns
        -------
        feature_names_out : ndarray of str
            Names.
        """
        return self.release().get_feature_names_out(input_features)

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> Core:
        core = {"mean": _MeanCore, "median": _MedianCore}.get(params["strategy"], _ValueCore)
        return core(type(self).__name__, params, dtypes_of(rows))

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        live = estimator._live
        strategy, missing = (
            (estimator.strategy, estimator.missing_values)
            if live is None
            else (live.params["strategy"], live.params["missing_values"])
        )
        learns, _ = "y" in options, options.pop("y", None)
        try:
            X = validate_data(
                estimator,
                X,
                accept_sparse="csr",
                dtype=(np.float64, np.float32) if _is_of_numbers(strategy) else self._dtype_to_check(live, X),
                ensure_all_finite="allow-nan" if _is_nan(missing) else True,
                **options,
            )
        except ValueError as error:
            if "holds text" not in str(error):
                raise
            raise ValueError(f"Cannot use {strategy} strategy with non-numeric data: {error}") from None
        if X.dtype.kind not in "iufO":
            raise ValueError(
                f"SimpleImputer does not support data with dtype {X.dtype}. Nothing was changed. Pass integers, "
                "floats, or an array of objects."
            )
        if sp.issparse(X) and missing == 0:
            raise ValueError(
                "Imputation not possible when missing_values == 0 and input is sparse. Provide a dense array instead."
            )
        if X.dtype.kind != "O" and not isinstance(missing, Real) and not is_pandas_na(missing):
            raise ValueError(
                f"X and missing_values must be both numerical, or X an array of objects. Got missing_values of type "
                f"{type(missing).__name__}. Nothing was changed."
            )
        if not learns:
            return X
        if sp.issparse(X):
            return X.astype(np.float32 if X.dtype == np.float32 else np.float64), None
        return X if _is_of_numbers(strategy) else as_table(X), None

    def _dtype_to_check(self, live: Any, X: Any) -> Any:
        """Return object for lists with text and for models fitted on objects; None keeps the dtype that X has."""
        holds_text = isinstance(X, list) and any(isinstance(value, str) for row in X for value in row)
        of_objects = live is not None and "object" in dtypes_of(live.rows)
        return object if holds_text or of_objects else None

    def _native_twin(self, state: "ImputerState", params: dict[str, Any]) -> Any:
        twin = copy.deepcopy(state.twin)
        twin.copy = params["copy"]
        return twin

    def _stored_dtype(self, X: Any) -> np.dtype:
        of_numbers = _is_of_numbers(self.strategy) or sp.issparse(X)
        return super()._stored_dtype(X) if of_numbers else np.dtype(np.float64)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        if self.strategy == "mean":
            return 32 * (1 + 2 * X.shape[1])
        if self.strategy == "median":
            return OrderStatistics(X.shape[1], (0.25, 0.5, 0.75)).nbytes()
        X = X.toarray() if sp.issparse(X) else X
        table = as_table(X)
        return BYTES_A_VALUE * sum(len(set(map(category_of, table.distinct(j)[0]))) for j in range(table.shape[1]))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # A saved model is checked before its parameters are set.
        tags.input_tags.allow_nan = _is_nan(getattr(self, "missing_values", np.nan))
        return tags


def _is_of_numbers(strategy: Any) -> bool:
    return strategy not in ("most_frequent", "constant")


def _is_nan(missing: Any) -> bool:
    return bool(is_scalar_nan(missing) or is_pandas_na(missing))


@dataclass(frozen=True, slots=True, eq=False)
class ImputerState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    twin : sklearn.impute.SimpleImputer
        scikit-learn's own imputer with the statistics; it does not copy its input.
    """

    twin: Any

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.statistics_)

    @property
    def statistics_(self) -> np.ndarray:
        """What is filled in."""
        return self.twin.statistics_

    @property
    def indicator_(self) -> Any:
        """Which features have missing values."""
        return self.twin.indicator_

    def apply(self, X: Any) -> Any:
        """Return rows with their missing values filled in."""
        dtype = self.twin._fill_dtype
        if self._only_replaces_nan and isinstance(X, np.ndarray):
            return np.where(np.isnan(X), self.statistics_, X).astype(dtype, copy=False)
        return self.imputed(np.array(X, dtype=dtype) if isinstance(X, TableRows) else X.astype(dtype))

    @property
    def _only_replaces_nan(self) -> bool:
        """Whether no column comes or goes, and missing values are NaN."""
        twin, statistics = self.twin, self.statistics_
        return (
            _is_nan(twin.missing_values)
            and twin._fill_dtype.kind == statistics.dtype.kind == "f"
            and twin.indicator_ is None
            and not np.isnan(statistics).any()
        )

    def imputed(self, X: Any) -> Any:
        """Fill in missing values, where they are if that is possible."""
        with config_context(transform_output="default"):
            return self.twin.transform(X)

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the statistics, what is missing and in which features, and the dtype of what is given."""
        twin = self.twin
        flagged = [] if twin.indicator_ is None else twin.indicator_.features_.tolist()
        values = [plain_value(v) for v in [*self.statistics_.tolist(), twin.missing_values]]
        flags = [twin.add_indicator, twin.keep_empty_features]
        return [json.dumps([to_json(values), flagged, flags]).encode(), twin._fill_dtype.str.encode()]


class _ImputerCore(Core):
    """What the cores of both kinds of statistics share: how missing values are told, and what is published."""

    _params: dict[str, Any]
    _dtypes: tuple[str, ...]
    _model_name: str
    _twin: tuple[bytes, Any] = (b"", None)

    def _state(self, statistics: np.ndarray | None, n_present: np.ndarray, owner: Owner) -> ImputerState:
        """Return the state of these statistics.

        Parameters
        ----------
        statistics : ndarray of shape (n_features,) or None
            Statistics, NaN without a value; None where they are the constant.
        n_present : ndarray of shape (n_features,), int
            Values of each column that are there.
        owner : Owner
            The owner of the rows.
        """
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there is nothing to fill in. Call partial_fit or fit."
            )
        twin = copy.copy(self._twin_for(n_present == 0, n_present < owner.n_effective))
        if statistics is not None:
            if self._params["keep_empty_features"]:
                statistics[n_present == 0] = 0
            twin.statistics_ = statistics
        twin.statistics_.flags.writeable = False
        return ImputerState(twin)

    def _twin_for(self, is_empty: np.ndarray, is_incomplete: np.ndarray) -> Any:
        """Return scikit-learn's imputer as it is where these columns have no values, and these have missing ones."""
        pattern = is_empty.tobytes() + is_incomplete.tobytes()
        if self._twin[0] == pattern:
            return self._twin[1]
        params = {n: v for n, v in self._params.items() if n not in ("exact_statistics", "random_state", "copy")}
        strategy = params["strategy"]
        # scikit-learn's own is fitted on two rows with missing values where the live ones have them.
        rows = np.zeros((2, len(is_empty)), dtype="object" if "object" in self._dtypes else self._dtypes[0])
        rows[:] = "" if rows.dtype == object else 1
        if rows.dtype != object and params["missing_values"] == 1:
            rows[:] = 2
        for row, is_missing in zip(rows, (is_empty, is_incomplete), strict=True):
            if is_missing.any():  # NaN has no place in rows of integers, even of none
                row[is_missing] = params["missing_values"]
        twin = sklearn.impute.SimpleImputer(**{**params, "strategy": "mean" if callable(strategy) else strategy})
        twin.fit(rows)
        twin.set_params(copy=False, strategy=strategy)
        self._twin = pattern, twin
        return twin

    def _settings(self) -> tuple[Any, bool]:
        return self._params["missing_values"], self._params["exact_statistics"]


class _MeanCore(_ScalerCore, _ImputerCore):
    """Exact sums of the values that are there."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: tuple[str, ...]) -> None:
        scaler = {"with_mean": True, "with_std": True, "exact_statistics": params["exact_statistics"]}
        super().__init__(model_name, scaler, len(dtypes))
        self._params = params
        self._dtypes = dtypes

    def check(self, incoming: IncomingRows) -> None:
        """Accept every row: it is finite, and has no weight."""

    def _block_rows(self, block: RowBlock) -> Any:
        missing = self._params["missing_values"]
        X = block.X
        if not _is_nan(missing):
            if isinstance(X, CsrRows):
                X = X._replace(data=np.where(X.data == missing, np.nan, X.data))
            else:
                X = np.where(missing == X, np.nan, X)
        return self._rows(X, None, None)

    def publish(self, owner: Owner) -> ImputerState:  # type: ignore[override]
        """Return the means, on the lattice unless the exact ones are asked for."""
        if owner.n_effective == 0:
            return self._state(None, np.zeros(self._n_features), owner)
        scaler = super().publish(owner)
        seen = np.broadcast_to(scaler.n_samples_seen_, self._n_features)
        return self._state(np.array(scaler.mean_), seen, owner)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the exact sums and what is published of them."""
        parts = self._moments.digest_parts()
        return parts if owner.n_effective == 0 else [*parts, self.publish(owner).statistics_.tobytes()]


class _MedianCore(OrderCore, _ImputerCore):
    """Medians and quartiles of the values that are there."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: tuple[str, ...]) -> None:
        super().__init__(model_name, len(dtypes), (0.25, 0.5, 0.75))
        self._params = params
        self._dtypes = dtypes

    def _values(self, values: np.ndarray) -> np.ndarray:
        missing = self._params["missing_values"]
        return values if _is_nan(missing) else np.where(values == missing, np.nan, values)

    def publish(self, owner: Owner) -> ImputerState:
        """Return the medians, on the lattice unless the exact ones are asked for."""
        low, medians, high = self._order.quantiles()
        if not self._params["exact_statistics"]:
            with np.errstate(over="ignore"):
                spread = np.minimum(high - low, np.finfo(np.float64).max)
            is_constant = ~(spread > 0)
            medians, _ = on_lattice(medians, spread, is_constant, owner.key, _MEDIAN_PURPOSES)
        return self._state(medians, self._order.counts, owner)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return counts and order statistics, and what is published of them."""
        parts = super().digest_parts(owner)
        return parts if owner.n_effective == 0 else [*parts, self.publish(owner).digest()]


class _ValueCore(CountCore, _ImputerCore):
    """Counts of values."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: tuple[str, ...]) -> None:
        super().__init__(model_name, dtypes)
        self._params = params

    def publish(self, owner: Owner) -> ImputerState:
        """Return the statistics of the values that are there."""
        present = [self._present(j) for j in range(len(self._dtypes))]
        n_present = np.array([sum(number for _, number in column) for column in present])
        strategy = self._params["strategy"]
        if strategy == "constant":
            return self._state(None, n_present, owner)
        dtype = object if "object" in self._dtypes else np.float64
        statistics = np.full(len(present), np.nan, dtype=dtype)
        for j, column in enumerate(present):
            if column and strategy == "most_frequent":
                statistics[j] = max(column, key=lambda item: item[1])[0]  # of equal ones the first, so the smallest
            elif column:
                values, numbers = zip(*column, strict=True)
                statistics[j] = strategy(np.repeat(np.array(values, dtype=self._dtypes[j]), numbers))
        return self._state(statistics, n_present, owner)

    def _present(self, j: int) -> list[tuple[Any, int]]:
        """Return the values of a column that are there, ascending, and how many rows bear them."""
        missing = self._params["missing_values"]
        missing = NAN if _is_nan(missing) else missing
        return [(value, number) for value, number in self.categories(j) if value is not missing and value != missing]

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the counts in the order of their values, and what is published of them."""
        parts = super().digest_parts(owner)
        return parts if owner.n_effective == 0 else [*parts, self.publish(owner).digest()]
