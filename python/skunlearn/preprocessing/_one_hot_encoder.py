"""One-hot encoding whose categories leave with their last row."""

import warnings
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing
from sklearn.utils._set_output import _get_output_config

from skunlearn._count_core import category_of, dtypes_of
from skunlearn.base import fitted_attribute
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing._encoder import Categories, Encoder, EncoderMap, EncodingCore
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, RealNotInt, StrOptions, in_sparse_interface

__all__ = ["OneHotEncoder"]


class OneHotEncoder(Encoder):
    """Encode each category of a column as a column of its own, forgetting rows exactly.

    What is kept of the rows are counts of values, so `partial_forget` is their subtraction: afterwards the encoder
    equals, bit for bit, one fitted on the rows that are left. The transform changes only when a category loses its last
    row, or becomes or stops being rare; declare `categories` to keep the columns whatever is forgotten.

    Parameters
    ----------
    categories : "auto" or list of array-like, default="auto"
        Categories of each column: those that rows bear, or these. Numbers must ascend, and NaN be last.
    drop : {"first", "if_binary"} or array-like of shape (n_features,), default=None
        Category of each column that gets no column: the first, the first of two, or this one. While rows have been
        forgotten so that one that is named here is rare or has no row, the encoder determines no transform.
    sparse_output : bool, default=True
        Whether to return sparse rows.
    dtype : number type, default=np.float64
        Dtype of encoded rows.
    handle_unknown : {"error", "ignore", "infrequent_if_exist", "warn"}, default="error"
        What to do with other values: raise, encode as zeros, or encode as rare where there are rare ones and as zeros
        elsewhere; with "warn", also warn.
    min_frequency : int or float, default=None
        A category of fewer rows is rare; a float is a share of the rows.
    max_categories : int, default=None
        Most columns of one feature, the one for all rare categories included. The rarest are then rare; of equal ones
        the first.
    feature_name_combiner : "concat" or callable, default="concat"
        Makes names of columns of the name of a feature and a category.

    Attributes
    ----------
    categories_ : list of ndarray
        Categories of each column, ascending, missing values last. In a column of objects True, 1 and 1.0 are one.
    drop_idx_ : ndarray of shape (n_features,) or None
        Places of the categories without a column; None for a column without one.
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
    sklearn.preprocessing.OneHotEncoder : What `release` returns.

    Notes
    -----
    Forgetting m rows takes O(m n_features) look-ups, whatever the number of rows. No error or warning names a category.
    The model keeps its rows; `release` does not, but categories are values of rows.

    Examples
    --------
    >>> from skunlearn.preprocessing import OneHotEncoder
    >>> model = OneHotEncoder(sparse_output=False).fit([["a"], ["b"], ["a"], ["c"]], sample_ids=[7, 8, 9, 10])
    >>> model.partial_forget([9]).transform([["c"]])
    array([[0., 0., 1.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "categories": [StrOptions({"auto"}), list],
        "drop": [StrOptions({"first", "if_binary"}), "array-like", None],
        "dtype": "no_validation",
        "handle_unknown": [StrOptions({"error", "ignore", "infrequent_if_exist", "warn"})],
        "max_categories": [Interval(Integral, 1, None, closed="left"), None],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="neither"),
            None,
        ],
        "sparse_output": ["boolean"],
        "feature_name_combiner": [StrOptions({"concat"}), callable],
    }

    drop_idx_ = fitted_attribute()

    def __init__(
        self,
        *,
        categories: Any = "auto",
        drop: Any = None,
        sparse_output: bool = True,
        dtype: Any = np.float64,
        handle_unknown: str = "error",
        min_frequency: float | None = None,
        max_categories: int | None = None,
        feature_name_combiner: Any = "concat",
    ) -> None:
        self.categories = categories
        self.sparse_output = sparse_output
        self.dtype = dtype
        self.handle_unknown = handle_unknown
        self.drop = drop
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.feature_name_combiner = feature_name_combiner

    def transform(self, X: Any) -> Any:
        """Encode rows.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_out : {sparse matrix, ndarray} of shape (n_samples, n_encoded_features)
            Encoded rows; sparse ones in CSR form.

        Raises
        ------
        UnknownCategoryError
            If ``handle_unknown="error"`` and a value is no category.
        """
        state: OneHotState = self._published()
        if state.sparse_output and _get_output_config("transform", estimator=self)["dense"] != "default":
            raise ValueError(
                "A data frame as output does not support sparse data. Set sparse_output=False, or set_output("
                'transform="default").'
            )
        encoded = state.apply(self._check_X(self, X, reset=False))
        return in_sparse_interface(encoded) if state.sparse_output else encoded

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the encoded columns.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features; by default those of `fit`, or x0, x1, ...

        Returns
        -------
        feature_names_out : ndarray of str
            Names, each made of a feature and a category: values of rows.
        """
        return self.release().get_feature_names_out(input_features)

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_OneHotCore":
        return _OneHotCore(type(self).__name__, params, dtypes_of(rows))

    def _native_twin(self, state: "OneHotState", params: dict[str, Any]) -> Any:
        twin = sklearn.preprocessing.OneHotEncoder(**params)
        self._set_categories(twin, state)
        twin.drop_idx_ = None if state.drop_idx_ is None else state.drop_idx_.copy()
        twin._drop_idx_after_grouping = None if state.dropped is None else state.dropped.copy()
        twin._n_features_outs = list(state.widths)
        return twin


