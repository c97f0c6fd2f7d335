"""Forests by cadence: what is put off until a read is most of their work, so how often somebody reads is the question.

Refits of scikit-learn and, where it is installed, of LightGBM are timed in the same run, on the rows that are left.
"""

import importlib.util
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier

from harness.datasets import Table
from harness.forgetting import OURS, PEER, SEED, Say, Sizes, Trial, assert_exact, changed_parameters
from harness.records import measurement
from harness.sampling import Samples, interleaved, quiet

__all__ = ["BOOSTED", "measure_cadences"]

BOOSTED = "LightGBM"
#: Deletions between two reads.
CADENCES = (1, 100, 1000)
#: A large table's refits take minutes: not all rounds of the protocol.
MOST_ROUNDS = 5
#: Reads after so many deletions each, at most.
MOST_READS = {1: 200, 100: 20, 1000: 5}


def measure_cadences(estimator: Any, table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time deletions with a read or a flush after every so many, and refits, and return the body of a record."""
    trial = Trial(estimator, table, sizes)
    say(f"{trial.n:,} rows to learn, {len(trial.held_out[1]):,} held out")
    measurements, checks = [], []
    for cadence in CADENCES:
        if 4 * cadence > trial.n or cadence > sizes.n_singles:
            say(f"a read after {cadence:,}: left out, there are {trial.n:,} rows and {sizes.n_singles:,} calls")
            continue
        for operation, read in (("forget_and_flush", _flush), ("forget_and_read", _read_one(trial))):
            say(f"{operation}, after every {cadence:,}")
            model, timed = _forget(trial, cadence, operation, read)
            measurements.append(timed)
            checks.append(assert_exact(model, f"{operation}, after every {cadence:,}"))
    measurements += _refits(trial, say)
    return {
        "case": {
            "data": table.name,
            "sha256": table.sha256(),
            "n": trial.n,
            "d": int(table.X.shape[1]),
            "n_classes": len(np.unique(table.y)) if is_classifier(estimator) else None,
            "layout": "dense",
            "parameters": changed_parameters(estimator),
            "seed": SEED,
        },
        "measurements": measurements,
        "memory": trial.memory(),
        "checks": checks,
    }


def _flush(model: Any) -> None:
    model.flush()


def _read_one(trial: Trial) -> Callable[[Any], Any]:
    row = trial.held_out[0][:1]
    return lambda model: model.predict(row)


def _forget(trial: Trial, cadence: int, operation: str, read: Callable[[Any], Any]) -> tuple[Any, dict[str, Any]]:
    """Time blocks of single deletions with one read at the end of each; the first block is a warm-up."""
    model, samples = trial.fit(), Samples()
    n_reads = min(MOST_READS[cadence], trial.sizes.n_reads, trial.n // (2 * cadence) - 1)
    ids = trial.ids[trial.random_order[: (n_reads + 1) * cadence]].reshape(n_reads + 1, cadence).tolist()

    def forget_block(block: list[int]) -> None:
        for sample_id in block:
            model.partial_forget([sample_id])
        read(model)

    with quiet():
        for i, block in enumerate(ids):
            (samples if i else Samples()).time(partial(forget_block, block))
    assert model.n_live_ == trial.n - (n_reads + 1) * cadence
    variant = {"cadence": cadence, "order": "random"}
    return model, measurement(OURS, operation, samples, rows_per_call=cadence, variant=variant)


def _refits(trial: Trial, say: Say) -> Iterator[dict[str, Any]]:
    """Time refits of all arms on the rows that 1,000 deletions leave, in turns, and predictions of held-out rows."""
    rest = np.sort(trial.random_order[min(1000, trial.n // 2) :])
    X, y, ids = trial.X[rest], trial.y[rest], trial.ids[rest]
    arms = {OURS: partial(clone(trial.estimator).fit, sample_ids=ids), **_peers(trial, say)}
    models: dict[str, Any] = {}
    refits, reads = ({arm: Samples() for arm in arms} for _ in range(2))
    n_rounds = min(trial.sizes.n_rounds, MOST_ROUNDS)
    say(f"refits, {n_rounds} rounds: {', '.join(arms)}")
    for i, arm in interleaved(list(arms), n_rounds + 1):
        with quiet():
            models[arm] = (refits[arm] if i else Samples()).time(partial(arms[arm], X, y))
            (reads[arm] if i else Samples()).time(partial(models[arm].predict, trial.held_out[0]))
    for arm in arms:
        yield measurement(arm, "refit", refits[arm], rows_per_call=len(rest))
        yield measurement(arm, "predict", reads[arm], rows_per_call=len(trial.held_out[1]))


def _peers(trial: Trial, say: Say) -> dict[str, Callable[[Any, Any], Any]]:
    """Return fits of scikit-learn's forest of the same parameters and, where it is installed, LightGBM's defaults."""
    peer = clone(trial.fit(slice(min(trial.n, 100))).release())
    found: dict[str, Callable[[Any, Any], Any]] = {PEER: peer.fit}
    if importlib.util.find_spec(BOOSTED.lower()) is None:
        say(f"{BOOSTED} is not installed (dependency group bench): its arm is left out")
        return found
    import lightgbm

    Boosted = lightgbm.LGBMClassifier if is_classifier(trial.estimator) else lightgbm.LGBMRegressor
    boosted = Boosted(n_estimators=trial.estimator.n_estimators, random_state=SEED, n_jobs=1, verbose=-1)
    return {**found, BOOSTED: boosted.fit}
