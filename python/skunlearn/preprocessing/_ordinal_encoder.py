"""Ordinal encoding whose categories leave with their last row."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import sklearn.preprocessing
from sklearn.base import OneToOneFeatureMixin

from skunlearn._count_core import dtypes_of
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing._encoder import Categories, Encoder, EncoderMap, EncodingCore
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, RealNotInt, StrOptions

__all__ = ["OrdinalEncoder"]


class OrdinalEncoder(OneToOneFeatureMixin, Encoder):
    """Encode the categories of a column as 0, 1, ..., forgetting rows exactly.

    What is kept of the rows are counts of values, so `partial_forget` is their subtraction: afterwards the encoder
    equals, bit for bit, one fitted on the rows that are left. The transform changes only when a category loses its last
    row, or becomes or stops being rare; declare `categories` to keep the numbers whatever is forgotten.

    Parameters
    ----------
    categories : "auto" or list of array-like, default="auto"
        Categories of each column: those that rows bear, or these. Numbers must ascend, and NaN be last.
    dtype : number type, default=np.float64
        Dtype of encoded rows.
    handle_unknown : {"error", "use_encoded_value"}, default="error"
        Whether to raise at other values, or encode them as `unknown_value`.
    unknown_value : int or np.nan, default=None
        What other values are encoded as; no number that a category has.
    encoded_missing_value : int or np.nan, default=np.nan
        What NaN is encoded as.
    min_frequency : int or float, default=None
        A category of fewer rows is rare; a float is a share of the rows. Rare categories share the last number.
    max_categories : int, default=None
        Most numbers of one feature, the one for all rare categories included; NaN does not count.

    Attributes
    ----------
    categories_ : list of ndarray
        Categories of each column, ascending, missing values last. In a column of objects True, 1 and 1.0 are one.
    infrequent_categories_ : list of (ndarray or None)
        Rare categories of each column, where they are looked for.
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
    sklearn.preprocessing.OrdinalEncoder : What `release` returns.

    Notes
    -----
    Forgetting m rows takes O(m n_features) look-ups, whatever the number of rows. No error or warning names a category.
    The model keeps its rows; `release` does not, but categories are values of rows.

    Examples
    --------
    >>> from skunlearn.preprocessing import OrdinalEncoder
    >>> model = OrdinalEncoder().fit([["a"], ["b"], ["a"], ["c"]], sample_ids=[7, 8, 9, 10])
    >>> model.partial_forget([9]).transform([["c"]])
    array([[2.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "categories": [StrOptions({"auto"}), list],
        "dtype": "no_validation",
        "encoded_missing_value": [Integral, type(np.nan)],
        "handle_unknown": [StrOptions({"error", "use_encoded_value"})],
        "unknown_value": [Integral, type(np.nan), None],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
    }

    def __init__(
        self,
        *,
        categories: Any = "auto",
        dtype: Any = np.float64,
        handle_unknown: str = "error",
        unknown_value: float | None = None,
        encoded_missing_value: float = np.nan,
        min_frequency: float | None = None,
        max_categories: int | None = None,
    ) -> None:
        self.categories = categories
        self.dtype = dtype
        self.handle_unknown = handle_unknown
        self.unknown_value = unknown_value
        self.encoded_missing_value = encoded_missing_value
        self.min_frequency = min_frequency
        self.max_categories = max_categories

    def transform(self, X: Any) -> np.ndarray:
        """Encode rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_out : ndarray of shape (n_samples, n_features)
            Encoded rows.

        Raises
        ------
        UnknownCategoryError
            If ``handle_unknown="error"`` and a value is no category.
        """
        state: OrdinalState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_OrdinalCore":
        return _OrdinalCore(type(self).__name__, params, dtypes_of(rows))

    def _native_twin(self, state: "OrdinalState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.OrdinalEncoder(**params)
        self._set_categories(twin, state)
        places = {j: column.missing_place for j, column in enumerate(state.columns)}
        twin._missing_indices = {j: place for j, place in places.items() if place is not None}
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class OrdinalState(EncoderMap):
    """The published state of one version.

    Parameters
    ----------
    codes : tuple of ndarray of `dtype`
        What each category of each column is encoded as.
    unknown : number of `dtype` or None
        What other values are encoded as; None if they are refused.
    """

    codes: tuple[np.ndarray, ...]
    unknown: Any

    def apply(self, X: Any) -> np.ndarray:
        """Return rows encoded."""
        filler = self.dtype.type(0) if self.unknown is None else self.unknown
        encoded, with_unknown = self.encoded(X, self.codes, [filler] * len(self.columns))
        if with_unknown and self.unknown is None:
            self.refuse_unknown(with_unknown)
        return encoded

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the categories and what they and other values are encoded as."""
        return [*EncoderMap.parts(self), *self.codes, b"" if self.unknown is None else self.unknown.tobytes()]


class _OrdinalCore(EncodingCore):
    """Counts of values, and the numbers that are published of them."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: Any) -> None:
        super().__init__(model_name, params, dtypes)
        self._dtype = np.dtype(params["dtype"])
        unknown = params["unknown_value"]
        if params["handle_unknown"] == "error":
            if unknown is not None:
                raise TypeError(
                    "unknown_value should only be set when handle_unknown is 'use_encoded_value'. Nothing was changed."
                )
        elif unknown is None:
            raise TypeError(
                "unknown_value should be an integer or np.nan when handle_unknown is 'use_encoded_value'. Nothing was "
                "changed."
            )
        elif _is_nan(unknown) and self._dtype.kind != "f":
            raise ValueError(
                f"When unknown_value is np.nan, the dtype parameter should be a float dtype. Got {self._dtype}."
            )

    def _make_map(self) -> OrdinalState:
        """Return the numbers of the categories."""
        columns = self._columns(ignores_missing=True)
        codes = tuple(self._codes(column) for column in columns)
        unknown = self._params["unknown_value"]
        for code in codes:
            code.flags.writeable = False
        return OrdinalState(
            columns=columns,
            places=tuple(column.place_of() for column in columns),
            dtypes=self._dtypes,
            groups_infrequent=self._groups_infrequent,
            dtype=self._dtype,
            codes=codes,
            unknown=None if unknown is None else self._dtype.type(unknown),
        )

    def _codes(self, column: Categories) -> np.ndarray:
        grouping = column.grouping()
        numbers = np.arange(column.n_grouped) if grouping is None else grouping
        n_numbers = int(numbers.max(initial=-1)) + 1
        unknown, missing = self._params["unknown_value"], self._params["encoded_missing_value"]
        if unknown is not None and 0 <= unknown < n_numbers:
            raise DegenerateRowsError(
                f"The used value for unknown_value {unknown} is one of the values already used for encoding the seen "
                "categories. Pass a negative one."
            )
        if column.missing_place is None:
            return numbers.astype(self._dtype)
        if _is_nan(missing) and self._dtype.kind != "f":
            raise DegenerateRowsError(
                f"There are missing values in features. For OrdinalEncoder to encode missing values with dtype: "
                f"{self._dtype}, set encoded_missing_value to a non-nan value, or set dtype to a float."
            )
        if 0 <= missing < n_numbers:
            raise DegenerateRowsError(
                f"encoded_missing_value ({missing}) is already used to encode a known category. Pass a negative one."
            )
        return np.append(numbers.astype(self._dtype), self._dtype.type(missing))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value
