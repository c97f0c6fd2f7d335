"""Equality of models: a digest of everything a model is, and the fit that it must be equal to."""

import hashlib
import struct
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from skunlearn.base import ForgetMixin
from skunlearn.columns import TableRows
from skunlearn.live import VALUE_FREE_PARAMETERS, IncomingRows, LiveModel
from skunlearn.rows import CsrRows, RowBlock

__all__ = ["FramedHash", "reference_fit", "state_digest"]

_FORMAT = b"skunlearn digest 1"


def state_digest(model: ForgetMixin) -> bytes:
    """Return 32 bytes that two models share exactly if they are the same model.

    Hashed with BLAKE2b-256: the class, the parameters that affect the value, the schema, the declared classes, the rows
    in id order, and the derived state in canonical form. Left out: the key, insertion order, slots, reports, locks,
    timings, counters: nothing that remembers how the model came to be. Pending work is done first.

    Parameters
    ----------
    model : estimator of this library
        A fitted model.

    Returns
    -------
    digest : bytes of length 32

    Raises
    ------
    NotFittedError
        If `model` is not fitted.
    ForgettingDisabledError
        If it was fitted with ``forgettable=False``: what it is a function of is gone.

    Notes
    -----
    The digest tells *which* model this is. It is no proof of forgetting to somebody else, and no secret: whoever holds
    the other rows can test guesses about one with it.
    """
    live = model._require_live()
    model._check_forgettable(live)
    with live.lock:
        live.settle()
        framed = FramedHash()
        framed.add(_FORMAT)
        framed.add(live.model_name.encode())
        framed.add(canonical(live.params))
        framed.add(canonical(_schema(live)))
        _add_rows(framed, live)
        for part in live.core.digest_parts(live):
            framed.add(part)
        return framed.digest()


def reference_fit(model: ForgetMixin) -> Any:
    """Fit afresh on the live rows of `model`, under its key and in its order: what it must equal bit for bit.

    The model a deletion leads to is defined on every set of rows, so this works also where `fit` would refuse, for
    instance on no row at all.

    Parameters
    ----------
    model : estimator of this library
        A fitted model.

    Returns
    -------
    reference : object
        A new model of the same class.
    """
    live = model._require_live()
    model._check_forgettable(live)
    twin = clone(model)
    fresh = LiveModel(
        model_name=live.model_name,
        params=live.params,
        feature_names=live.feature_names,
        key=live.key,
        rows=live.rows.empty_twin(tag_key=live.key if live.rows.has_tags else None),
        targets=live.targets.empty_twin(),
        core=twin._make_core(live.params, live.rows),
    )
    with live.lock:
        for rows in _incoming_runs(live):
            fresh.learn(rows)
    twin._adopt(fresh)
    return twin


def canonical(value: Any) -> bytes:
    """Return bytes that equal values share and unequal ones do not, for parameters and labels.

    Numbers are equal when Python says so: True, 1 and 1.0 are one value, as they are one class label.
    """
    if value is None:
        return b"n"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return _framed(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (bool, int)):
        return _framed(b"i", str(int(value)).encode())
    if isinstance(value, float):
        return canonical(int(value)) if value.is_integer() else _framed(b"f", value.hex().encode())
    if isinstance(value, BaseEstimator):
        params = value.get_params(deep=False)
        of_value = {name: params[name] for name in params if name not in VALUE_FREE_PARAMETERS}
        return _framed(b"e", canonical(f"{type(value).__module__}.{type(value).__qualname__}") + canonical(of_value))
    if isinstance(value, type):  # a dtype as a class
        return _framed(b"t", f"{value.__module__}.{value.__qualname__}".encode())
    if hasattr(value, "__array__"):  # a Series is as good an array-like as an array
        return canonical(np.asarray(value).tolist())
    if isinstance(value, (list, tuple, range)):
        return _framed(b"l", b"".join(canonical(item) for item in value))
    if isinstance(value, dict):
        items = sorted(canonical(key) + canonical(item) for key, item in value.items())
        return _framed(b"d", b"".join(items))
    return _framed(b"o", f"{type(value).__module__}.{type(value).__qualname__}".encode())


def _framed(kind: bytes, content: bytes) -> bytes:
    return kind + struct.pack("<Q", len(content)) + content


class FramedHash:
    """BLAKE2b-256 over parts with their lengths, so that no two lists of parts look alike."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)

    def add(self, part: bytes | np.ndarray) -> None:
        """Hash a part; an array by its bytes alone."""
        content = part if isinstance(part, bytes) else np.ascontiguousarray(part).reshape(-1).view(np.uint8).data
        self._hash.update(struct.pack("<Q", len(content)))
        self._hash.update(content)

    def digest(self) -> bytes:
        """Return the 32 bytes of all parts so far."""
        return self._hash.digest()


def _schema(live: LiveModel) -> dict[str, Any]:
    native = live.rows.native
    columns = live.rows.columns
    return {
        **({} if columns is None else {"columns": columns.dtypes}),
        **live.targets.schema(),
        "dtype": native.dtype,
        "feature_names": live.feature_names,
        "id_kind": native.id_kind,
        "layout": native.layout,
        "n_features": native.n_features,
        "n_targets": native.n_targets,
        "subject_kind": native.subject_kind,
    }


def _add_rows(framed: FramedHash, live: LiveModel) -> None:
    """Hash all rows in id order, block by block; labels by their place among the sorted labels."""
    framed.add(canonical(live.targets.labels()))
    if live.rows.columns is not None:
        framed.add(live.rows.columns.digest_part())
    for block in live.rows.blocks_in_order("id"):
        framed.add(canonical(block.ids) if isinstance(block.ids, list) else _little_endian(block.ids))
        for array in _arrays(block.X, live):
            framed.add(_little_endian(array))
        if block.y is not None:
            framed.add(_little_endian(live.targets.canonical(block.y)))
        framed.add(_little_endian(np.ones(len(block)) if block.weight is None else block.weight))
        if live.rows.subject_kind is not None:
            subjects, owned = live.rows.subjects(block.slots)
            framed.add(canonical(list(subjects)) if isinstance(subjects, list) else _little_endian(subjects))
            framed.add(_little_endian(owned))


def _arrays(X: Any, live: LiveModel) -> tuple[Any, ...]:
    """Return the values of rows as arrays, those of category columns as ranks."""
    if isinstance(X, CsrRows):
        return X
    columns = live.rows.columns
    return (columns.ranked(X) if columns is not None and isinstance(X, TableRows) else X,)


def _little_endian(array: Any) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _incoming_runs(live: LiveModel) -> Any:
    """Yield all rows in insertion order, in runs whose rows all have a subject or all have none."""
    for block in live.rows.blocks_in_order("insertion"):
        if live.rows.subject_kind is None:
            yield _incoming(block, None, live)
            continue
        subjects, owned = live.rows.subjects(block.slots)
        edges = [0, *(np.flatnonzero(np.diff(owned)) + 1).tolist(), len(block)]
        for start, stop in pairwise(edges):
            run = np.zeros(len(block), dtype=bool)
            run[start:stop] = True
            yield _incoming(block.take(run), subjects[start:stop] if owned[start] else None, live)


def _incoming(block: RowBlock, subjects: Any, live: LiveModel) -> IncomingRows:
    return IncomingRows(
        X=block.X,
        y=live.targets.decode(block.y),
        weight=block.weight,
        sample_ids=block.ids,
        subject_ids=subjects,
    )
