"""What encoders of categories share: exact counts of values, the categories published of them, the contract."""

import json
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np

from skunlearn._count_core import BYTES_A_VALUE, CountCore, as_rows, category_of
from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.columns import (
    CATEGORY_DTYPES,
    NAN,
    as_table,
    is_missing,
    plain_value,
    to_json,
    value_key,
)
from skunlearn.exceptions import CategoryVanishedWarning, DegenerateRowsError, UnknownCategoryError
from skunlearn.live import IncomingRows, Owner
from skunlearn.rows import RowBlock
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import fit_context, validate_data

__all__ = ["Categories", "CategoryCore", "Encoder", "EncoderMap", "EncodingCore"]


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of one column, and those of them that are rare.

    Parameters
    ----------
    values : ndarray of shape (n_categories,)
        In order, a missing value last.
    infrequent : ndarray of shape (n_infrequent,), int64, or None
        Places of the rare ones; None where there are none.
    ignores_missing : bool
        Whether a missing value is neither rare nor frequent.
    """

    values: np.ndarray
    infrequent: np.ndarray | None
    ignores_missing: bool = False

    @property
    def missing_place(self) -> int | None:
        """Place of NaN, or None."""
        last = len(self.values) - 1
        return last if last >= 0 and plain_value(self.values[last]) is NAN else None

    @property
    def n_grouped(self) -> int:
        """Number of categories that can be rare."""
        return len(self.values) - (self.ignores_missing and self.missing_place is not None)

    def grouping(self) -> np.ndarray | None:
        """Return the place of every category once the rare ones are one, behind the others; None without rare ones."""
        if self.infrequent is None:
            return None
        is_rare = np.zeros(self.n_grouped, dtype=bool)
        is_rare[self.infrequent] = True
        places = np.cumsum(~is_rare) - 1
        places[is_rare] = np.count_nonzero(~is_rare)
        return places.astype(np.int64)

    def place_of(self) -> dict[Any, int]:
        """Return the place of every value; 1, 1.0 and True are one value."""
        return {plain_value(value): place for place, value in enumerate(self.values.tolist())}

    def parts(self) -> list[bytes | np.ndarray]:
        """Return bytes that equal categories share."""
        values = [plain_value(value) for value in self.values.tolist()]
        rare = [] if self.infrequent is None else self.infrequent.tolist()
        return [self.values.dtype.kind.encode(), json.dumps([to_json(values), rare]).encode()]


@dataclass(frozen=True, slots=True, eq=False)
class EncoderMap(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    columns : tuple of Categories
        The categories of each column.
    places : tuple of dict
        Where each value stands among the categories of its column.
    dtypes : tuple of str
        Dtypes of the columns of rows that come as an array of numbers.
    groups_infrequent : bool
        Whether rare categories are looked for.
    dtype : dtype
        Dtype of what is given.
    """

    columns: tuple[Categories, ...]
    places: tuple[dict[Any, int], ...]
    dtypes: tuple[str, ...]
    groups_infrequent: bool
    dtype: np.dtype

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return len(self.columns)

    @property
    def categories_(self) -> list[np.ndarray]:
        """Categories of each column."""
        return [column.values for column in self.columns]

    @property
    def infrequent_categories_(self) -> list[np.ndarray | None]:
        """Rare categories of each column."""
        if not self.groups_infrequent:
            raise AttributeError("Without min_frequency or max_categories no category is infrequent.")
        return [None if c.infrequent is None else c.values[c.infrequent] for c in self.columns]

    def encoded(self, X: Any, codes: Sequence[np.ndarray], unknown: Sequence[Any]) -> tuple[np.ndarray, list[int]]:
        """Return what each value is encoded as, and in which columns there are unknown ones.

        Parameters
        ----------
        X : TableRows or ndarray
            Rows.
        codes : sequence of ndarray of shape (n_categories,)
            What each category of each column is encoded as.
        unknown : sequence
            What a value that is no category is encoded as, for each column.
        """
        table = as_rows(X, self.dtypes)
        encoded = np.empty(table.shape, dtype=np.result_type(*codes, *unknown))
        with_unknown = []
        for j, (place_of, code) in enumerate(zip(self.places, codes, strict=True)):
            values, places = table.distinct(j)
            found = np.array([place_of.get(NAN if is_missing(v) and v is not None else v, -1) for v in values])
            is_known = found >= 0
            of_values = np.full(len(values), unknown[j], dtype=encoded.dtype)
            of_values[is_known] = code[found[is_known]]
            encoded[:, j] = of_values[places]
            if not is_known.all():
                with_unknown.append(j)
        return encoded, with_unknown

    def refuse_unknown(self, with_unknown: list[int]) -> None:
        """Refuse values that are no categories."""
        if with_unknown:
            raise UnknownCategoryError(
                f"Found unknown categories in {len(with_unknown)} of {self.n_features_in} columns during transform. "
                "Set handle_unknown to have them encoded, declare them in categories=, or learn rows that bear them."
            )

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the categories and the dtype of what is given."""
        return [part for column in self.columns for part in column.parts()] + [self.dtype.str.encode()]


class CategoryCore(CountCore):
    """Counts of values, and the categories that they make.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        Parameters of the estimator.
    dtypes : sequence of str
        Dtypes of the columns.
    """

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: Sequence[str]) -> None:
        super().__init__(model_name, dtypes)
        self._params = params
        self._declared = self._check_declared(params["categories"])

    # --- declared categories -----------------------------------------------------------------------------------------

    def _check_declared(self, categories: Any) -> tuple[np.ndarray, ...] | None:
        if isinstance(categories, str):
            return None
        if len(categories) != len(self._dtypes):
            raise ValueError(
                "Shape mismatch: if categories is an array, it has to be of shape (n_features,). Got "
                f"{len(categories)} lists for {len(self._dtypes)} features. Nothing was changed."
            )
        return tuple(
            _checked_categories(values, dtype, j)
            for j, (values, dtype) in enumerate(zip(categories, self._dtypes, strict=True))
        )

    def check(self, incoming: IncomingRows) -> None:
        """Refuse values without an order among them, and those that are not declared where that is an error."""
        table = as_rows(incoming.X, self._dtypes)
        mixed = undeclared = 0
        for j in range(table.shape[1]):
            values = table.distinct(j)[0]
            kinds = {_kind_of(value) for value in values if not is_missing(value)}
            kinds |= {_kind_of(value) for value in self._sample(j)}
            mixed += len(kinds) > 1
            if self._declared is not None and self._params["handle_unknown"] == "error":
                known = set(map(category_of, self._declared[j].tolist()))
                undeclared += any(category_of(value) not in known for value in values)
        if mixed:
            raise TypeError(
                f"Encoders require their input argument must be uniformly strings or numbers. In {mixed} of "
                f"{table.shape[1]} columns values are of several kinds. Nothing was changed. Convert them to one."
            )
        if undeclared:
            raise UnknownCategoryError(
                f"Found unknown categories in {undeclared} of {table.shape[1]} columns during fit: they are not among "
                "the declared ones. Nothing was changed. Declare them in categories=, or set handle_unknown."
            )

    def _sample(self, j: int) -> list[Any]:
        """Return a value of a column that is not missing, where there is one."""
        return next(([value] for value in self.values[j].values() if not is_missing(value)), [])

    def warn_before_forget(self, block: RowBlock) -> None:
        """Warn about categories that lose their last row, unless they are declared."""
        if self._declared is not None:
            return
        n_vanishing = n_columns = 0
        for j, tallies in enumerate(self._tallies(block)):
            vanishing = self._n_vanishing(j, tallies)
            n_vanishing += vanishing
            n_columns += vanishing > 0
        if n_vanishing:
            warnings.warn(
                f"{n_vanishing} categories in {n_columns} of {len(self._dtypes)} columns have no rows left in this "
                f"{self._model_name} and leave categories_. Declare categories= to keep them.",
                CategoryVanishedWarning,
                stacklevel=5,
            )

    def _n_vanishing(self, j: int, tallies: list[tuple[Any, Any, int]]) -> int:
        """Return how many categories of a column go with rows of which `tallies` are the counts."""
        going: dict[Any, int] = {}
        for key, _, number in tallies:
            going[key] = going.get(key, 0) + number
        gone = {key for key, number in going.items() if self.counts[j][key] == number}
        if not gone:
            return 0
        values = self.values[j]
        staying = {category_of(value) for key, value in values.items() if key not in gone}
        return len({category_of(values[key]) for key in gone} - staying)

    # --- publishing --------------------------------------------------------------------------------------------------

    def _columns(self, *, ignores_missing: bool) -> tuple[Categories, ...]:
        """Return the categories of all columns."""
        if self.n_rows == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row left, so there are no categories. Call partial_fit or fit."
            )
        return tuple(self._column(j, ignores_missing) for j in range(len(self._dtypes)))

    def _column(self, j: int, ignores_missing: bool) -> Categories:
        merged = self.categories(j)
        if self._declared is None:
            values = _as_array([value for value, _ in merged], self._dtypes[j])
            counts = np.array([number for _, number in merged], dtype=np.int64)
        else:
            number_of = {category_of(value): number for value, number in merged}
            values = self._declared[j]
            counts = np.array([number_of.get(category_of(value), 0) for value in values.tolist()], dtype=np.int64)
        values.flags.writeable = False
        column = Categories(values, None, ignores_missing)
        return Categories(values, self._infrequent(counts[: column.n_grouped]), ignores_missing)

    @property
    def _groups_infrequent(self) -> bool:
        return self._params["max_categories"] is not None or self._params["min_frequency"] is not None

    def _infrequent(self, counts: np.ndarray) -> np.ndarray | None:
        """Return the places of rare categories: below the frequency, and the rarest beyond the number allowed.

        Of equally rare ones the first go first.
        """
        least, most = self._params["min_frequency"], self._params["max_categories"]
        is_rare = np.zeros(len(counts), dtype=bool)
        if least is not None:
            is_rare = counts < (least if isinstance(least, Integral) else self.n_rows * least)
        if most is not None and most < np.count_nonzero(~is_rare) + 1:
            is_rare[np.argsort(counts, kind="stable")[: len(counts) - (most - 1)]] = True
        return np.flatnonzero(is_rare) if is_rare.any() else None


class EncodingCore(CategoryCore):
    """Counts of values, and a map that is made of the categories alone; it is made again when they are others."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: Sequence[str]) -> None:
        super().__init__(model_name, params, dtypes)
        self._made: tuple[int, Any] = (-1, None)

    @abstractmethod
    def _make_map(self) -> Any:
        """Return what is published of the values and their counts."""

    def _forget(self, block: RowBlock) -> None:
        super()._forget(block)
        if self._made[0] != self.n_changes:
            self._made = -1, None  # it names values that are gone

    def publish(self, owner: Owner) -> Any:
        """Return the map; that from before while no value has come or gone and no number of rows matters."""
        if self._groups_infrequent or self._made[0] != self.n_changes:
            self._made = self.n_changes, self._make_map()
        return self._made[1]


