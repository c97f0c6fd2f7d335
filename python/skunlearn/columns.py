"""Columns that are no numbers: text and other values as codes in a store of numbers.

The row store keeps numbers. A *category column* is kept as codes, with a codebook beside it that knows how many rows
bear each value: a value leaves the codebook with its last row. Codes are history, as class codes are; what is handed to
cores are values (`TableRows`), and what is hashed and saved are ranks among the sorted values.
"""

import json
import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp

from skunlearn.utils._sklearn_compat import check_array

__all__ = [
    "CATEGORY_DTYPES",
    "NAN",
    "Columns",
    "TableRows",
    "as_rows",
    "as_table",
    "is_missing",
    "plain_value",
    "to_json",
    "value_key",
    "value_order",
]

#: Dtypes of category columns; all others are dtypes of numbers.
CATEGORY_DTYPES = frozenset({"object", "str", "bytes"})
_NUMBER_DTYPES = frozenset(
    {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"}
)
#: The one NaN of category columns: it has to equal itself as a key.
NAN = float("nan")
_LARGEST_INTEGER = 2**53
_VACANT = object()
#: Ranks of the types of values in their order; missing values come last, as in scikit-learn.
_TYPE_RANKS = {bool: 0, int: 1, float: 2, bytes: 3, str: 4}


class TableRows:
    """Rows of which some columns are no numbers.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_features), float64
        Numbers, and in category columns positions in the lookup.
    dtypes : tuple of str
        Dtype of each column; "object", "str" and "bytes" stand for category columns.
    lookups : tuple of (ndarray of object or None)
        The values that positions stand for, for each category column; they may repeat, and some may not occur.
    """

    __slots__ = ("dtypes", "lookups", "values")

    def __init__(self, values: np.ndarray, dtypes: tuple[str, ...], lookups: tuple[np.ndarray | None, ...]) -> None:
        self.values = values
        self.dtypes = dtypes
        self.lookups = lookups

    ndim = 2
    dtype = np.dtype(object)

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of columns."""
        n_rows, n_features = self.values.shape
        return n_rows, n_features

    @property
    def size(self) -> int:
        """Number of values."""
        return self.values.size

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, key: Any) -> Any:
        """Return rows by a mask, a slice or positions; or columns by ``[:, columns]``, as `select` does."""
        if isinstance(key, tuple):
            rows, columns = key
            selected = self.select(columns)
            return selected if isinstance(rows, slice) and rows == slice(None) else selected[rows]
        return TableRows(self.values[key], self.dtypes, self.lookups)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Return all values as objects."""
        array = np.empty(self.shape, dtype=object)
        for j in range(self.shape[1]):
            array[:, j] = self.column(j)
        return array if dtype is None else array.astype(dtype)

    def select(self, columns: Any) -> "np.ndarray | TableRows":
        """Return some columns, by a slice, a mask or positions: a float64 array where all of them are numbers."""
        chosen = np.arange(self.shape[1])[columns].tolist()
        lookups = tuple(self.lookups[j] for j in chosen)
        values = self.values[:, columns]
        if all(lookup is None for lookup in lookups):
            return values
        return TableRows(values, tuple(self.dtypes[j] for j in chosen), lookups)

    def column(self, j: int) -> np.ndarray:
        """Return the values of a column: float64, or object where it is a category column."""
        lookup = self.lookups[j]
        return self.values[:, j] if lookup is None else lookup[self.positions(j)]

    def positions(self, j: int) -> np.ndarray:
        """Return where the values of a category column stand in its lookup."""
        return self.values[:, j].astype(np.intp)

    def distinct(self, j: int) -> tuple[list[Any], np.ndarray]:
        """Return values that stand in a column, as Python objects, and the place of each row's among them.

        The values of a number column ascend, with one NaN last. Those of a category column may repeat.
        """
        lookup = self.lookups[j]
        if len(self) == 1:
            number = self.values[0, j].item()
            only = _python_numbers([number], self.dtypes[j]) if lookup is None else [lookup[int(number)]]
            return only, np.zeros(1, dtype=np.intp)
        if lookup is None:
            values, places = np.unique(self.values[:, j], return_inverse=True)
            return _python_numbers(values.tolist(), self.dtypes[j]), places.reshape(-1)
        used, places = _used(self.positions(j), len(lookup))
        return lookup[used].tolist(), places

    def wipe(self) -> None:
        """Overwrite what belongs to these rows alone, and let go of the rest."""
        if self.values.flags.writeable:
            self.values.fill(0)
        self.lookups = (None,) * len(self.lookups)


class Columns:
    """Schema of a row store with columns of several kinds, and the codebooks of its category columns.

    Parameters
    ----------
    dtypes : sequence of str
        Dtype of each column, frozen: "object", "str" and "bytes" make category columns, the names of NumPy's dtypes of
        numbers number columns.
    """

    __slots__ = ("_books", "dtypes")

    def __init__(self, dtypes: Sequence[str]) -> None:
        self.dtypes = tuple(dtypes)
        self._books = tuple(_Codebook() if dtype in CATEGORY_DTYPES else None for dtype in self.dtypes)

    @property
    def has_categories(self) -> bool:
        """Whether any column is a category column."""
        return any(book is not None for book in self._books)

    def select(self, columns: Any) -> "Columns":
        """Return the schema of some columns, by a slice, a mask or positions."""
        return Columns([self.dtypes[j] for j in np.arange(len(self.dtypes))[columns].tolist()])

    def empty_twin(self) -> "Columns":
        """Return the same schema without rows."""
        return Columns(self.dtypes)

    # --- rows on their way in ----------------------------------------------------------------------------------------

    def conform(self, table: TableRows) -> TableRows:
        """Return checked rows in this schema.

        Raises
        ------
        ValueError
            If a column holds what is none of its kind: text among numbers, a fraction among integers.
        """
        if table.dtypes == self.dtypes:
            return table
        values, lookups, wrong = table.values.copy(), list(table.lookups), 0
        for j, dtype in enumerate(self.dtypes):
            try:
                values[:, j], lookups[j] = _converted(table, j, dtype)
            except ValueError:
                wrong += 1
        if wrong:
            raise ValueError(
                f"{wrong} of {len(self.dtypes)} columns of X hold values that are not of the kind on which this model "
                "was fitted, such as text among numbers or a fraction among integers. Nothing was changed. Convert "
                "them, or fit anew."
            )
        return TableRows(values, self.dtypes, tuple(lookups))

    def with_numbers(self, table: TableRows) -> TableRows:
        """Return rows to be read: what came as objects in a number column is numbers, and a missing value NaN.

        Raises
        ------
        ValueError
            If a number column holds text or other objects.
        """
        numeric = [j for j, dtype in enumerate(self.dtypes) if dtype not in CATEGORY_DTYPES]
        as_objects = [j for j in numeric if table.lookups[j] is not None]
        if not as_objects:
            return table
        values, dtypes, lookups, wrong = table.values.copy(), list(table.dtypes), list(table.lookups), 0
        for j in as_objects:
            distinct, places = table.distinct(j)
            try:
                values[:, j] = _numbers([NAN if is_missing(value) else value for value in distinct], places)
            except ValueError:
                wrong += 1
            dtypes[j], lookups[j] = "float64", None
        if wrong:
            raise ValueError(
                f"{wrong} of {len(numeric)} columns of X that were numbers when this model was fitted hold something "
                "else. Nothing was changed. Convert them to numbers; None and NaN are missing values."
            )
        return TableRows(values, tuple(dtypes), tuple(lookups))

    def encode(self, rows: "TableRows | np.ndarray") -> np.ndarray:
        """Return rows as the store keeps them, giving codes to new values; `count` then has to follow."""
        if not isinstance(rows, TableRows):
            return rows
        if not self.has_categories:
            return rows.values
        values = rows.values.copy()
        for j, book in enumerate(self._books):
            if book is not None:
                distinct, places = rows.distinct(j)
                values[:, j] = book.encode(distinct)[places]
        return values

    def count(self, values: np.ndarray, sign: int) -> None:
        """Count stored rows in (`sign` 1) or out (-1), and drop the values that no row bears any more."""
        if len(values) == 1:
            for code, book in zip(values[0].tolist(), self._books, strict=True):
                if book is not None:
                    book.count_one(int(code), sign)
            return
        for j, book in enumerate(self._books):
            if book is not None:
                book.count(values[:, j].astype(np.intp), sign)

    def recount(self, blocks: Iterable[np.ndarray]) -> None:
        """Count afresh from all stored rows."""
        for book in self._books:
            if book is not None:
                book.n_rows[:] = 0
        for values in blocks:
            self.count(values, +1)
        self.prune()

    def prune(self) -> None:
        """Drop every value that no row bears."""
        for book in self._books:
            if book is not None:
                book.prune(range(len(book.values)))

    # --- rows on their way out ---------------------------------------------------------------------------------------

    def lookups(self) -> tuple[np.ndarray | None, ...]:
        """Return the values of all codes, as they are now."""
        return tuple(None if book is None else _objects(book.values) for book in self._books)

    def decode(self, values: np.ndarray, lookups: tuple[np.ndarray | None, ...]) -> "TableRows | np.ndarray":
        """Return stored rows as cores take them, without a copy: an array where all columns are numbers."""
        return TableRows(values, self.dtypes, lookups) if self.has_categories else values

    def decode_copy(self, values: np.ndarray) -> "TableRows | np.ndarray":
        """Return copied rows as cores take them; they outlive the codes."""
        if not self.has_categories:
            return values
        lookups: list[np.ndarray | None] = []
        for j, book in enumerate(self._books):
            if book is None:
                lookups.append(None)
            elif len(values) < len(book.values):
                lookups.append(_objects([book.values[code] for code in values[:, j].astype(np.intp).tolist()]))
                values[:, j] = np.arange(len(values))
            else:
                lookups.append(_objects(book.values))
        return TableRows(values, self.dtypes, tuple(lookups))

    # --- canonical form ----------------------------------------------------------------------------------------------

    def sorted_values(self) -> list[list[Any] | None]:
        """Return the values of each category column, sorted; None for a column of numbers."""
        return [None if book is None else book.sorted_values() for book in self._books]

    def digest_part(self) -> bytes:
        """Return the values that ranks refer to, for the digest."""
        return json.dumps([None if v is None else to_json(v) for v in self.sorted_values()]).encode()

    def ranked(self, rows: TableRows) -> np.ndarray:
        """Return rows with ranks among the sorted values in the place of values: float64, free of history."""
        ranked = rows.values.copy()
        for j, values in enumerate(self.sorted_values()):
            if values is not None:
                rank_of = {value_key(value): rank for rank, value in enumerate(values)}
                distinct, places = rows.distinct(j)
                ranked[:, j] = np.array([rank_of[value_key(value)] for value in distinct], dtype=np.float64)[places]
        return ranked

    def rank_in_place(self, stored: np.ndarray) -> None:
        """Replace codes by ranks."""
        for j, (book, values) in enumerate(zip(self._books, self.sorted_values(), strict=True)):
            if book is not None and values is not None:
                ranks = np.zeros(len(book.values))
                ranks[[book.code_of[value_key(value)] for value in values]] = np.arange(len(values))
                stored[:, j] = ranks[stored[:, j].astype(np.intp)]

    def header(self) -> list[dict[str, Any]]:
        """Return what a saved model says about its columns, in terms of JSON."""
        return [
            {"dtype": dtype, "values": None if values is None else to_json(values)}
            for dtype, values in zip(self.dtypes, self.sorted_values(), strict=True)
        ]

    @classmethod
    def restore(cls, header: Any) -> "Columns":
        """Return the columns that `header` described, without rows.

        Raises
        ------
        ValueError
            If `header` is not such as it writes.
        """
        if not isinstance(header, list):
            raise ValueError("the columns are no list")
        for column in header:
            if not isinstance(column, dict) or set(column) != {"dtype", "values"}:
                raise ValueError("a column has other fields")
            if not isinstance(column["dtype"], str) or column["dtype"] not in _NUMBER_DTYPES | CATEGORY_DTYPES:
                raise ValueError("a column has an unknown dtype")
            if (column["dtype"] in CATEGORY_DTYPES) != isinstance(column["values"], list):
                raise ValueError("a column has values that do not fit its dtype")
        columns = cls([column["dtype"] for column in header])
        for book, column in zip(columns._books, header, strict=True):
            if book is not None:
                values = _from_json(column["values"], column["dtype"])
                if not all(value_order(a) < value_order(b) for a, b in pairwise(values)):
                    raise ValueError("the values of a column do not ascend")
                book.encode(values)
        return columns

    def n_wrong(self, stored: np.ndarray) -> int:
        """Return in how many rows a code is none, or a number does not fit the dtype of its column."""
        wrong = np.zeros(len(stored), dtype=bool)
        for j, (book, dtype) in enumerate(zip(self._books, self.dtypes, strict=True)):
            column = stored[:, j]
            if book is None:
                wrong |= np.isinf(column) | ~_fits(column, dtype)
            else:
                wrong |= ~((column >= 0) & (column < len(book.values)) & (column == np.floor(column)))
        return int(np.count_nonzero(wrong))

    def is_unborne(self) -> bool:
        """Whether a codebook lists a value that no row bears."""
        return any(book is not None and bool((book.n_rows == 0).any()) for book in self._books)

    def nbytes(self) -> int:
        """Estimate the size of the codebooks in bytes."""
        return sum(_BYTES_A_VALUE * len(book.values) for book in self._books if book is not None)


#: A value in a codebook: the object, its key, its entry in a dictionary, its count.
_BYTES_A_VALUE = 200


class _Codebook:
    """Values of one category column under codes that stay put while other values come and go."""

    __slots__ = ("_free", "code_of", "n_rows", "values")

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.values: list[Any] = []
        self.code_of: dict[Any, int] = {}
        self.n_rows = np.zeros(0, dtype=np.int64)
        self._free: list[int] = []

    def sorted_values(self) -> list[Any]:
        return sorted((self.values[code] for code in self.code_of.values()), key=value_order)

    def encode(self, values: list[Any]) -> np.ndarray:
        codes = np.array([self._code(value) for value in values], dtype=np.float64)
        missing = len(self.values) - len(self.n_rows)
        if missing:
            self.n_rows = np.pad(self.n_rows, (0, missing))
        return codes

    def _code(self, value: Any) -> int:
        key = value_key(value)
        code = self.code_of.get(key)
        if code is None:
            if self._free:
                code = self._free.pop()
                self.values[code] = value
            else:
                code = len(self.values)
                self.values.append(value)
            self.code_of[key] = code
        return code

    def count(self, codes: np.ndarray, sign: int) -> None:
        self.n_rows += sign * np.bincount(codes, minlength=len(self.n_rows))
        if sign < 0:
            self.prune(set(codes.tolist()))

    def count_one(self, code: int, sign: int) -> None:
        self.n_rows[code] += sign
        if sign < 0 and self.n_rows[code] == 0:
            self.prune([code])

    def prune(self, codes: Iterable[int]) -> None:
        for code in codes:
            if (code >= len(self.n_rows) or self.n_rows[code] == 0) and self.values[code] is not _VACANT:
                self.code_of.pop(value_key(self.values[code]), None)
                self.values[code] = _VACANT
                self._free.append(code)
        if not self.code_of:  # a codebook without values is as good as new
            self._clear()
        elif len(self.n_rows) < len(self.values):
            self.n_rows = np.pad(self.n_rows, (0, len(self.values) - len(self.n_rows)))


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas.NA."""
    return value is None or value is NAN or _is_na(value)


def value_key(value: Any) -> Any:
    """Return a key under which values of different types are different: True is not 1 in a column of objects."""
    return value if type(value) is str else (type(value), value)


def value_order(value: Any) -> tuple[int, Any]:
    """Return a sort key: values by type, then by value; missing ones last, NaN behind None."""
    if value is None:
        return 5, 0
    if value is NAN:
        return 6, 0
    rank = _TYPE_RANKS.get(type(value))
    return (7, 0) if rank is None else (rank, value)


# --- reading input ----------------------------------------------------------------------------------------------------


def as_table(X: Any, *, numbers: Iterable[int] = ()) -> TableRows:
    """Return an array or a data frame as rows whose columns keep their dtypes.

    Parameters
    ----------
    X : array-like or data frame of shape (n_rows, n_features)
        An array gives all columns its dtype, a data frame of pandas or polars each its own; categoricals and
        dictionaries are decoded, for they carry values that no row bears.
    numbers : iterable of int, default=()
        Columns that are to be read as float64 whatever their dtype.

    Returns
    -------
    rows : TableRows

    Raises
    ------
    TypeError
        If values are of a type that cannot be kept: dates, containers, any other object than None, NaN, pandas.NA, a
        bool, an int, a float, a str or bytes.
    ValueError
        If numbers are infinite, or integers are beyond 2**53.
    """
    if isinstance(X, TableRows):
        return X
    columns = _columns_of(X)
    values = np.empty((len(columns[0]) if columns else 0, len(columns)))
    dtypes, lookups = [], []
    as_floats = set(numbers)
    for j, column in enumerate(columns):
        if j in as_floats:
            column = _as_floats(column)
        values[:, j], dtype, lookup = _read_column(column)
        dtypes.append(dtype)
        lookups.append(lookup)
    n_infinite = int(np.count_nonzero(np.isinf(values).any(axis=0)))
    if n_infinite:
        raise ValueError(
            f"Input X contains infinity or a value too large for float64, in {n_infinite} of {len(columns)} columns. "
            "Nothing was changed."
        )
    return TableRows(values, tuple(dtypes), tuple(lookups))


def as_rows(X: Any, *, is_table: bool) -> Any:
    """Return X as rows are kept: numbers of one dtype as an array or a sparse matrix, anything else as a table."""
    if sp.issparse(X):
        return check_array(X, accept_sparse="csr", dtype=(np.float64, np.float32), ensure_all_finite="allow-nan")
    is_array = isinstance(X, np.ndarray) and X.dtype.kind in "biuf"
    if is_array and not is_table:
        return check_array(X, dtype=(np.float64, np.float32), ensure_all_finite="allow-nan")
    if not is_array and not hasattr(X, "iloc") and not hasattr(X, "get_columns"):
        X = _listed(X)
    table = as_table(X)
    if is_table or any(lookup is not None for lookup in table.lookups) or len(set(table.dtypes)) > 1:
        return table
    return np.ascontiguousarray(table.values)


def _listed(X: Any) -> Any:
    """Return nested lists as an array: of numbers where they hold nothing else."""
    array = np.asarray(X) if not isinstance(X, TableRows) else X
    return array if array.dtype.kind in "biufOUS" or isinstance(X, TableRows) else X


def _columns_of(X: Any) -> list[np.ndarray]:
    if hasattr(X, "iloc") and getattr(X, "ndim", 0) == 2:
        _check_extent(X.shape)
        return [np.asarray(X.iloc[:, j]) for j in range(X.shape[1])]
    if hasattr(X, "get_columns"):  # polars
        _check_extent(X.shape)
        return [np.asarray(column) for column in X.get_columns()]
    array = check_array(X, dtype=None, ensure_all_finite="allow-nan")
    if not hasattr(X, "dtype") and array.dtype.kind == "U":  # a list of lists keeps the types of its elements
        array = check_array(X, dtype=object, ensure_all_finite="allow-nan")
    return list(array.T)


def _check_extent(shape: tuple[int, int]) -> None:
    for n, what in zip(shape, ("sample", "feature"), strict=True):
        if n == 0:
            raise ValueError(f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required.")


def _read_column(column: np.ndarray) -> tuple[np.ndarray, str, np.ndarray | None]:
    """Return a column as float64, its dtype, and its lookup where it is a category column."""
    kind = column.dtype.kind
    if kind in "iu" and not _fits(column, "int64" if kind == "i" else "uint64").all():
        raise ValueError(
            "A column of X holds integers beyond 2**53, which are not kept exactly as numbers. Nothing was changed. "
            "Convert it to str."
        )
    if kind in "biuf":
        dtype = column.dtype.name if column.dtype.name in _NUMBER_DTYPES else "float64"
        return column.astype(np.float64), dtype, None
    if kind in "OUST":
        codes, values = _coded(column.tolist())
        return codes, {"U": "str", "S": "bytes"}.get(kind, "object"), _objects(values)
    raise TypeError(
        f"A column of X has dtype {column.dtype.name}, and can be kept neither as numbers nor as categories. Nothing "
        "was changed. Convert it to str or to numbers."
    )


def _coded(values: list[Any]) -> tuple[np.ndarray, list[Any]]:
    """Return the distinct values of a column, and the place of each among them."""
    if set(map(type, values)) == {str}:
        distinct = list(dict.fromkeys(values))
        place_of = {value: place for place, value in enumerate(distinct)}
        return np.fromiter(map(place_of.__getitem__, values), np.float64, len(values)), distinct
    values = [plain_value(value) for value in values]
    keys = [value_key(value) for value in values]
    distinct_of = dict(zip(keys, values, strict=True))
    place_of = {key: place for place, key in enumerate(distinct_of)}
    return np.fromiter(map(place_of.__getitem__, keys), np.float64, len(keys)), list(distinct_of.values())


def plain_value(value: Any) -> Any:
    """Return a value as one of the types that are kept."""
    if type(value) is str or value is None or _is_na(value):
        return value
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (bool, int, str)):
        return next(kind(value) for kind in (bool, int, str) if isinstance(value, kind))
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, float):
        return NAN if math.isnan(value) else float(value) + 0.0  # -0.0 is 0.0
    raise TypeError(
        f"A column of X holds values of type {type(value).__name__}, whose argument must be a string or a number: "
        "None, NaN, a bool, an int, a float, a str or bytes. Nothing was changed. Convert it."
    )


def _is_na(value: Any) -> bool:
    return type(value).__name__ == "NAType" and type(value).__module__.startswith("pandas.")


def _as_floats(column: np.ndarray) -> np.ndarray:
    try:
        return column.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            "A column of X that is to be read as numbers holds values that are none. Nothing was changed. Convert it."
        ) from None


def _converted(table: TableRows, j: int, dtype: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a column of `table` as one of another dtype, and its lookup where that is a category column."""
    lookup = table.lookups[j]
    if dtype not in CATEGORY_DTYPES:
        column = table.values[:, j] if lookup is None else _numbers(*table.distinct(j))
        if dtype in ("float16", "float32"):
            with np.errstate(over="ignore", under="ignore"):
                narrow = column.astype(dtype).astype(np.float64)
            if (np.isinf(narrow) | ((narrow == 0) & (column != 0))).any():
                raise ValueError
            return narrow, None
        if not _fits(column, dtype).all():
            raise ValueError
        return column, None
    values, places = table.distinct(j)
    codes, distinct = _coded(values)
    if not _are_of_dtype(distinct, dtype):
        raise ValueError
    return codes[places], _objects(distinct)


def _are_of_dtype(values: list[Any], dtype: str) -> bool:
    return dtype == "object" or all(type(value) is {"str": str, "bytes": bytes}[dtype] for value in values)


def _numbers(values: list[Any], places: np.ndarray) -> np.ndarray:
    if not all(type(value) in (bool, int, float) for value in values):
        raise ValueError
    if any(abs(value) > _LARGEST_INTEGER for value in values if type(value) is int):
        raise ValueError
    return np.array(values, dtype=np.float64)[places]


def _fits(column: np.ndarray, dtype: str) -> np.ndarray:
    """Return which numbers a dtype holds without a change."""
    if dtype == "float64":
        return np.ones(len(column), dtype=bool)
    if dtype in ("float16", "float32"):
        with np.errstate(over="ignore", under="ignore"):
            return np.isnan(column) | (column.astype(dtype) == column)
    if dtype == "bool":
        return (column == 0) | (column == 1)
    limits = np.iinfo(dtype)
    smallest, largest = max(limits.min, -_LARGEST_INTEGER), min(limits.max, _LARGEST_INTEGER)
    return (column == np.floor(column)) & (column >= smallest) & (column <= largest)


def _python_numbers(values: list[float], dtype: str) -> list[Any]:
    if dtype == "bool":
        return [bool(value) for value in values]
    if "int" in dtype:
        return [int(value) for value in values]
    return [NAN if math.isnan(value) else value + 0.0 for value in values]


def _used(positions: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which of 0 to n - 1 occur, and the places of `positions` among these."""
    occurs = np.zeros(n, dtype=bool)
    occurs[positions] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[positions]


def _objects(values: list[Any]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


# --- values in JSON ---------------------------------------------------------------------------------------------------


def to_json(values: list[Any]) -> list[Any]:
    """Return values of a column in terms of JSON; values of different types are different."""
    return [_value_to_json(value) for value in values]


def _value_to_json(value: Any) -> Any:
    if isinstance(value, float):
        return ["f", value.hex()]
    if isinstance(value, bytes):
        return ["b", value.hex()]
    return ["NA"] if _is_na(value) else value


def _from_json(values: list[Any], dtype: str) -> list[Any]:
    read = [_value_from_json(value) for value in values]
    if not _are_of_dtype(read, dtype):
        raise ValueError("a column has values of another type than its dtype")
    return read


def _value_from_json(value: Any) -> Any:
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        if len(value) == 2 and value[0] == "f":
            number = float.fromhex(value[1])
            if [*value] == _value_to_json(plain_value(number)):
                return plain_value(number)
        elif len(value) == 2 and value[0] == "b":
            return bytes.fromhex(value[1])
        elif value == ["NA"]:
            import pandas as pd

            return pd.NA
    raise ValueError("a column has a value of an unknown type")
