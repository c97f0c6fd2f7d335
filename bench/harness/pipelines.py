"""Whole pipelines on mixed tables: a deletion goes through imputers, scalers, encoders and the model behind them.

Where the map of a step changes, what follows is fitted again at the next read; how often that happens is counted beside
the times. scikit-learn's pipeline of the same steps is fitted again, in the same run, on the rows that are left.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import sklearn.compose
import sklearn.impute
import sklearn.pipeline
import sklearn.preprocessing
from sklearn.base import clone, is_clusterer

from harness import datasets
from harness.forgetting import OURS, PEER, SEED, Say, Sizes, assert_exact
from harness.records import measurement
from harness.sampling import Samples, interleaved, quiet
from skunlearn import can_forget
from skunlearn.compose import ColumnTransformer
from skunlearn.impute import SimpleImputer
from skunlearn.pipeline import Pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler

__all__ = ["measure_pipeline"]

#: Rows to learn, at most.
MOST_ROWS = 30_000
#: A refit of everything takes seconds: not all rounds of the protocol.
MOST_ROUNDS = 5
#: Deletions between two reads, and blocks of them that are timed.
CADENCES = {1: 300, 1000: 4}
#: Data subjects that go at once, and how often.
BATCHES = {1: 300, 10: 30, 100: 4}


def measure_pipeline(estimator: Any, name: str, sizes: Sizes, say: Say) -> dict[str, Any]:
    """Time deletions through a pipeline that ends in `estimator`, and refits of scikit-learn's."""
    frame, y, subjects = datasets.mixed(name, MOST_ROWS)
    trial = _Trial(estimator, frame, y, subjects)
    say(f"{len(y):,} rows of {frame.shape[1]} columns")
    measurements, checks = [], []
    plans = BATCHES if subjects is not None else CADENCES
    for size, n_blocks in plans.items():
        n_blocks = min(n_blocks, sizes.n_reads, trial.n_units // (2 * size) - 1)
        if n_blocks < 1:
            say(f"{size:,} at a time: left out, there are {trial.n_units:,}")
            continue
        say(f"{size:,} {'subjects at once' if subjects is not None else 'deletions'} and a read")
        model, timed = trial.forget(size, n_blocks)
        measurements.append(timed)
        checks.append(assert_exact(model, f"{n_blocks + 1:,} times {size:,}"))
    say("the share of deletions that change a map")
    changes = trial.count_changes(min(sizes.n_reads, trial.n_units // 4))
    measurements += trial.refits(min(sizes.n_rounds, MOST_ROUNDS))
    return {
        "case": {
            "data": name,
            "sha256": trial.sha256(),
            "n": len(y),
            "d": int(frame.shape[1]),
            "n_classes": None,
            "layout": "mixed",
            "parameters": {"steps": [type(step).__name__ for _, step in trial.pipeline.steps]},
            "seed": SEED,
        },
        "measurements": measurements,
        "memory": trial.memory(),
        "changes": changes,
        "checks": checks,
    }


class _Trial:
    """A pipeline on a table, whose rows leave by id, or with the subject whose they are."""

    def __init__(self, estimator: Any, frame: Any, y: np.ndarray, subjects: Any) -> None:
        rng = np.random.default_rng(SEED)
        self.pipeline = _chain(
            Pipeline, ColumnTransformer, SimpleImputer, StandardScaler, OneHotEncoder, frame, estimator
        )
        self.frame, self.y, self.subjects = frame, y, subjects
        self.ids = rng.permutation(10 * len(y))[: len(y)]
        units = self.ids if subjects is None else np.unique(np.asarray(subjects))
        self.order = rng.permutation(units)
        self.n_units = len(units)

    def fit(self) -> Any:
        return clone(self.pipeline).fit(self.frame, self.y, sample_ids=self.ids, subject_ids=self.subjects)

    def forget(self, size: int, n_blocks: int) -> tuple[Any, dict[str, Any]]:
        """Time blocks of deletions with a read of one row after each; the first is a warm-up."""
        model, samples = self.fit(), Samples()
        read = self._read(model)
        read()
        with quiet():
            for i, block in enumerate(self.order[: (n_blocks + 1) * size].reshape(n_blocks + 1, size)):
                (samples if i else Samples()).time(partial(self._forget_block, model, block.tolist(), read))
        variant = {"subjects": size} if self.subjects is not None else {"cadence": size}
        return model, measurement(OURS, "pipeline_forget", samples, rows_per_call=size, variant=variant)

    def _forget_block(self, model: Any, block: list[Any], read: Callable[[], Any]) -> None:
        if self.subjects is None:
            for sample_id in block:
                model.partial_forget([sample_id])
        else:
            model.partial_forget(subject_ids=block)
        read()

    def _read(self, model: Any) -> Callable[[], Any]:
        return partial(model.predict, self.frame.iloc[:1])

    def count_changes(self, n_deletions: int) -> dict[str, Any]:
        """Count deletions after which what follows the preprocessing is fitted again."""
        model, n_changed = self.fit(), 0
        predicted = can_forget(model).expected_refit_probability
        before = model[0].transform_digest()
        for unit in self.order[:n_deletions].tolist():
            model.partial_forget(**{"sample_ids" if self.subjects is None else "subject_ids": [unit]})
            after = model[0].transform_digest()
            n_changed, before = n_changed + (after != before), after
        return {"deletions": n_deletions, "changed": n_changed, "predicted_share": float(predicted)}

    def refits(self, n_rounds: int) -> Iterator[dict[str, Any]]:
        """Time refits of both arms on all rows but a thousand."""
        gone = set(self.order[: min(1000, self.n_units // 2)].tolist())
        left = np.array([unit not in gone for unit in (self.ids if self.subjects is None else self.subjects).tolist()])
        frame, y, ids = self.frame[left], self.y[left], self.ids[left]
        modules = (sklearn.pipeline, sklearn.compose, sklearn.impute, sklearn.preprocessing)
        classes = [
            getattr(module, name)
            for module, name in zip(
                (*modules, modules[-1]),
                ("Pipeline", "ColumnTransformer", "SimpleImputer", "StandardScaler", "OneHotEncoder"),
                strict=True,
            )
        ]
        peer = _chain(*classes, self.frame, _foreign(self.pipeline[-1]))
        arms = {
            OURS: lambda: clone(self.pipeline).fit(frame, y, sample_ids=ids),
            PEER: lambda: clone(peer).fit(frame, y),
        }
        samples = {arm: Samples() for arm in arms}
        for i, arm in interleaved(list(arms), n_rounds + 1):
            with quiet():
                (samples[arm] if i else Samples()).time(arms[arm])
        return (measurement(arm, "refit", samples[arm], rows_per_call=len(y)) for arm in arms)

    def memory(self) -> dict[str, int]:
        """Return the bytes that a model holds, and what was estimated."""
        model = self.fit()
        live = model._live
        return {
            "rows_and_index_bytes": int(live.rows.native.nbytes),
            "index_bytes": int(live.rows.native.index_nbytes),
            "core_bytes": int(live.core.nbytes()),
            "estimated_bytes": int(self.pipeline.estimate_memory(self.frame, sample_ids=self.ids).total),
            "X_bytes": int(self.frame.memory_usage(index=False, deep=True).sum()),
        }

    def sha256(self) -> str:
        """Return the hash of the table as text, column by column."""
        columns = [self.frame[name].astype(str).to_numpy(dtype=str) for name in self.frame.columns]
        return datasets.Table("", np.column_stack(columns), self.y).sha256()


def _chain(Chain: Any, Columns: Any, Imputer: Any, Scaler: Any, Encoder: Any, frame: Any, estimator: Any) -> Any:
    """Return imputer and scaler for numbers, one-hot codes for the rest, and an estimator behind them."""
    numbers = frame.select_dtypes("number").columns.tolist()
    names = [name for name in frame.columns if name not in numbers]
    of_numbers = Chain([("imputer", Imputer(strategy="median")), ("scaler", Scaler())])
    parts = [("numbers", of_numbers, numbers), ("names", Encoder(handle_unknown="ignore"), names)]
    return Chain([("columns", Columns([part for part in parts if part[2]])), ("model", estimator)])


def _foreign(estimator: Any) -> Any:
    """Return scikit-learn's estimator of the same parameters."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 2)), np.arange(60) % 2
    return clone(clone(estimator).fit(X, *([] if is_clusterer(estimator) else [y])).release())