def _kind_of(value: Any) -> str:
    return "number" if isinstance(value, (bool, int, float)) else type(value).__name__


def _as_array(values: list[Any], dtype: str) -> np.ndarray:
    if dtype == "str":  # a width of the input would remember the longest value there ever was
        return np.array(values, dtype="U")
    if dtype == "bytes":
        return np.array(values, dtype="S")
    if dtype != "object":
        return np.array(values, dtype=dtype)
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _checked_categories(values: Any, dtype: str, j: int) -> np.ndarray:
    """Return declared categories of column `j` as an array that suits its dtype."""
    array = np.array(values, dtype=object if dtype in ("object", "str") else ("S" if dtype == "bytes" else dtype))
    if array.ndim != 1 or len(array) == 0:
        raise ValueError(f"categories[{j}] must be a list of at least one category. Nothing was changed.")
    plain = [category_of(value) for value in array.tolist()]
    if dtype in ("object", "str") and type(plain[0]) is bytes:
        raise ValueError(
            f"In column {j}, the predefined categories have type 'bytes', which is incompatible with values of type "
            "'str'. Nothing was changed."
        )
    if any(value is NAN for value in plain[:-1]):
        raise ValueError(f"Nan should be the last element in user provided categories, in column {j}.")
    if len(set(plain)) < len(plain):
        raise ValueError(f"In column {j}, the predefined categories contain duplicate elements. Nothing was changed.")
    if dtype not in CATEGORY_DTYPES:
        numbers = [value for value in plain if value is not NAN]
        if numbers != sorted(numbers):
            raise ValueError(f"Unsorted categories are not supported for numerical categories, in column {j}.")
    return array


