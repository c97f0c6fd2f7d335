"""Ids of samples and subjects: the two kinds there are, and how they are read from what a user hands over."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp

from skunlearn.exceptions import SampleIdTypeError, SampleIdValueError

__all__ = ["IdKind", "Ids", "id_bytes", "parse_ids"]

IdKind = Literal["int64", "str"]
Ids = np.ndarray | list[str]


def parse_ids(ids: Any, name: str, *, expected: str | None = None) -> Ids:
    """Return ids as int64 or as a list of str, the two kinds there are.

    Parameters
    ----------
    ids : array-like of shape (n_ids,)
        Integers or strings, one kind; bool, float, bytes and missing values are refused. A string never passes through
        a fixed-width dtype here, which would drop a trailing NUL.
    name : {"sample_ids", "subject_ids"}
        Named in errors.
    expected : {"int64", "str"}, default=None
        The kind that a fitted model has.

    Returns
    -------
    ids : ndarray of shape (n_ids,), int64, or list of str

    Raises
    ------
    SampleIdTypeError
        If ids are of no accepted kind, of several, or not of the kind `expected`.
    SampleIdValueError
        If `ids` is not one-dimensional, or an integer does not fit into 64 bits.
    """
    parsed = _parse_ids(ids, name)
    kind = "str" if isinstance(parsed, list) else "int64"
    if expected is None or kind == expected:
        return parsed
    if len(parsed) == 0:
        return [] if expected == "str" else np.empty(0, dtype=np.int64)
    raise SampleIdTypeError(
        f"{name} are {kind}, but this model was fitted with {expected} ids. Nothing was changed. Convert them with "
        f'astype("{expected}").'
    )


def _parse_ids(ids: Any, name: str) -> Ids:
    if isinstance(ids, (list, tuple)):
        return _parse_elements(ids, name)
    if isinstance(ids, (str, bytes, bytearray)) or not hasattr(ids, "__len__"):
        raise SampleIdTypeError(
            f"{name} must be a one-dimensional array-like of ids. Got a single {type(ids).__name__} instead. Nothing "
            "was changed. Put it into a list."
        )
    if isinstance(ids, (dict, set, frozenset)) or sp.issparse(ids):
        raise SampleIdTypeError(
            f"{name} must be a one-dimensional array-like of ids, in order. Got a {type(ids).__name__} instead. "
            "Nothing was changed."
        )
    array = np.asarray(ids)
    if array.ndim != 1:
        raise SampleIdValueError(
            f"{name} must be one-dimensional, one id a row. Got {array.ndim} dimensions instead. Nothing was changed."
        )
    kind = array.dtype.kind
    if kind == "i":
        return array.astype(np.int64, copy=False)
    if kind == "u":
        if array.dtype.itemsize == 8 and array.size and array.max() > np.iinfo(np.int64).max:
            raise _too_large(name)
        return array.astype(np.int64)
    if kind in "UTO":
        return _parse_elements(array.tolist(), name)
    if array.size == 0:
        return np.empty(0, dtype=np.int64)
    raise _wrong_type(name, array.dtype.name)


def _parse_elements(ids: Sequence[Any], name: str) -> Ids:
    types = set(map(type, ids))
    if types <= {int}:
        try:
            return np.array(ids, dtype=np.int64)
        except OverflowError:
            raise _too_large(name) from None
    if types == {str}:
        return ids if isinstance(ids, list) else list(ids)
    if all(issubclass(t, str) for t in types):
        return [str(i) for i in ids]
    if all(issubclass(t, (int, np.integer)) and t is not bool for t in types):
        return _parse_elements([int(i) for i in ids], name)
    if any(issubclass(t, (list, tuple, np.ndarray)) for t in types):
        raise SampleIdValueError(
            f"{name} must be one-dimensional, one id a row. Got nested sequences instead. Nothing was changed."
        )
    raise _wrong_type(name, " and ".join(sorted(t.__name__ for t in types)))


def id_bytes(identity: int | str) -> bytes:
    """Return an id as keyed hashes take it: 64 bits, little-endian, or UTF-8."""
    return identity.encode() if isinstance(identity, str) else identity.to_bytes(8, "little", signed=True)


def _too_large(name: str) -> SampleIdValueError:
    return SampleIdValueError(
        f"{name} hold integers that do not fit into 64 bits with a sign. Nothing was changed. Pass them as str."
    )


def _wrong_type(name: str, got: str) -> SampleIdTypeError:
    return SampleIdTypeError(
        f"{name} must all be int64 or all be str. Got {got} instead. Nothing was changed. Convert them with "
        'astype("int64") or astype("str").'
    )