@dataclass(frozen=True, slots=True, eq=False)
class OneHotState(EncoderMap):
    """The published state of one version.

    Parameters
    ----------
    codes : tuple of ndarray
        Column of each category of each feature in encoded rows, or -1 for none.
    unknown : tuple of int
        The same for a value that is no category.
    widths : tuple of int
        How many columns each feature has in encoded rows.
    dropped : ndarray of shape (n_features,) or None
        What is dropped, as a place among categories of which the rare ones are one.
    drop_idx_ : ndarray of shape (n_features,) or None
        What is dropped, as a place among all categories.
    refuses_unknown, warns_of_unknown : bool
        What happens at a value that is no category.
    sparse_output : bool
        Whether encoded rows are sparse.
    """

    codes: tuple[np.ndarray, ...]
    unknown: tuple[int, ...]
    widths: tuple[int, ...]
    dropped: np.ndarray | None
    drop_idx_: np.ndarray | None
    refuses_unknown: bool
    warns_of_unknown: bool
    sparse_output: bool

    def apply(self, X: Any) -> Any:
        """Return rows encoded."""
        columns, with_unknown = self.encoded(X, self.codes, self.unknown)
        if with_unknown:
            self._answer_unknown(with_unknown)
        is_one = columns >= 0
        shape = (len(columns), sum(self.widths))
        if not self.sparse_output:
            dense = np.zeros(shape, dtype=self.dtype)
            dense[np.nonzero(is_one)[0], columns[is_one]] = 1
            return dense
        indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(is_one, axis=1))]).astype(np.int32)
        indices = columns[is_one].astype(np.int32)
        return sp.csr_array((np.ones(len(indices), dtype=self.dtype), indices, indptr), shape=shape)

    def _answer_unknown(self, with_unknown: list[int]) -> None:
        if self.refuses_unknown:
            self.refuse_unknown(with_unknown)
        if self.warns_of_unknown:
            warnings.warn(
                f"Found unknown categories in columns {with_unknown} during transform. They are encoded as infrequent "
                "where there are infrequent ones, and as zeros elsewhere.",
                UserWarning,
                stacklevel=4,
            )

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the categories, the column of each, and the form of what is given."""
        flags = (self.refuses_unknown, self.warns_of_unknown, self.sparse_output)
        codes = [code.astype("<i8") for code in self.codes]
        return [*EncoderMap.parts(self), *codes, repr((self.unknown, self.widths, flags)).encode()]


class _OneHotCore(EncodingCore):
    """Counts of values, and the columns that are published of them."""

    def __init__(self, model_name: str, params: dict[str, Any], dtypes: Any) -> None:
        super().__init__(model_name, params, dtypes)
        drop = params["drop"]
        self._named = None if drop is None or isinstance(drop, str) else [category_of(v) for v in _listed(drop)]
        if self._named is not None and len(self._named) != len(dtypes):
            raise ValueError(
                f"`drop` should have length equal to the number of features ({len(dtypes)}), got {len(self._named)}."
            )

    def _make_map(self) -> OneHotState:
        """Return the columns of the categories."""
        columns = self._columns(ignores_missing=False)
        handle_unknown, drop = self._params["handle_unknown"], self._params["drop"]
        places = tuple(column.place_of() for column in columns)
        groupings = [column.grouping() for column in columns]
        sizes = [len(c.values) if g is None else int(g.max()) + 1 for c, g in zip(columns, groupings, strict=True)]
        dropped = self._dropped(columns, places, groupings, sizes)
        codes: list[np.ndarray] = []
        unknown: list[int] = []
        widths: list[int] = []
        for j, (grouping, size) in enumerate(zip(groupings, sizes, strict=True)):
            gone = None if dropped is None else dropped[j]
            of_group = sum(widths) + np.arange(size)
            if gone is not None:
                of_group[gone + 1 :] -= 1
                of_group[gone] = -1
            codes.append(of_group if grouping is None else of_group[grouping])
            as_rare = grouping is not None and handle_unknown in ("infrequent_if_exist", "warn")
            unknown.append(int(of_group[-1]) if as_rare else -1)
            widths.append(size - (gone is not None))
        return OneHotState(
            columns=columns,
            places=places,
            dtypes=self._dtypes,
            groups_infrequent=self._groups_infrequent,
            dtype=np.dtype(self._params["dtype"]),
            codes=tuple(codes),
            unknown=tuple(unknown),
            widths=tuple(widths),
            dropped=dropped,
            drop_idx_=_ungrouped(dropped, groupings),
            refuses_unknown=handle_unknown == "error",
            warns_of_unknown=handle_unknown == "warn" or (drop is not None and handle_unknown != "error"),
            sparse_output=self._params["sparse_output"],
        )

    def _dropped(
        self, columns: tuple[Categories, ...], places: Any, groupings: list[np.ndarray | None], sizes: list[int]
    ) -> np.ndarray | None:
        """Return what is dropped of each column, the rare ones being one category."""
        drop = self._params["drop"]
        if drop is None:
            return None
        if isinstance(drop, str) and drop == "first":
            return np.zeros(len(columns), dtype=object)
        if self._named is None:
            return np.array([0 if size == 2 else None for size in sizes], dtype=object)
        chosen = [place_of.get(value) for place_of, value in zip(places, self._named, strict=True)]
        n_absent = chosen.count(None)
        n_rare = sum(
            place is not None and column.infrequent is not None and place in column.infrequent
            for place, column in zip(chosen, columns, strict=True)
        )
        if n_absent or n_rare:
            raise DegenerateRowsError(
                f"Of {len(columns)} categories that drop names, {n_absent} have no row and {n_rare} are infrequent: "
                "Unable to drop a category that is not there. Learn rows that bear them, or fit with another drop."
            )
        return np.array([p if g is None else g[p] for p, g in zip(chosen, groupings, strict=True)], dtype=object)


def _listed(drop: Any) -> list[Any]:
    return list(np.asarray(drop, dtype=object)) if not isinstance(drop, list) else drop


def _ungrouped(dropped: np.ndarray | None, groupings: list[np.ndarray | None]) -> np.ndarray | None:
    """Return places among all categories of what is dropped: the first one, of rare ones."""
    if dropped is None:
        return None
    return np.array(
        [
            place if place is None or grouping is None else int(np.flatnonzero(grouping == place)[0])
            for place, grouping in zip(dropped, groupings, strict=True)
        ],
        dtype=object,
    )
