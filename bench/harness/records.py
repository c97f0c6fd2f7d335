"""Records of runs: one JSON line a case, with the raw samples and all that they depend on."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.sampling import LOUD_SHARE, Samples, loud_share

__all__ = ["SCHEMA", "append", "latest", "measurement", "read", "record", "thinned", "validate"]

SCHEMA = 1
#: Longer lines are thinned: results are committed.
MAX_LINE_BYTES = 1_000_000

_RECORD = {
    "schema": int, "time": str, "commit": (str, type(None)), "dirty": (bool, type(None)), "machine": dict,
    "software": dict, "affinity": (list, type(None)), "profile": str, "case": dict, "measurements": list,
    "quality": dict, "memory": dict, "checks": list, "loud_share": float, "is_loud": bool, "thinned": int,
}  # fmt: skip
_CASE = {"name": str, "data": str, "sha256": str, "n": int, "d": int, "parameters": dict, "seed": int}
_MEASUREMENT = {
    "arm": str, "operation": str, "variant": dict, "rows_per_call": int, "wall_ns": list, "cpu_ns": list,
    "deferred": (dict, type(None)), "counts": dict, "loud_share": float,
}  # fmt: skip


def measurement(
    arm: str,
    operation: str,
    samples: Samples,
    *,
    rows_per_call: int = 1,
    variant: dict[str, Any] | None = None,
    deferred: Samples | None = None,
    counts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one operation of one arm.

    `deferred` is the work that all calls together put off and that was done after the last of them; `counts` are facts
    that do not depend on the machine.
    """
    return {
        "arm": arm,
        "operation": operation,
        "variant": variant or {},
        "rows_per_call": rows_per_call,
        **samples.to_dict(),
        "deferred": None if deferred is None else {"wall_ns": sum(deferred.wall_ns), "cpu_ns": sum(deferred.cpu_ns)},
        "counts": counts or {},
        "loud_share": loud_share(samples.block_wall_ns, samples.cpu_ns),
    }


def record(header: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a case from what is known about its process and what the case measured."""
    measurements = body["measurements"]
    n_samples = sum(len(m["cpu_ns"]) for m in measurements)
    share = sum(m["loud_share"] * len(m["cpu_ns"]) for m in measurements) / n_samples
    return {
        "schema": SCHEMA,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **header,
        "quality": {},
        "memory": {},
        "checks": [],
        **body,
        "loud_share": share,
        "is_loud": share > LOUD_SHARE or any(_is_loud(m) for m in measurements),
        "thinned": 1,
    }


def _is_loud(entry: dict[str, Any]) -> bool:
    """Whether one operation was loud, however quiet the others: a share needs some readings to be one."""
    return len(entry["cpu_ns"]) >= 10 and entry["loud_share"] > LOUD_SHARE


def validate(candidate: Any) -> None:
    """Check that a record has every field, each of its type.

    Raises
    ------
    ValueError
        If it has not; the message says where.
    """
    _check_fields(candidate, _RECORD, "record")
    if candidate["schema"] != SCHEMA:
        raise ValueError(f"The record has schema {candidate['schema']}; this harness reads {SCHEMA}.")
    _check_fields(candidate["case"], _CASE, "case")
    for i, entry in enumerate(candidate["measurements"]):
        where = f"measurement {i}"
        _check_fields(entry, _MEASUREMENT, where)
        if not entry["wall_ns"] or not entry["cpu_ns"]:
            raise ValueError(f"In {where}, there is no sample.")
        blocks = entry.get("block_calls", entry["wall_ns"])
        if len(blocks) != len(entry["cpu_ns"]):
            raise ValueError(f"In {where}, the clocks were read {len(blocks)} and {len(entry['cpu_ns'])} times.")


def _check_fields(candidate: Any, fields: dict[str, Any], where: str) -> None:
    if not isinstance(candidate, dict):
        raise ValueError(f"The {where} is a {type(candidate).__name__}, not an object.")
    for name, kind in fields.items():
        if name not in candidate:
            raise ValueError(f"The {where} has no field {name!r}.")
        if not isinstance(candidate[name], kind) or (kind is int and isinstance(candidate[name], bool)):
            raise ValueError(f"In the {where}, {name!r} is a {type(candidate[name]).__name__}.")


def append(path: Path, new: dict[str, Any]) -> int:
    """Validate a record, thin it if it is long, append it as a line, and return the factor of thinning."""
    validate(new)
    new = thinned(new, MAX_LINE_BYTES)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(new))
    return int(new["thinned"])


def thinned(full: dict[str, Any], max_bytes: int) -> dict[str, Any]:
    """Keep every k-th call of the long series, with the smallest k that fits; "thinned" says k."""
    factor = 1
    result = full
    while len(_line(result)) > max_bytes and factor < 1024:
        factor *= 2
        entries = [{**m, "wall_ns": m["wall_ns"][::factor]} if "block_calls" in m else m for m in full["measurements"]]
        result = {**full, "measurements": entries, "thinned": factor}
    return result


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":"), sort_keys=True) + "\n"


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return all records of some files, checked."""
    records = [json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    for entry in records:
        validate(entry)
    return records


def latest(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the newest record of every case by its name."""
    newest: dict[str, dict[str, Any]] = {}
    for entry in sorted(records, key=lambda r: r["time"]):
        newest[entry["case"]["name"]] = entry
    return newest
