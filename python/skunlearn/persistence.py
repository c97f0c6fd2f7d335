"""Saved models: key, schema, labels and rows in one canonical blob; what is derived is derived again.

Nothing derived is written, so nothing that depends on a forgotten row can be, and a damaged file cannot hold a state
that contradicts its rows. Equal models whose rows were inserted in the same order have equal bytes.
"""

import json
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from skunlearn.columns import Columns
from skunlearn.exceptions import DamagedStateError, SkunlearnError
from skunlearn.key import Key
from skunlearn.live import VALUE_FREE_PARAMETERS, LiveModel
from skunlearn.rows import CsrRows, RowStore
from skunlearn.targets import Targets

__all__ = ["FORMAT", "load", "save", "seal"]

FORMAT = 1
_MAGIC = b"SKUNLIVE"
_HEAD = struct.Struct("<8sHI")  # magic, format, length of the JSON header
_TAIL = struct.Struct("<I")  # CRC-32 of everything before it
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.S)
#: A header nests two deep. The decoder recurses in C, and where the recursion limit was raised it exhausts the stack.
_MOST_NESTING = 8


def save(live: LiveModel) -> dict[str, Any]:
    """Return the state of a model for pickling; pending work is done first."""
    with live.lock:
        live.flush()
        live.core.drain()
        header = {
            "feature_names": None if live.feature_names is None else live.feature_names.tolist(),
            "forgettable": live.forgettable,
            "key": live.key._secret.hex(),
            **live.targets.header(),
        }
        if live.rows.columns is not None:
            header["columns"] = live.rows.columns.header()
        encoded = json.dumps(header, sort_keys=True).encode()
        body = live.rows.to_bytes(live.targets.code_map())
        # pickle writes a string again when it is another object of the same value: names are made one object each.
        params = {sys.intern(name): value for name, value in live.params.items()}
        state = {"params": params, "blob": seal(_HEAD.pack(_MAGIC, FORMAT, len(encoded)) + encoded + body)}
        if live.core.draws_at_reads:  # copies of a version show what it shows
            with suppress(SkunlearnError):
                live.publish()
        remembered = live.core.remembered()
        if remembered is not None:
            state |= {"remembered": remembered, "published": live.published}
        # Without rows there is nothing to derive the state from.
        return state if live.forgettable else {**state, "published": live.publish()}


def seal(content: bytes) -> bytes:
    """Return `content` with its checksum behind it."""
    return content + _TAIL.pack(zlib.crc32(content))


def load(estimator: Any, saved: Any) -> LiveModel:
    """Return the model that `save` wrote, checked and derived anew.

    Raises
    ------
    DamagedStateError
        If `saved` is damaged, or was written by a newer version.
    """
    name = type(estimator).__name__
    _expect(isinstance(saved, dict) and isinstance(saved.get("blob"), bytes), name, "has no blob of rows")
    params, estimator = _checked_params(estimator, saved.get("params"), name)
    read_targets = estimator._targets_type(params)
    header, body = _open(saved["blob"], read_targets, name)
    key = Key(bytes.fromhex(header["key"]))
    rows = RowStore.from_bytes(
        body,
        tag_key=key if estimator._tags_rows else None,
        model_name=name,
        columns=_checked_columns(header, name),
    )
    targets = read_targets.restore(header, rows.native.n_targets)
    _expect(rows.native.n_targets == targets.n_columns, name, "has another number of targets than this class")
    with _checked_by_the_core(name):
        core = estimator._make_core(params, rows)
    live = LiveModel(
        model_name=name,
        params=params,
        feature_names=_checked_feature_names(header, rows.native.n_features, name),
        key=key,
        rows=rows,
        targets=targets,
        core=core,
    )
    if core.remembered() is not None:
        with _checked_by_the_core(name):
            core.remember(saved.get("remembered"))
        live.published = saved.get("published")
    if not header["forgettable"]:
        live.forgettable, live.published = False, saved.get("published")
        _expect(len(rows) == 0 and live.published is not None, name, "was saved without rows and without a state")
        return live
    is_wrong = np.isinf if estimator._stores_nan else _is_not_finite
    for block in rows.blocks():
        if rows.columns is None:
            values = block.X.data if isinstance(block.X, CsrRows) else block.X
            _expect(not is_wrong(values).any(), name, "holds values that are not finite")
        if block.y is not None:
            _expect(targets.n_wrong(block.y) == 0, name, f"holds rows {targets.WRONG}")
    with _checked_by_the_core(name):
        live.rebuild()
    _expect(targets.labels() == header.get("labels", []), name, "lists labels that no row bears")
    return live


