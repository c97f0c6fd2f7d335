"""The id index: how long it takes to build, to look up, and what a row costs."""

import hashlib
import sys
from functools import partial
from typing import Any

import numpy as np

from harness.forgetting import SEED, Say, Sizes
from harness.records import measurement
from harness.sampling import Samples, quiet
from skunlearn.ids import Ids, parse_ids
from skunlearn.rows import RowStore

__all__ = ["measure_ids"]

_N_LOOKED_UP = 10_000


def measure_ids(kind: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Index `sizes.n_ids` ids of a kind ("range", "int64" or "str") in the row store and in a dict of Python.

    Rows have one float32, so the store's own share is small. A range needs no index: nothing is hashed for it.
    """
    ids = _make_ids(kind, sizes.n_ids)
    X = np.zeros((sizes.n_ids, 1), dtype=np.float32)
    numbers = range(sizes.n_ids) if ids is None else ids
    measurements = []
    say(f"{sizes.n_ids:,} ids of kind {kind}: {sizes.n_builds} builds")
    if ids is not None:
        measurements.append(_time_parse(ids, sizes))
    built = Samples()
    for i in range(sizes.n_builds + 1):
        store = _empty_store(kind)
        with quiet():
            (built if i else Samples()).time(partial(store.insert, ids, X, None, None, None))
    measurements.append(measurement("skunlearn", "build", built, rows_per_call=sizes.n_ids))
    say("look-ups")
    wanted = _wanted(numbers, sizes)
    found = Samples()
    for i, batch in enumerate(wanted):
        with quiet():
            selection = (found if i else Samples()).time(partial(store.select, batch, None, "raise"))
        assert len(selection.slots) == len(batch)
    measurements.append(measurement("skunlearn", "find", found, rows_per_call=len(batch)))
    memory = {"index_bytes": int(store.native.index_nbytes), "rows_and_index_bytes": int(store.native.nbytes)}
    if kind != "range":
        say("a dict of Python")
        measurements += _time_dict(numbers, wanted, sizes, memory)
    return {
        "case": {
            "data": f"{sizes.n_ids} ids",
            "sha256": hashlib.sha256(f"{kind} {sizes.n_ids} {SEED}".encode()).hexdigest(),
            "n": sizes.n_ids,
            "d": 1,
            "parameters": {"kind": kind},
            "seed": SEED,
        },
        "measurements": measurements,
        "memory": memory,
        "checks": [f"{len(wanted)} look-ups of {len(batch):,} ids each found every one"],
    }


def _make_ids(kind: str, n: int) -> Ids | None:
    """Return distinct ids: a shuffle of numbers of 63 bits, or "customer-" and nine digits."""
    if kind == "range":
        return None
    shuffled = np.random.default_rng(SEED).permutation(n)
    if kind == "int64":
        return shuffled * (2**62 // n)
    return [f"customer-{i:09d}" for i in shuffled.tolist()]


def _empty_store(kind: str) -> RowStore:
    return RowStore(id_kind=kind, subject_kind=None, layout="dense", dtype="float32", n_features=1, n_targets=0)


def _wanted(numbers: Any, sizes: Sizes) -> list[Any]:
    """Return ids to look up: a batch a round, drawn at random."""
    rng = np.random.default_rng(SEED + 1)
    positions = rng.integers(0, sizes.n_ids, (sizes.n_rounds + 1, min(_N_LOOKED_UP, sizes.n_ids)))
    if isinstance(numbers, list):
        return [[numbers[i] for i in np.unique(row).tolist()] for row in positions]
    return [np.asarray(numbers)[np.unique(row)] for row in positions]


def _time_parse(ids: Ids, sizes: Sizes) -> dict[str, Any]:
    """Time the check of what a user hands in, which comes before the index."""
    samples = Samples()
    for i in range(sizes.n_builds + 1):
        with quiet():
            (samples if i else Samples()).time(partial(parse_ids, ids, "sample_ids"))
    return measurement("skunlearn", "parse", samples, rows_per_call=sizes.n_ids)


def _time_dict(numbers: Any, wanted: list[Any], sizes: Sizes, memory: dict[str, int]) -> list[dict[str, Any]]:
    """Time the same with a dict from id to position; its keys are given ready-made."""
    keys = numbers if isinstance(numbers, list) else numbers.tolist()
    built, found = Samples(), Samples()
    for i in range(sizes.n_builds + 1):
        index: dict[Any, int] = {}
        with quiet():
            index = (built if i else Samples()).time(lambda: dict(zip(keys, range(len(keys)), strict=True)))
    for i, batch in enumerate(wanted):
        batch_keys = batch if isinstance(batch, list) else batch.tolist()
        with quiet():
            (found if i else Samples()).time(lambda index=index, keys=batch_keys: [index[key] for key in keys])
    memory["dict_bytes"] = sys.getsizeof(index)  # without the keys and the positions, which are objects too
    return [
        measurement("dict", "build", built, rows_per_call=len(keys)),
        measurement("dict", "find", found, rows_per_call=len(wanted[-1])),
    ]
