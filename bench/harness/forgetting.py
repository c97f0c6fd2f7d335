"""The protocol for estimators that forget exactly: what is timed, against what, and what must hold."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier, is_clusterer
from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

from harness.datasets import Table, arrays_of
from harness.records import measurement
from harness.sampling import Samples, interleaved, quiet
from skunlearn import reference_fit, state_digest

__all__ = [
    "FULL",
    "OURS",
    "PEER",
    "QUICK",
    "SEED",
    "Say",
    "Sizes",
    "Trial",
    "assert_exact",
    "changed_parameters",
    "measure_forgetting",
]

OURS, PEER = "skunlearn", "scikit-learn"
SEED = 0
Say = Callable[[str], None]


@dataclass(frozen=True)
class Sizes:
    """How much is measured. `FULL` is the protocol; `QUICK` only goes through its motions."""

    n_rounds: int = 15
    n_singles: int = 1000
    batches: tuple[int, ...] = (10, 100, 1000)
    n_reads: int = 200
    n_ids: int = 10_000_000
    n_builds: int = 5


FULL = Sizes()
QUICK = Sizes(n_rounds=3, n_singles=60, batches=(10, 100), n_reads=10, n_ids=100_000, n_builds=2)


def measure_forgetting(estimator: Any, table: Table, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Run the protocol on one estimator and one table, and return the body of its record."""
    trial = Trial(estimator, table, sizes)
    say(f"{trial.n:,} rows to learn, {len(trial.held_out[1]):,} held out")
    say(f"fit, {sizes.n_rounds} rounds")
    measurements = list(trial.fits())
    say("memory")
    memory = trial.memory()
    say("deletions one by one in random order, in turns with refits")
    model, rest, streamed = trial.forget_and_refit()
    measurements += streamed
    say("quality")
    quality = trial.quality(model, rest)
    checks = [assert_exact(model, "random order")]
    del model
    say("deletions one by one, oldest first")
    measurements += trial.oldest_first()
    say("first read after a deletion")
    measurements += trial.reads()
    if hasattr(type(estimator), "apply"):  # trees: what is put off until a read is most of the work
        say("deletions one by one, all work done after each")
        measurements.append(trial.forget_and_flush())
    for n_rows in sizes.batches:
        if 2 * n_rows > trial.n:
            say(f"batches of {n_rows:,}: left out, the table has {trial.n:,} rows")
            continue
        say(f"batches of {n_rows:,}")
        model, timed = trial.batches(n_rows)
        measurements.append(timed)
    checks.append(assert_exact(model, f"batches of {n_rows:,}"))
    return {
        "case": {
            "data": table.name,
            "sha256": table.sha256(),
            "n": trial.n,
            "d": int(table.X.shape[1]),
            "n_classes": len(np.unique(table.y)) if is_classifier(estimator) else None,
            "layout": "dense" if isinstance(table.X, np.ndarray) else "csr",
            "parameters": changed_parameters(estimator),
            "seed": SEED,
        },
        "measurements": measurements,
        "memory": memory,
        "quality": quality,
        "checks": checks,
    }


def assert_exact(model: Any, which: str) -> str:
    """Return what holds: the model equals a fit on its live rows, bit for bit.

    Raises
    ------
    AssertionError
        If it does not: then its times mean nothing.
    """
    if state_digest(model) != state_digest(reference_fit(model)):
        raise AssertionError(f"After {which}, {type(model).__name__} differs from its reference_fit.")
    return f"{which}: state_digest equals that of reference_fit"