@contextmanager
def _checked_by_the_core(name: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise DamagedStateError(f"Saved {name}: its rows are not acceptable: {error}") from None
    except MemoryError:
        raise DamagedStateError(
            f"Saved {name}: the state needs more memory than there is. If it was smaller when it was saved, the file "
            "is damaged; load a copy, or fit the model anew."
        ) from None


def _is_not_finite(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values)


def _open(blob: bytes, targets: type[Targets], name: str) -> tuple[dict[str, Any], bytes]:
    _expect(len(blob) >= _HEAD.size + _TAIL.size, name, "is truncated")
    magic, version, header_length = _HEAD.unpack_from(blob)
    _expect(magic == _MAGIC and version > 0, name, "does not begin like a saved model")
    if version > FORMAT:
        raise DamagedStateError(
            f"Saved {name}: format {version}, but this release reads up to {FORMAT}. Install a newer scikit-unlearn."
        )
    (checksum,) = _TAIL.unpack_from(blob, len(blob) - _TAIL.size)
    _expect(checksum == zlib.crc32(memoryview(blob)[: -_TAIL.size]), name, "does not match its checksum")
    end = _HEAD.size + header_length
    _expect(end <= len(blob) - _TAIL.size, name, "has a header longer than itself")
    encoded = blob[_HEAD.size : end]
    _expect(_nesting(encoded) <= _MOST_NESTING, name, "has a malformed header")
    try:
        header = json.loads(encoded)
    except (ValueError, RecursionError):
        header = None
    _expect(_is_header(header, targets), name, "has a malformed header")
    return header, blob[end : -_TAIL.size]


def _nesting(encoded: bytes) -> int:
    """Return how deep the brackets of a JSON text nest, those in strings left out."""
    text = np.frombuffer(_STRINGS.sub(b"", encoded), dtype=np.uint8)
    steps = np.isin(text, list(b"[{")).astype(np.int64) - np.isin(text, list(b"]}"))
    return int(steps.cumsum().max(initial=0))


def _is_header(header: Any, targets: type[Targets]) -> bool:
    """Whether a decoded header has every field, each of its type."""
    return (
        isinstance(header, dict)
        and set(header) - {"columns"} == {"feature_names", "forgettable", "key", *targets.FIELDS}
        and isinstance(header["forgettable"], bool)
        and isinstance(header["key"], str)
        and len(header["key"]) == 64
        and set(header["key"]) <= set("0123456789abcdef")
        and targets.is_header(header)
    )


def _checked_params(estimator: Any, params: Any, name: str) -> tuple[dict[str, Any], Any]:
    """Return the saved parameters, and a bare estimator that has them."""
    expected = set(estimator._get_param_names()) - VALUE_FREE_PARAMETERS
    _expect(isinstance(params, dict) and set(params) == expected, name, "has other parameters than this class")
    probe = type(estimator)(**params)
    try:
        probe._validate_params()
    except ValueError as error:
        raise DamagedStateError(f"Saved {name}: {error}") from None
    return params, probe


def _checked_columns(header: dict[str, Any], name: str) -> Columns | None:
    if "columns" not in header:
        return None
    try:
        return Columns.restore(header["columns"])
    except (ValueError, OverflowError, ImportError) as error:
        raise DamagedStateError(
            f"Saved {name}: {error}. The file is damaged; load a copy, or fit the model anew."
        ) from None


def _checked_feature_names(header: dict[str, Any], n_features: int, name: str) -> np.ndarray | None:
    names = header["feature_names"]
    if names is None:
        return None
    is_list = isinstance(names, list) and len(names) == n_features and all(isinstance(n, str) for n in names)
    _expect(is_list, name, "has feature names that do not fit its columns")
    return np.array(names, dtype=object)


def _expect(condition: bool, name: str, what: str) -> None:
    if not condition:
        raise DamagedStateError(
            f"Saved {name}: the state {what}. The file is damaged; load a copy, or fit the model anew."
        )
