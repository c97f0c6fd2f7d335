"""After every operation a forest has the digest of a fit on the rows that are left.

An operation is a call that learns or forgets rows. Small tables are compared after each, real ones after every 1,000
and at the end of a history. 3,000 operations by default; SKUNLEARN_FOREST_OPERATIONS=100000 is the acceptance run: a
fifth of them on small tables, some minutes.
"""

import hashlib
import os
from dataclasses import dataclass, field

import numpy as np
import pytest

from skunlearn import reference_fit, state_digest
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from .forest_worlds import CLASSIFIERS, REAL_CLASSES, REAL_NUMBERS, SETTINGS, SMALL_TABLES, real_table, small_table

N_OPERATIONS = int(os.environ.get("SKUNLEARN_FOREST_OPERATIONS", "3000"))
IS_FULL = N_OPERATIONS >= 100_000
N_SMALL = max(N_OPERATIONS // 5, min(N_OPERATIONS, 2000))
N_REAL = N_OPERATIONS - N_SMALL

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")


@dataclass
class Tally:
    """What was done and compared."""

    operations: int = 0
    comparisons: int = 0
    rows_moved: int = 0
    tables: set = field(default_factory=set)
    settings: set = field(default_factory=set)
    digests: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def check(self, *models):
        """All models are what a fit on their rows is; the digest of it enters the fingerprint of the run."""
        want = state_digest(reference_fit(models[0]))
        for model in models:
            assert state_digest(model) == want, self.where
        self.digests.update(want)
        self.comparisons += len(models)

    def __str__(self):
        return (
            f"{self.operations:,} operations ({self.rows_moved:,} rows) on {len(self.tables)} tables under "
            f"{len(self.settings)} settings, {self.comparisons:,} comparisons with reference_fit: 0 differences; "
            f"fingerprint {self.digests.hexdigest()[:16]}"
        )


class History:
    """An eager model and a lazy one, on which rows come and go.

    The eager one runs on one thread and is compared after every operation, so nothing in it stays stale. The lazy one
    runs on two threads, is told of several operations in one batch whose rows are shuffled, and is read now and then by
    a row alone, which repairs the nodes of one path.
    """

    def __init__(self, tally, Forest, params, X, y, weight, rng, start):
        self.tally, self.X, self.y, self.weight, self.rng = tally, X, y, weight, rng
        self.there = np.zeros(len(X), dtype=bool)
        self.there[start] = True
        self.ids = rng.permutation(10 * len(X))[: len(X)]
        self.eager, self.lazy = (Forest(**{"random_state": 0, "n_jobs": n, **params}) for n in (1, 2))
        for model in (self.eager, self.lazy):
            model.fit(X[start], y[start], None if weight is None else weight[start], sample_ids=self.ids[start])
        self.told = self.there.copy()

    def learn(self, at):
        self._move(self.eager, at, is_learning=True)
        self.there[at] = True

    def forget(self, at):
        self._move(self.eager, at, is_learning=False)
        self.there[at] = False

    def catch_up(self):
        """Tell the lazy model the net of what happened, in any order."""
        coming, going = (
            self.rng.permutation(np.flatnonzero(m)) for m in (self.there & ~self.told, self.told & ~self.there)
        )
        moves = [(coming, True), (going, False)]
        for at, is_learning in moves if self.rng.random() < 0.5 else moves[::-1]:
            if len(at):
                self._move(self.lazy, at, is_learning=is_learning, counts=False)
        self.told = self.there.copy()

    def read(self):
        """Let the lazy model predict one row, where there is something to predict from."""
        if (self.told & self.counting).any():
            row = self.X[[int(self.rng.integers(len(self.X)))]]
            self.lazy.predict(row)

    @property
    def counting(self):
        return np.ones(len(self.X), dtype=bool) if self.weight is None else self.weight > 0

    def _move(self, model, at, *, is_learning, counts=True):
        if is_learning:
            weight = None if self.weight is None else self.weight[at]
            model.partial_fit(self.X[at], self.y[at], sample_weight=weight, sample_ids=self.ids[at])
        else:
            model.partial_forget(self.ids[at])
        if counts:
            self.tally.operations += 1
            self.tally.rows_moved += len(at)

    def some(self, size):
        """Return whether to learn, and rows: both at random, but never on an empty side."""
        is_learning = bool(self.rng.random() < 0.5)
        if not (self.there != is_learning).any():
            is_learning = not is_learning
        at = np.flatnonzero(self.there != is_learning)
        return is_learning, self.rng.permutation(at)[:size]


def test_small_tables_equal_a_refit_after_every_operation(record_property):
    """Every setting on a hard table, one history after the other, each down to one class, one row, nothing, and back."""
    tally, n = Tally(), 0
    while tally.operations < N_SMALL or n < len(SETTINGS):
        Forest, params = SETTINGS[n % len(SETTINGS)]
        name = list(SMALL_TABLES)[(n + n // len(SETTINGS)) % len(SMALL_TABLES)]
        rng = np.random.default_rng([7, n])
        X, y, weight = small_table(name, rng, is_classifier=Forest in CLASSIFIERS)
        tally.where = f"{Forest.__name__}({params}) on {name}, history {n}"
        history = History(tally, Forest, params, X, y, weight, rng, _start(rng, y, weight))
        _wander(history, 25 if IS_FULL else 12)
        _empty_and_fill(history)
        tally.tables.add(name)
        tally.settings.add((Forest, str(params)))
        n += 1

    _say(record_property, "small tables", tally)
    assert len(tally.tables) >= 8
    assert len(tally.settings) >= 60


def _start(rng, y, weight):
    """Rows to begin with: half of them, and what `fit` needs, two targets of a weight above 0."""
    counting = np.arange(len(y)) if weight is None else np.flatnonzero(weight > 0)
    first = counting[0]
    others = counting[y[counting] != y[first]]
    needed = [first, *others[:1]]
    return np.union1d(np.flatnonzero(rng.random(len(y)) < 0.5), needed)


def _wander(history, n_operations):
    rng = history.rng
    for _ in range(n_operations):
        is_learning, at = history.some(int(rng.choice([1, 1, 1, 2, 5, 30])))
        (history.learn if is_learning else history.forget)(at)
        history.tally.check(history.eager)
        if rng.random() < 0.3:
            history.catch_up()
            history.read()
        if rng.random() < 0.1:
            history.catch_up()
            history.tally.check(history.lazy)


def _empty_and_fill(history):
    """Down to the rows of one target, to one row, to nothing; then all rows in two calls: as if nothing had been."""
    if not history.there.any():
        history.learn(np.arange(2))
    kept = np.flatnonzero(history.there)[0]
    for stays in (
        history.y == history.y[kept],
        np.arange(len(history.y)) == kept,
        np.zeros(len(history.y), dtype=bool),
    ):
        going = np.flatnonzero(history.there & ~stays)
        if len(going):
            history.forget(history.rng.permutation(going))
            history.catch_up()
            history.read()
            history.tally.check(history.eager, history.lazy)
    for part in np.array_split(history.rng.permutation(len(history.y)), 2):
        history.learn(part)
        history.catch_up()
        history.tally.check(history.eager, history.lazy)


@pytest.mark.filterwarnings("ignore:.*friedman_mse:FutureWarning")
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # scikit-learn sums float32 extremes
@pytest.mark.parametrize("n", range(0, 4 * 20, 4))
def test_a_release_predicts_as_the_model_through_scikit_learns_code(n):
    """Twenty forests after some deletions: the released object's own predictions have the model's bits, at `n_jobs=1`."""
    Forest, params = SETTINGS[n % len(SETTINGS)]
    rng = np.random.default_rng([13, n])
    X, y, weight = small_table(list(SMALL_TABLES)[n // 4 % len(SMALL_TABLES)], rng, is_classifier=Forest in CLASSIFIERS)
    model = Forest(**{"random_state": n, "n_jobs": 2, **params}).fit(X, y, weight)
    model.partial_forget(rng.permutation(len(X))[: len(X) // 3])
    new = np.vstack([X, np.clip(X + rng.normal(size=X.shape) * 1e-3, -3e38, 3e38), rng.normal(size=X.shape)])

    released = model.release().set_params(n_jobs=1)

    for name in ("predict", "predict_proba", "apply"):
        if hasattr(model, name):
            np.testing.assert_array_equal(getattr(model, name)(new), getattr(released, name)(new))


#: Settings for real tables: defaults, and what the measurements are of.
_REAL_SETTINGS = ({}, {"max_depth": 10}, {"max_samples": 0.1, "max_depth": 15})
#: In turns: which forest, table and setting, and how many rows of the table.
REAL = tuple(
    (Forest, name, params)
    for params in _REAL_SETTINGS
    for names, Forests in (
        (REAL_CLASSES, (RandomForestClassifier, ExtraTreesClassifier)),
        (REAL_NUMBERS, (RandomForestRegressor, ExtraTreesRegressor)),
    )
    for i, name in enumerate(names)
    for Forest in (Forests if params else Forests[i % 2 :][:1])
)
N_MOST_ROWS = 20_000 if IS_FULL else 600


@pytest.mark.parametrize(
    "name", dict.fromkeys([*REAL_CLASSES, *REAL_NUMBERS]) if IS_FULL else ["wine", "diabetes", "adult"]
)
def test_real_tables_equal_a_refit_after_every_thousand_operations(name, record_property):
    """Rows of real tables come and go, mostly one by one; half of them are there at the start."""
    X, y = real_table(name)
    worlds = [world for world in REAL if world[1] == name]
    n_operations = max(N_REAL // (len(REAL) if IS_FULL else 3 * len(worlds)), 20)
    tally = Tally()
    for n, (Forest, _, params) in enumerate(worlds):
        rng = np.random.default_rng([11, n])
        rows = rng.permutation(len(X))[:N_MOST_ROWS]
        params = params if IS_FULL else {"n_estimators": 10, **params}
        tally.where = f"{Forest.__name__}({params}) on {name}"
        start = np.union1d(
            np.flatnonzero(rng.random(len(rows)) < 0.5), [0, int(np.flatnonzero(y[rows] != y[rows[0]])[0])]
        )
        history = History(tally, Forest, params, X[rows], y[rows], None, rng, start)
        for done in range(1, n_operations + 1):
            is_learning, at = history.some(int(rng.choice([1, 2, 10, 100], p=[0.9, 0.05, 0.03, 0.02])))
            (history.learn if is_learning else history.forget)(at)
            if rng.random() < 0.02:
                history.catch_up()
                history.read()
            if done % 1000 == 0 or done == n_operations:
                history.catch_up()
                tally.check(history.eager, history.lazy)
        tally.tables.add(name)
        tally.settings.add((Forest, str(params)))

    _say(record_property, name, tally)


def _say(record_property, where, tally):
    record_property("said", f"{where}: {tally}")
    print(f"{where}: {tally}")  # noqa: T201