class Trial:
    """One estimator on one table: rows to learn under ids, rows held out, and the operations on them."""

    def __init__(self, estimator: Any, table: Table, sizes: Sizes) -> None:
        rng = np.random.default_rng(SEED)
        shuffled = rng.permutation(len(table.y))
        n_held_out = min(len(shuffled) // 5, 50_000)
        held_out, learned = np.sort(shuffled[:n_held_out]), np.sort(shuffled[n_held_out:])
        self.estimator = estimator
        self.sizes = sizes
        self.X, self.y = table.X[learned], table.y[learned]
        self.held_out = table.X[held_out], table.y[held_out]
        self.n = len(learned)
        self.ids = rng.permutation(10 * self.n)[: self.n]
        self.random_order = rng.permutation(self.n)

    def fit(self, rows: Any = slice(None)) -> Any:
        """Return a model of ours on some rows."""
        return clone(self.estimator).fit(self.X[rows], self.y[rows], sample_ids=self.ids[rows])

    def fits(self) -> Iterator[dict[str, Any]]:
        """Time fits of both arms on all rows."""
        peer = _peer(self.fit())
        fits = {
            OURS: lambda: clone(self.estimator).fit(self.X, self.y, sample_ids=self.ids),
            PEER: lambda: clone(peer).fit(self.X, self.y),
        }
        samples = {arm: Samples() for arm in fits}
        for i, arm in interleaved(list(fits), self.sizes.n_rounds + 1):
            with quiet():
                (samples[arm] if i else Samples()).time(fits[arm])
        return (measurement(arm, "fit", samples[arm], rows_per_call=self.n) for arm in fits)

    def forget_and_refit(self) -> tuple[Any, np.ndarray, list[dict[str, Any]]]:
        """Time single deletions in random order and, in turns with them, refits on what will be left."""
        blocks = self._blocks(self.random_order)
        rest = np.sort(self.random_order[sum(map(len, blocks)) :])
        X, y, ids = self.X[rest], self.y[rest], self.ids[rest]  # ready-made: no copying in the time of a refit
        model = self.fit()
        peer = _peer(model)
        refits = {
            PEER: lambda: clone(peer).fit(X, y),
            OURS: lambda: clone(self.estimator).fit(X, y, sample_ids=ids),
        }
        singles, samples = Samples(), {arm: Samples() for arm in refits}
        for i, arm in interleaved(["forget", *refits], len(blocks)):
            with quiet():
                if arm == "forget":
                    (singles if i else Samples()).time_block(self._single_calls(model, blocks[i]))
                else:
                    (samples[arm] if i else Samples()).time(refits[arm])
        deferred = _flush(model)
        assert model.n_live_ == len(rest)
        counts = {"rows_removed": sum(map(len, blocks[1:])), "path": model.forget_report_.path}
        timed = measurement(OURS, "forget_one", singles, variant={"order": "random"}, deferred=deferred, counts=counts)
        refitted = [measurement(arm, "refit", samples[arm], rows_per_call=len(rest)) for arm in refits]
        return model, rest, [timed, *refitted]

    def oldest_first(self) -> Iterator[dict[str, Any]]:
        """Time single deletions in order of insertion, on a fresh model."""
        model = self.fit()
        samples = Samples()
        blocks = self._blocks(np.arange(self.n))
        for i, block in enumerate(blocks):
            with quiet():
                (samples if i else Samples()).time_block(self._single_calls(model, block))
        counts = {"rows_removed": sum(map(len, blocks[1:])), "path": model.forget_report_.path}
        yield measurement(
            OURS, "forget_one", samples, variant={"order": "oldest first"}, deferred=_flush(model), counts=counts
        )

    def reads(self) -> Iterator[dict[str, Any]]:
        """Time the first prediction of a row after a deletion, which does what was put off, and the next one."""
        model = self.fit()
        predict = partial(_answer, model, self.held_out[0][:1])
        first, following = Samples(), Samples()
        with quiet():
            for i, position in enumerate(self.random_order[: min(self.sizes.n_reads + 1, self.n // 2)]):
                model.partial_forget([int(self.ids[position])])
                (first if i else Samples()).time(predict)
                (following if i else Samples()).time(predict)
        yield measurement(OURS, "first_predict", first)
        yield measurement(OURS, "next_predict", following)

    def forget_and_flush(self) -> dict[str, Any]:
        """Time deletions with all that they put off: what somebody pays who reads everything after every deletion."""
        model = self.fit()
        samples = Samples()
        with quiet():
            for i, position in enumerate(self.random_order[: min(self.sizes.n_reads + 1, self.n // 2)]):
                sample_ids = [int(self.ids[position])]
                (samples if i else Samples()).time(lambda ids=sample_ids: model.partial_forget(ids).flush())
        return measurement(OURS, "forget_and_flush", samples, variant={"order": "random"})

    def batches(self, n_rows: int) -> tuple[Any, dict[str, Any]]:
        """Time deletions of `n_rows` at once, on a fresh model; the first is a warm-up where there are more."""
        model = self.fit()
        n_batches = min(self.sizes.n_rounds + 1, self.n // 2 // n_rows)
        samples = Samples()
        with quiet():
            for i, positions in enumerate(self.random_order[: n_batches * n_rows].reshape(n_batches, n_rows)):
                is_warm_up = i == 0 and n_batches > 1
                (Samples() if is_warm_up else samples).time(partial(model.partial_forget, self.ids[positions]))
        counts = {"rows_removed": len(samples.wall_ns) * n_rows, "path": model.forget_report_.path}
        return model, measurement(
            OURS,
            "forget_batch",
            samples,
            rows_per_call=n_rows,
            variant={"batch": n_rows, "order": "random"},
            deferred=_flush(model),
            counts=counts,
        )

    def memory(self) -> dict[str, int]:
        """Return the bytes that a model holds, and what was estimated."""
        model = self.fit()
        live = model._live
        estimate = model.estimate_memory(self.X, n_classes=len(np.unique(self.y)), sample_ids=self.ids)
        return {
            "rows_and_index_bytes": int(live.rows.native.nbytes),
            "index_bytes": int(live.rows.native.index_nbytes),
            "core_bytes": int(live.core.nbytes()),
            "estimated_bytes": int(estimate.total),
            "X_bytes": sum(array.nbytes for array in arrays_of(self.X)),
        }

    def quality(self, model: Any, rest: np.ndarray) -> dict[str, Any]:
        """Score held-out rows before the deletions, after them, and with the peer's refit.

        Raises
        ------
        AssertionError
            If an arm has not moved: it would be fast at nothing.
        """
        before = self.fit()
        refitted = clone(_peer(model)).fit(self.X[rest], self.y[rest])
        for arm in (model, refitted):
            assert _has_moved(arm, before, len(rest))
        X, y = self.held_out
        return {
            "n_held_out": len(y),
            "before": _score(before, X, y),
            "after": _score(model, X, y),
            "refit": _score(refitted, X, y),
        }

    def _blocks(self, order: np.ndarray) -> list[np.ndarray]:
        """Return the rows to delete one by one, a block a round; the first block is the warm-up."""
        n_rounds = self.sizes.n_rounds
        size = min(-(-self.sizes.n_singles // n_rounds), self.n * 3 // 4 // (n_rounds + 1))
        return list(order[: size * (n_rounds + 1)].reshape(n_rounds + 1, size))

    def _single_calls(self, model: Any, positions: np.ndarray) -> list[Callable[[], Any]]:
        return [partial(model.partial_forget, [sample_id]) for sample_id in self.ids[positions].tolist()]


def _peer(model: Any) -> Any:
    """Return scikit-learn's estimator of the same parameters, unfitted."""
    return clone(model.release())


def _answer(model: Any, X: Any) -> Any:
    """Return what a model says about rows; one that answers for its own alone says their labels."""
    name = next((name for name in ("predict", "transform") if hasattr(model, name)), None)
    return model.labels_ if name is None else getattr(model, name)(X)


def _flush(model: Any) -> Samples:
    """Time all that the deletions have put off."""
    deferred = Samples()

    def make_ready() -> None:
        model.flush()
        model._published()

    with quiet():
        deferred.time(make_ready)
    return deferred


def _has_moved(model: Any, before: Any, n_rows: int) -> bool:
    """Whether a model is no longer the one before, and where it counts rows, is one of `n_rows`."""
    if is_clusterer(model):
        return len(model.labels_) == n_rows < len(before.labels_)
    for counts in ("class_count_", "n_samples_seen_"):
        if hasattr(model, counts):
            return bool(np.sum(getattr(model, counts)) == n_rows < np.sum(getattr(before, counts)))
    name = next(name for name in ("centroids_", "means_", "coef_", "components_") if hasattr(model, name))
    return not np.array_equal(getattr(model, name), getattr(before, name))


def _score(model: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    if is_clusterer(model) and not hasattr(model, "score"):
        return {"noise": float(np.mean(model.labels_ < 0))}
    if is_clusterer(model):
        return {"squared_distance": -float(model.score(X)) / len(y)}
    if not hasattr(model, "predict"):
        if hasattr(model, "score"):
            return {"log_likelihood": float(model.score(X))}
        return {"rms": float(np.sqrt(np.mean(model.transform(X) ** 2)))}
    if not is_classifier(model):
        return {"r2": float(r2_score(y, model.predict(X)))}
    return {"accuracy": float(accuracy_score(y, model.predict(X))), **_auc(model, X, y)}


def _auc(model: Any, X: Any, y: np.ndarray) -> dict[str, float]:
    if hasattr(model, "predict_proba"):
        scores = model.predict_proba(X)
        scores = scores[:, 1] if scores.shape[1] == 2 else scores
    else:
        scores = model.decision_function(X)
        if scores.ndim == 2:  # decisions of several classes are on no common scale
            return {}
    return {"auc": float(roc_auc_score(y, scores, multi_class="ovr"))}


def changed_parameters(estimator: Any) -> dict[str, Any]:
    """Return the parameters that are not at their default, in a form for JSON."""
    defaults = type(estimator)().get_params()
    changed = {k: v for k, v in estimator.get_params().items() if not np.array_equal(v, defaults[k])}
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in changed.items()}
