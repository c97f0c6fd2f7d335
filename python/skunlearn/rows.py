"""The live rows of a model: which row is whose, and what it holds.

`RowStore` puts names and errors on the native store, which does the work: ids, subjects and values in chunks that never
move, removal by swapping with the last row, and zeroes where a row was. `RowBlock` is how rows travel from the store to
the cores that count, sum or sort them.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import RowStore as NativeRowStore
from _unlearn_native._native import prf

from skunlearn.columns import Columns, TableRows
from skunlearn.exceptions import (
    DamagedStateError,
    DuplicateSampleError,
    SampleIdValueError,
    UnknownSampleError,
)
from skunlearn.ids import IdKind, Ids, id_bytes, parse_ids
from skunlearn.key import Key

__all__ = [
    "CsrRows",
    "RowBlock",
    "RowStore",
    "Selection",
    "as_native",
    "csr_rows",
    "estimate_index_nbytes",
    "estimate_rows_nbytes",
]

_CRC = struct.Struct("<I")
#: Rows that a pass in another order than that of the store copies out at a time.
_COPIED_ROWS = 8192


class CsrRows(NamedTuple):
    """Rows in compressed sparse row form, without the cost of a SciPy object.

    `indptr` is int64 of shape (n_rows + 1,), `indices` int32 and `data` of shape (n_nonzero,); indices ascend within a
    row and no zero is stored.
    """

    indptr: np.ndarray
    indices: np.ndarray
    data: np.ndarray


@dataclass(slots=True)
class RowBlock:
    """Rows on their way from an owner to a core.

    Parameters
    ----------
    slots : ndarray of shape (n_rows,), uint32
        Where the rows lie, or lay, in the owner's store.
    X : ndarray of shape (n_rows, n_features), CsrRows or TableRows, or None
        Values; possibly a read-only view of the store. `TableRows` where a column is no number. None for a core that
        reads the store itself.
    y : ndarray of shape (n_rows, n_targets), float64, or None
        Targets; class labels as codes.
    weight : ndarray of shape (n_rows,), float64, or None
        Weights; None stands for ones.
    ids : ndarray of shape (n_rows,), int64, or list of str, or None
        Sample ids, for the cores that ask for them.
    tags : ndarray of shape (n_rows, 2), uint64, or None
        128-bit row tags as (low, high), for the cores that draw random numbers.
    groups : ndarray of shape (n_rows, 2), uint64, or None
        Tags of those whose rows they are, for the cores that keep a subject together; of the row itself where it is
        nobody's.
    """

    slots: np.ndarray
    X: Any
    y: np.ndarray | None = None
    weight: np.ndarray | None = None
    ids: Ids | None = None
    tags: np.ndarray | None = None
    groups: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.slots)

    def take(self, rows: np.ndarray) -> "RowBlock":
        """Return the rows of the block that `rows`, a boolean mask, names."""
        return RowBlock(
            slots=self.slots[rows],
            X=_take_csr(self.X, rows) if isinstance(self.X, CsrRows) else self.X[rows],
            y=None if self.y is None else self.y[rows],
            weight=None if self.weight is None else self.weight[rows],
            ids=_take_ids(self.ids, rows),
            tags=None if self.tags is None else self.tags[rows],
            groups=None if self.groups is None else self.groups[rows],
        )

    def wipe(self) -> None:
        """Overwrite the block's own copies with zeros; views of the store are left alone."""
        if isinstance(self.X, TableRows):
            self.X.wipe()
        values = self.X if isinstance(self.X, CsrRows) else (self.X,)
        for part in (*values, self.y, self.weight, self.tags, self.groups, self.ids):
            if isinstance(part, np.ndarray) and part.flags.writeable:
                part.fill(0)
        self.ids = None


class Selection(NamedTuple):
    """Rows that a request names: their slots, ascending and without repeats, and what else the request held."""

    slots: np.ndarray
    n_unknown: int
    n_duplicates: int
    n_subjects: int