class Encoder(ForgettingTransformerMixin, ForgetMixin):
    """What encoders of categories share with each other."""

    categories_ = fitted_attribute()
    infrequent_categories_ = fitted_attribute()

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
        X : array-like or data frame of shape (n_samples, n_features)
            Rows: numbers, str, bytes, bool, None or NaN. Each column of a data frame keeps its dtype.
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
        X : array-like or data frame of shape (n_samples, n_features)
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
        ValueError, TypeError
            If values are of another kind than those of their column. The model is unchanged.
        """
        return self._learn_rows(X, None, None, sample_ids, subject_ids)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Return the categories that encoded rows stand for.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_encoded_features)
            Encoded rows.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Categories; None for one that was unknown, "infrequent_sklearn" for a rare one.
        """
        return self.release().inverse_transform(X)

    @abstractmethod
    def transform(self, X: Any) -> Any:
        """Encode rows."""

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        table = as_table(X)
        validate_data(estimator, X, skip_check_array=True, reset=options["reset"])
        return (table, None) if "y" in options else table

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        table = as_table(X)
        distinct = (table.distinct(j)[0] for j in range(table.shape[1]))
        return BYTES_A_VALUE * sum(len(set(map(value_key, values))) for values in distinct)

    def _stored_dtype(self, X: Any) -> np.dtype:
        return np.dtype(np.float64)

    def _set_categories(self, twin: Any, state: EncoderMap) -> None:
        """Give scikit-learn's own encoder the categories of a state, and what it keeps of the rare ones."""
        twin.categories_ = [values.copy() for values in state.categories_]
        twin._infrequent_enabled = state.groups_infrequent
        if state.groups_infrequent:
            twin._infrequent_indices = [None if c.infrequent is None else c.infrequent.copy() for c in state.columns]
            twin._default_to_infrequent_mappings = [column.grouping() for column in state.columns]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True
        tags.input_tags.allow_nan = True
        return tags
