"""What Python costs on the way to a core: a whole `partial_forget` of one row, and the core's share of it."""

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone

from harness.datasets import Table
from harness.forgetting import SEED, Say, Sizes, assert_exact
from harness.records import measurement
from harness.sampling import Samples, quiet

__all__ = ["measure_overhead"]


def measure_overhead(estimator: Any, table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time `partial_forget` and the core's `_forget` of the same blocks; the difference is what surrounds it."""
    ids = np.random.default_rng(SEED).permutation(10 * len(table.y))[: len(table.y)]
    model = clone(estimator).fit(table.X, table.y, sample_ids=ids)
    per_round = min(-(-sizes.n_singles // sizes.n_rounds), len(ids) // 2 // (sizes.n_rounds + 1))
    say(f"{sizes.n_rounds} rounds of {per_round} rows: the whole call and the core alone, in turns")
    whole, core = Samples(), Samples()
    for i, round_ids in enumerate(ids[: per_round * (sizes.n_rounds + 1)].reshape(-1, per_round).tolist()):
        blocks = _blocks(model, round_ids)
        is_core_first = i % 2 == 1
        if is_core_first:
            _time_core(model, blocks, core if i else Samples(), are_live=True)
        with quiet():
            calls = [partial(model.partial_forget, [sample_id]) for sample_id in round_ids]
            (whole if i else Samples()).time_block(calls)
        if not is_core_first:
            _time_core(model, blocks, core if i else Samples(), are_live=False)
    return {
        "case": {
            "data": table.name,
            "sha256": table.sha256(),
            "n": len(ids),
            "d": int(table.X.shape[1]),
            "parameters": {"estimator": type(estimator).__name__},
            "seed": SEED,
        },
        "measurements": [
            measurement("skunlearn", "partial_forget", whole),
            measurement("skunlearn", "core_forget", core),
        ],
        "checks": [assert_exact(model, "both arms")],
    }


def _blocks(model: Any, ids: list[int]) -> list[Any]:
    """Return the rows as the core gets them, while they are in the model."""
    rows = model._live.rows
    return [rows.take(rows.select([sample_id], None, "raise").slots) for sample_id in ids]


def _time_core(model: Any, blocks: list[Any], timed: Samples, *, are_live: bool) -> None:
    """Time the core's share and leave the core as it was: rows that are gone come back before it, the others after."""
    core = model._live.core
    if not are_live:
        for block in blocks:
            core._learn(block)
    with quiet():
        timed.time_block([partial(core._forget, block) for block in blocks])
    if are_live:
        for block in blocks:
            core._learn(block)