class RowStore:
    """Live rows under ids.

    Parameters
    ----------
    id_kind : {"range", "int64", "str"}
        Kind of the sample ids; "range" numbers the rows 0 to n-1, and costs 4 bytes a row for their order.
    subject_kind : {"int64", "str"} or None
        Kind of the subject ids; None where rows belong to nobody.
    layout : {"dense", "csr"}
        How values are kept.
    dtype : dtype, float32 or float64
        What values are kept as.
    n_features, n_targets : int
        Columns of X and of y.
    tag_key : Key or None
        Keep a keyed tag of every row, for cores that draw random numbers.
    model_name : str
        Named in errors.
    columns : Columns or None
        Kinds of the columns of X where they differ, with the codebooks of those that are no numbers. Rows then come as
        `TableRows`, into a dense store of float64.

    Attributes
    ----------
    has_tags : bool
        Whether there are tags.
    """

    __slots__ = ("_model_name", "_native", "columns", "has_tags")

    def __init__(
        self,
        *,
        id_kind: Literal["range", "int64", "str"],
        subject_kind: IdKind | None,
        layout: Literal["dense", "csr"],
        dtype: Any,
        n_features: int,
        n_targets: int,
        tag_key: Key | None = None,
        model_name: str = "model",
        columns: Columns | None = None,
    ) -> None:
        self._native = NativeRowStore(
            id_kind=id_kind,
            subject_kind=subject_kind,
            layout=layout,
            dtype=np.dtype(dtype).name,
            n_features=n_features,
            n_targets=n_targets,
            tag_key=None if tag_key is None else tag_key._secret,
        )
        self._model_name = model_name
        self.columns = columns
        self.has_tags = tag_key is not None

    @property
    def native(self) -> NativeRowStore:
        """The native store, for kernels and audits."""
        return self._native

    def __len__(self) -> int:
        return int(self._native.n_live)

    @property
    def id_kind(self) -> IdKind:
        """Kind of the sample ids."""
        return self._native.id_kind

    @property
    def subject_kind(self) -> IdKind | None:
        """Kind of the subject ids, or None where the rows have none."""
        return self._native.subject_kind

    def insert(self, sample_ids: Ids | None, X: Any, y: Any, weight: Any, subject_ids: Ids | None) -> range:
        """Add rows behind the last slot and return their slots.

        Raises
        ------
        DuplicateSampleError
            If ids are live already or occur twice among `sample_ids`. Nothing was changed.
        """
        start = len(self)
        if self.columns is None:
            self._insert(sample_ids, as_native(X), y, weight, subject_ids)
            return range(start, len(self))
        try:
            values = self.columns.encode(X)
            self._insert(sample_ids, values, y, weight, subject_ids)
            self.columns.count(values, +1)
        except BaseException:
            if len(self) == start:
                self.columns.prune()
            raise
        return range(start, len(self))

    def _insert(self, sample_ids: Ids | None, X: Any, y: Any, weight: Any, subject_ids: Ids | None) -> None:
        try:
            clashes = self._native.insert(sample_ids, X, y, weight, subject_ids)
        except ValueError as error:
            raise SampleIdValueError(str(error)) from None
        if len(clashes):
            assert sample_ids is not None
            raise DuplicateSampleError(
                f"{len(clashes)} of {len(sample_ids)} sample ids are live already in this {self._model_name}, or occur "
                "more than once in this call (see the exception's .ids). Nothing was changed. Forget them first, or "
                "give the new rows other ids.",
                [sample_ids[i] for i in clashes.tolist()],
            )

    def select(self, sample_ids: Any, subject_ids: Any, on_unknown: str) -> Selection:
        """Find the rows of a request without changing anything.

        Raises
        ------
        UnknownSampleError
            If ``on_unknown="raise"`` and some ids are not live.
        """
        if on_unknown not in ("raise", "ignore"):
            raise ValueError(
                f"on_unknown must be 'raise' or 'ignore'. Got {on_unknown!r} instead. Nothing was changed."
            )
        n_unknown = n_duplicates = n_subjects = 0
        slots = _NO_SLOTS
        if sample_ids is not None:
            ids = parse_ids(sample_ids, "sample_ids", expected=self.id_kind)
            slots, unknown = self._find(self._native.find, ids)
            self._check_unknown(ids, unknown, "sample ids", on_unknown)
            n_unknown, n_duplicates = len(unknown), len(ids) - len(unknown) - len(slots)
        if subject_ids is not None:
            if self.subject_kind is None:
                raise SampleIdValueError(
                    f"This {self._model_name} was fitted without subject_ids, so rows cannot be forgotten by subject. "
                    "Nothing was changed. Pass sample_ids instead."
                )
            subjects = parse_ids(subject_ids, "subject_ids", expected=self.subject_kind)
            of_subjects, unknown = self._find(self._native.find_subjects, subjects)
            self._check_unknown(subjects, unknown, "subject ids", on_unknown)
            n_unknown += len(unknown)
            named = subjects if isinstance(subjects, list) else subjects.tolist()
            n_subjects = len(set(named)) - len({named[i] for i in unknown.tolist()})
            slots = np.union1d(slots, of_subjects) if len(slots) else of_subjects
        return Selection(slots, n_unknown, n_duplicates, n_subjects)

    @staticmethod
    def _find(find: Callable[[Ids], tuple[np.ndarray, np.ndarray]], ids: Ids) -> tuple[np.ndarray, np.ndarray]:
        try:
            return find(ids)
        except ValueError as error:  # all but the text of ids was checked before
            raise SampleIdValueError(str(error)) from None

    def _check_unknown(self, ids: Ids, unknown: np.ndarray, what: str, on_unknown: str) -> None:
        if on_unknown == "raise" and len(unknown):
            raise UnknownSampleError(
                f"{len(unknown)} of {len(ids)} {what} are not live in this {self._model_name} (see the exception's "
                '.ids). Nothing was changed. Pass on_unknown="ignore" to skip them.',
                [ids[i] for i in unknown.tolist()],
            )

    def take(self, slots: np.ndarray, *, with_ids: bool = False, with_tags: bool = False) -> RowBlock:
        """Copy rows out, in the order of `slots`."""
        X, y, weight = self._native.block(slots)
        if self.columns is not None:
            X = self.columns.decode_copy(X)
        return RowBlock(
            slots=slots,
            X=CsrRows(*X) if isinstance(X, tuple) else X,
            y=y,
            weight=weight,
            ids=self._native.ids(slots) if with_ids else None,
            tags=self._native.tags(slots) if with_tags else None,
        )

    def erase(self, slots: np.ndarray) -> np.ndarray:
        """Remove rows: the commit of a forget. What they occupied is zero afterwards, and no codebook knows it.

        Returns
        -------
        moves : ndarray of shape (n_moves, 2), uint32
            Rows that moved, as (from, to), in the order in which they moved.
        """
        if self.columns is None or not self.columns.has_categories:
            return self._native.erase(slots)
        values = self._native.block(slots)[0]
        moves = self._native.erase(slots)
        self.columns.count(values, -1)
        values.fill(0)
        return moves

    def recount(self) -> None:
        """Count the values of category columns afresh, after an operation that was cut short."""
        if self.columns is not None and self.columns.has_categories:
            self.columns.recount(self._native.chunk(start, end)[0] for start, end in self._chunks(0, len(self)))

    def retag(self, tag_key: Key) -> None:
        """Compute the tags of all rows anew."""
        self._native.retag(tag_key._secret)

    def blocks(self, start: int = 0, stop: int | None = None, *, with_tags: bool = False) -> Iterator[RowBlock]:
        """Pass over the rows in slots `start` to `stop` in order; dense blocks are views of the store."""
        lookups = () if self.columns is None else self.columns.lookups()
        for first, end in self._chunks(start, len(self) if stop is None else stop):
            X, y, weight = self._native.chunk(first, end)
            if self.columns is not None:
                X = self.columns.decode(X, lookups)
            slots = np.arange(first, end, dtype=np.uint32)
            yield RowBlock(
                slots=slots,
                X=CsrRows(*X) if isinstance(X, tuple) else X,
                y=y,
                weight=weight,
                tags=self._native.tags(slots) if with_tags else None,
            )

    def _chunks(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Return the runs of slots that lie together."""
        step = self._native.rows_per_chunk
        while start < stop:
            end = min(stop, (start // step + 1) * step)
            yield start, end
            start = end

    def blocks_in_order(self, by: Literal["id", "insertion"], n_rows: int = _COPIED_ROWS) -> Iterator[RowBlock]:
        """Pass over copies of all rows, with ids and tags, in order of "id" or of "insertion"."""
        order = self._native.order(by)
        for start in range(0, len(order), n_rows):
            yield self.take(order[start : start + n_rows], with_ids=True, with_tags=self.has_tags)

    def subjects(self, slots: np.ndarray) -> tuple[Any, np.ndarray]:
        """Return the subject ids of rows, as int64 or str, and which rows have one."""
        subjects = self._native.subjects(slots)
        if isinstance(subjects, tuple):
            return subjects
        return [s or "" for s in subjects], np.array([s is not None for s in subjects], dtype=bool)

    def group_tags(self, block: RowBlock, key: Key) -> np.ndarray:
        """Return `block.groups` for rows that are in the store, `block` having tags."""
        assert block.tags is not None
        if self.subject_kind is None:
            return block.tags
        subjects, owned = self.subjects(block.slots)
        named = np.flatnonzero(owned)
        distinct, inverse = np.unique(np.asarray(subjects, dtype=object)[named], return_inverse=True)
        words = b"".join(prf(key._secret, "subject", id_bytes(subject))[:16] for subject in distinct.tolist())
        groups = block.tags.copy()
        groups[named] = np.frombuffer(words, dtype="<u8").reshape(-1, 2)[inverse]
        return groups

    def empty_twin(self, *, tag_key: Key | None) -> "RowStore":
        """Return a store of the same schema without rows."""
        native = self._native
        return RowStore(
            id_kind=native.id_kind,
            subject_kind=native.subject_kind,
            layout=native.layout,
            dtype=native.dtype,
            n_features=native.n_features,
            n_targets=native.n_targets,
            tag_key=tag_key,
            model_name=self._model_name,
            columns=None if self.columns is None else self.columns.empty_twin(),
        )

    def to_bytes(self, code_map: np.ndarray | None = None) -> bytes:
        """Return the canonical bytes of all rows; `code_map` renames the class codes in column 0 of the targets.

        Values of category columns are written as their ranks among the sorted values.
        """
        data = self._native.to_bytes(code_map)
        if self.columns is None or not self.columns.has_categories:
            return data
        # Values come last, row by row, and a CRC-32 behind them: see `wire.rs`.
        n_values = len(self) * self._native.n_features
        body = bytearray(data)
        stored = np.frombuffer(body, "<f8", n_values, offset=len(body) - _CRC.size - 8 * n_values)
        self.columns.rank_in_place(stored.reshape(len(self), self._native.n_features))
        _CRC.pack_into(body, len(body) - _CRC.size, zlib.crc32(memoryview(body)[: -_CRC.size]))
        return bytes(body)

    @classmethod
    def from_bytes(
        cls, data: bytes, *, tag_key: Key | None, model_name: str, columns: Columns | None = None
    ) -> "RowStore":
        """Read what `to_bytes` wrote; `columns` are as `Columns.restore` gives them.

        Raises
        ------
        DamagedStateError
            If `data` is damaged, or was written by a newer version.
        """
        store = cls.__new__(cls)
        try:
            store._native = NativeRowStore.from_bytes(data, tag_key=None if tag_key is None else tag_key._secret)
        except ValueError as error:
            raise DamagedStateError(str(error)) from None
        store._model_name = model_name
        store.columns = columns
        store.has_tags = tag_key is not None
        if columns is not None:
            store._check_columns(columns)
        return store

    def _check_columns(self, columns: Columns) -> None:
        native = self._native
        if (native.layout, native.dtype, native.n_features) != ("dense", "float64", len(columns.dtypes)):
            raise DamagedStateError(f"Saved {self._model_name}: its rows do not fit the kinds of its columns.")
        if any(columns.n_wrong(native.chunk(start, end)[0]) for start, end in self._chunks(0, len(self))):
            raise DamagedStateError(f"Saved {self._model_name}: values of rows do not fit the kinds of their columns.")
        for start, end in self._chunks(0, len(self)):
            columns.count(native.chunk(start, end)[0], +1)
        if columns.is_unborne():
            raise DamagedStateError(f"Saved {self._model_name}: its columns list values that no row bears.")


#: The native store allocates in chunks of at most this size, and never half of one.
_CHUNK_BYTES = 1 << 20
#: Hash table of the sample ids: 4 bytes an entry at a load between 7/16 and 7/8, and what stands beside it.
_TABLE_BYTES_A_ROW = 10


def estimate_rows_nbytes(X: Any, dtype: np.dtype, n_targets: int = 1) -> int:
    """Say how many bytes the values of `X` and `n_targets` targets a row will take in a store."""
    n_rows, n_features = X.shape
    per_chunk = _rows_per_chunk(n_features * dtype.itemsize)
    targets = _chunked_nbytes(n_rows, 8 * n_targets, min(per_chunk, _rows_per_chunk(8 * n_targets)))
    if not sp.issparse(X):
        return _chunked_nbytes(n_rows, n_features * dtype.itemsize, per_chunk) + targets
    entries = np.diff(X.tocsr().indptr).astype(np.int64)
    return _pooled_nbytes(entries * (4 + dtype.itemsize)) + 2 * _chunked_nbytes(n_rows, 4) + targets


def estimate_index_nbytes(n_rows: int, ids: Ids | None, *, with_tags: bool = False) -> int:
    """Say how many bytes ids and tags will take in a store, with the order of insertion and the index over them."""
    order = _chunked_nbytes(n_rows, 4) + (_chunked_nbytes(n_rows, 16) if with_tags else 0)
    if ids is None:
        return order
    if isinstance(ids, list):
        text = _pooled_nbytes(np.fromiter((len(i.encode()) for i in ids), np.int64, len(ids)))
        own = text + _chunked_nbytes(n_rows, 4) + _chunked_nbytes(n_rows, 2)  # address and length of each
    else:
        own = _chunked_nbytes(n_rows, 8)
    return order + own + _TABLE_BYTES_A_ROW * n_rows


def _rows_per_chunk(row_bytes: int) -> int:
    return 1 << (max(_CHUNK_BYTES // max(row_bytes, 1), 1).bit_length() - 1)


def _chunked_nbytes(n_rows: int, row_bytes: int, rows_per_chunk: int | None = None) -> int:
    step = rows_per_chunk or _rows_per_chunk(row_bytes)
    return -(-n_rows // step) * step * row_bytes


def _pooled_nbytes(span_bytes: np.ndarray) -> int:
    """Return the size of spans that are rounded up to words of 8 bytes, and those to four sizes an octave."""
    words = -(-span_bytes // 8)
    step = 2 ** np.maximum(np.log2(np.maximum(words, 1)).astype(np.int64) - 2, 0)
    return _chunked_nbytes(int((-(-words // step) * step).sum()), 8)


_NO_SLOTS = np.empty(0, dtype=np.uint32)


def as_native(X: Any) -> Any:
    """Hand a SciPy matrix over as its three arrays, sorted within rows and without repeats."""
    if not sp.issparse(X):
        return tuple(X) if isinstance(X, CsrRows) else X
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X.indptr.astype(np.int64, copy=False), X.indices, X.data


def csr_rows(X: Any) -> CsrRows:
    """Return a sparse matrix as kernels take it."""
    indptr, indices, data = as_native(X)
    return CsrRows(indptr, indices.astype(np.int32, copy=False), data)


def _take_csr(X: CsrRows, rows: np.ndarray) -> CsrRows:
    lengths = np.diff(X.indptr)
    kept = np.repeat(rows, lengths)
    indptr = np.concatenate(([0], np.cumsum(lengths[rows])))
    return CsrRows(indptr, X.indices[kept], X.data[kept])


def _take_ids(ids: Ids | None, rows: np.ndarray) -> Ids | None:
    if isinstance(ids, list):
        return [i for i, kept in zip(ids, rows, strict=True) if kept]
    return None if ids is None else ids[rows]
