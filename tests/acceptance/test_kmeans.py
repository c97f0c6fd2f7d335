"""After any operations a KMeans has the state of a fit on the rows that are left; nobody steers it; no file breaks it.

SKUNLEARN_OPERATIONS=100000 is the acceptance run; 1,500 operations, and 1,500 damaged files, by default.
"""

import copy
import importlib.util
import os
import random
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from _unlearn_native._native import row_tags
from sklearn.datasets import load_digits

from skunlearn import Key, persistence, reference_fit, state_digest
from skunlearn.cluster import KMeans, _kmeans_core
from skunlearn.exceptions import DamagedStateError, DegenerateRowsError
from skunlearn.key import key_from_random_state

from .data import numeric

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_OPERATIONS = int(os.environ.get("SKUNLEARN_OPERATIONS", "1500"))
KEY = Key(bytes(range(32)))
#: Rows from which "auto" takes a coreset in the small histories, which pass it in both directions.
THRESHOLD = 100


# --- random operations -----------------------------------------------------------------------------------------------


def blobs(rng):
    return rng.normal(size=(150, 4)) + 3.0 * rng.integers(0, 3, (150, 1)), 4


def repeated(rng):
    """Sixteen points and fifteen clusters: rows repeat, centres coincide or have no row."""
    return rng.integers(0, 4, (120, 2)).astype(float), 15


def cube(rng):
    return rng.integers(0, 3, (140, 6)).astype(np.float32), 5


def heavy_tails(rng):
    return rng.standard_cauchy((130, 3)) * [1.0, 1e6, 1e-9], 4


def digits(rng):
    return rng.permutation(load_digits().data)[:140], 6


def sparse(rng):
    return sp.csr_array(np.round(3 * rng.normal(size=(130, 7)), 1) * (rng.random((130, 7)) < 0.3)), 4


def far_away(rng):
    return 1e6 + rng.normal(size=(120, 3)), 3


def uniform(rng):
    """Without clusters: one row changes the labels of many, iteration after iteration."""
    return rng.random((150, 5)), 8


SMALL = (blobs, repeated, cube, heavy_tails, digits, sparse, far_away, uniform)
REAL = {"covtype_15k": 7, "letter": 26, "nycflights13": 10, "kddcup99_10pct": 10, "satellite": 6}
SETTINGS = {
    "lloyd": {"algorithm": "lloyd"},
    "auto": {"coreset_size": 25, "n_init": 2},
    "random": {"init": "random", "n_init": 2, "tol": 0, "max_iter": 20},
}


class History:
    """Random operations on one model, and what is live in it.

    Parameters
    ----------
    X : matrix of shape (n_rows, n_features)
        Rows, whose positions are their ids.
    model : KMeans
        Unfitted.
    weight : ndarray of shape (n_rows,)
        Weights.
    rng : Generator
        Source of the operations.
    """

    def __init__(self, X, model, weight, rng):
        self.X, self.weight, self.rng = X, weight, rng
        self.is_live = np.ones(X.shape[0], dtype=bool)
        self.model = model.fit(X, sample_weight=weight)
        self.n_calls = 0

    def step(self):
        """Do one operation, and return how many rows it was about."""
        live, gone = np.flatnonzero(self.is_live), np.flatnonzero(~self.is_live)
        if len(live) == 0 or (len(gone) and self.rng.random() < len(gone) / len(self.is_live) + 0.15):
            rows = self._some(gone)
            self.model.partial_fit(self.X[rows], sample_weight=self.weight[rows], sample_ids=rows)
            self.is_live[rows] = True
        else:
            rows = self._going(live)
            self.model.partial_forget(rows)
            self.is_live[rows] = False
        self.n_calls += 1
        return len(rows)

    def _some(self, of):
        size = min(len(of), int(self.rng.choice([1, 1, 1, 1, 2, 5, 30])))
        return self.rng.choice(of, size, replace=False)

    def _going(self, live):
        """Return rows to forget: at random, or those on which a model leans."""
        kind = self.rng.integers(40)
        if kind == 0:
            return live
        if kind == 1:
            return self.rng.permutation(live)[self.model.n_clusters - 1 :] if len(live) > 3 else live
        if kind < 6:
            return self._of_a_cluster(live)
        if kind < 12:
            column = self.X[:, [self.rng.integers(self.X.shape[1])]]
            column = np.abs(column.toarray() if sp.issparse(column) else column).ravel()
            return live[np.argsort(-column[live])[: self.rng.integers(1, 4)]]
        if kind < 20:
            return self._most_drawn(live)
        return self._some(live)

    def _of_a_cluster(self, live):
        try:
            labels = self.model.labels_
        except DegenerateRowsError:
            return self._some(live)
        native = self.model._live.rows.native
        in_order = native.ids(native.order("insertion"))
        return in_order[labels == self.rng.choice(labels)]

    def _most_drawn(self, live):
        """Return the rows nearest to centres, where runs end, or those of the least tags, around which samples lie."""
        native = self.model._live.rows.native
        slots = np.arange(len(live), dtype=np.uint32)
        if self.rng.random() < 0.5:
            return native.ids(slots)[np.argsort(native.tags(slots)[:, 1])[: self.rng.integers(1, 17)]]
        try:
            distances = self.model.transform(self.X[live])
        except DegenerateRowsError:
            return self._some(live)
        return np.unique(live[distances.argmin(axis=0)])


def weights_of(n, rng):
    return rng.choice([1.0, 1.0, 0.25, 3.0, 0.0, 7e4], n)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("table", SMALL, ids=lambda make: make.__name__)
def test_every_operation_on_a_small_table_leaves_a_refit(table, setting, monkeypatch):
    """Single rows and batches, extremes, whole clusters, all but k - 1 rows and all: the whole state after each step."""
    monkeypatch.setattr(_kmeans_core, "_CORESET_FROM_ROWS", THRESHOLD)
    monkeypatch.setattr(_kmeans_core, "_CORESET_FROM_TIMES", 4)
    rng = np.random.default_rng([SMALL.index(table), list(SETTINGS).index(setting)])
    X, k = table(rng)
    weight = weights_of(X.shape[0], rng) if setting == "random" else np.ones(X.shape[0])
    history = History(X, KMeans(k, random_state=KEY, **SETTINGS[setting]), weight, rng)
    n_operations = max(N_OPERATIONS // (len(SMALL) * len(SETTINGS)), 50)

    while history.n_calls < n_operations:
        history.step()
        assert state_digest(history.model) == state_digest(reference_fit(history.model)), f"call {history.n_calls}"

    assert_is_a_fresh_fit(history)


@pytest.mark.parametrize("name", REAL)
def test_operations_on_real_tables_leave_a_refit(name, record_property):
    """Mixed operations on a real table; the state is compared now and then, and at the end with an independent fit."""
    rng = np.random.default_rng(3)
    X, _ = numeric(name, max(2_000, min(N_OPERATIONS, 60_000)))
    algorithm = "coreset" if name in ("nycflights13", "kddcup99_10pct") else "auto"
    model = KMeans(REAL[name], random_state=KEY, algorithm=algorithm)
    history = History(X, model, np.ones(len(X)), rng)
    every = max(N_OPERATIONS // 60, 25)

    n_rows = 0
    while history.n_calls < N_OPERATIONS // 20:
        n_rows += history.step()
        if history.n_calls % every == 0:
            assert state_digest(history.model) == state_digest(reference_fit(history.model))

    assert_is_a_fresh_fit(history)
    record_property("said", f"{name}: {history.n_calls:,} calls, {n_rows:,} rows, {history.is_live.sum():,} left")


def assert_is_a_fresh_fit(history):
    """The model is that of the rows that are live by the books of the test, and not by its own."""
    left = np.flatnonzero(history.is_live)
    assert history.model.n_live_ == len(left)
    if np.count_nonzero(history.weight[left]) < history.model.n_clusters:
        return
    fresh = KMeans(**history.model.get_params())
    fresh.fit(history.X[left], sample_weight=history.weight[left], sample_ids=left)
    assert state_digest(history.model) == state_digest(fresh)


@pytest.mark.parametrize("table", SMALL, ids=lambda make: make.__name__)
def test_order_of_rows_threads_and_batches_do_not_matter(table, monkeypatch):
    """The same rows in another order, on one, two or four threads, gone at once or one by one: one digest."""
    rng = np.random.default_rng(5)
    X, k = table(rng)
    n = X.shape[0]
    going = rng.choice(n, 20, replace=False)
    digests = set()
    for n_threads in (1, 2, 4):
        monkeypatch.setattr(_kmeans_core, "effective_n_threads", lambda n=n_threads: n)
        order = rng.permutation(n)
        for batches in ([going], np.array_split(going, 3), going[:, None]):
            model = KMeans(k, random_state=KEY).fit(X[order], sample_ids=order)
            for batch in batches:
                model.partial_forget(batch)
            digests.add(state_digest(model))

    assert len(digests) == 1


def test_threads_do_not_matter_where_there_are_enough_rows_for_them(monkeypatch):
    """A pass over 20,000 rows is cut into as many parts as there are threads; sums and labels are the same."""
    X = np.random.default_rng(6).normal(size=(20_000, 3))
    digests = set()
    for n_threads in (1, 2, 4):
        monkeypatch.setattr(_kmeans_core, "effective_n_threads", lambda n=n_threads: n)
        model = KMeans(6, random_state=KEY).fit(X).partial_forget(np.arange(0, 20_000, 977))
        digests.add((state_digest(model), model.labels_.tobytes()))

    assert len(digests) == 1


# --- an adversary ----------------------------------------------------------------------------------------------------

N_GROUND = 2000
N_CHOSEN = 40


def the_oracle():
    """Return the slow twin of k-means, whose random numbers an adversary can compute as well."""
    spec = importlib.util.spec_from_file_location("_oracle", Path(__file__).parents[1] / "cluster" / "oracle.py")
    oracle = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(oracle)
    return oracle


def ground_ids(secret):
    """Return, of 2,000 ids, the forty that are drawn into a sample first under a key."""
    oracle = the_oracle()
    ids = 10_000 + np.arange(N_GROUND)
    draw = oracle.words(secret, "kmeans coreset")
    words = [oracle.row_word(draw, (int(high) << 64) | int(low)) for low, high in row_tags(secret, ids)]
    return ids[np.argsort(words)[:N_CHOSEN]]


def loss_by_ids(random_state, seed, ids):
    """Return by how much chosen ids raise the inertia of two blobs, and a few rows of an adversary aside.

    In the sample a row weighs as much as all the rows like it that were not drawn: forty rows that are all drawn stand
    for many more, and take a centre from one of the blobs.
    """
    rng = np.random.default_rng(seed)
    blobs = [rng.normal(size=(2000, 2)) + np.array([x, 0]) for x in (-2.2, 2.2)]
    X = np.vstack([*blobs, rng.normal(size=(N_CHOSEN, 2)) / 10 + np.array([0, 15])])
    model = KMeans(2, random_state=random_state, algorithm="coreset", coreset_size=100, n_init=3)
    plain = model.fit(X).inertia_
    return model.fit(X, sample_ids=[*range(len(X) - N_CHOSEN), *ids.tolist()]).inertia_ / plain


def test_ids_that_were_tried_under_another_key_gain_nothing():
    """With the key unknown, ids that were tried under a guess are ids like others."""
    ids = ground_ids(key_from_random_state(0)._secret)

    losses = [loss_by_ids(Key(bytes([seed + 1]) * 32), seed, ids) for seed in range(12)]

    assert np.mean(losses) <= 1.05


def test_ids_that_were_tried_under_a_public_key_steer_the_model():
    """The warning of the docs: an integer `random_state` is public, and who chooses ids under it chooses the sample."""
    ids = ground_ids(key_from_random_state(0)._secret)

    assert np.mean([loss_by_ids(0, seed, ids) for seed in range(6)]) >= 1.3


# --- damaged files ---------------------------------------------------------------------------------------------------


def saved_models():
    """Return small models that use every section of the format, with their parameters and saved bytes."""
    X = np.random.default_rng(9).integers(0, 4, (9, 2)).astype(float)
    names = ["", "a", "b", "ü", "c", "d", "e", "f", "g"]
    models = [
        KMeans(2, random_state=KEY).fit(X),
        KMeans(3, random_state=KEY, algorithm="coreset", coreset_size=4).fit(X.astype(np.float32), sample_ids=names),
        KMeans(2, random_state=KEY, init="random").fit(sp.csr_array(X), None, np.arange(9.0), subject_ids=names),
        KMeans(4, random_state=KEY).fit(X, sample_ids=names).partial_forget(names[:6]),
    ]
    return [(model, *model.__getstate__()["_live"].values()) for model in models]


def damaged(rng, blob):
    """Return a saved model with a few bytes or a field changed, and both checksums set right."""
    body = bytearray(blob[:-4])
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        at = rng.randrange(14, len(body))
        kind = rng.randrange(4)
        if kind == 0:
            body[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            body[at : at + 8] = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]).to_bytes(8, "little")
        elif kind == 2:
            start = rng.randrange(14, len(body))
            body[at:at] = body[start : start + rng.randrange(1, 9)]
        else:
            del body[at : at + rng.randrange(1, 9)]
    length = int.from_bytes(body[10:14], "little")
    rows = _sealed(bytes(body[14 + length :]))
    return persistence.seal(bytes(body[: 14 + length]) + rows)


def _sealed(rows):
    return rows[:-4] + zlib.crc32(rows[:-4]).to_bytes(4, "little") if len(rows) > 4 else rows


def test_damaged_models_are_refused_or_work():
    """Whatever is changed in a saved model: a typed error, no panic, or a model that predicts, forgets and is a refit."""
    rng = random.Random(10)
    saved = saved_models()
    n_loaded = 0
    for n in range(N_OPERATIONS):
        model, params, blob = saved[n % len(saved)]
        twin = KMeans(**model.get_params(deep=False))
        try:
            twin._live = persistence.load(twin, {"params": copy.deepcopy(params), "blob": damaged(rng, blob)})
        except DamagedStateError:
            continue
        n_loaded += 1
        try:
            assert twin.predict(np.ones((2, twin.n_features_in_))).shape == (2,)
            assert twin.release().labels_.shape == (twin.n_live_,)
        except DegenerateRowsError:
            pass
        assert state_digest(twin) == state_digest(reference_fit(twin))
        if twin.n_live_:
            twin.partial_forget(twin._live.rows.native.ids(np.zeros(1, dtype=np.uint32)))
            assert state_digest(twin) == state_digest(reference_fit(twin))

    assert n_loaded >= N_OPERATIONS // 50


# --- scikit-learn ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REAL)
def test_lloyd_is_scikit_learns_from_its_own_start(name):
    """From the same centres: the same number of iterations, labels and inertia, or a tie to a rounding decides."""
    X, _ = numeric(name, 3_000)
    start, _ = sklearn.cluster.kmeans_plusplus(X, REAL[name], random_state=0)
    theirs = sklearn.cluster.KMeans(REAL[name], init=start, n_init=1).fit(X)
    ours = KMeans(REAL[name], init=start, algorithm="lloyd").fit(X)

    differing = np.flatnonzero(theirs.labels_ != ours.labels_)
    if len(differing):
        two = np.sort(ours.transform(X[differing]), axis=1)[:, :2]
        assert ((two[:, 1] - two[:, 0]) / two[:, 1]).min() < 1e-9
        return
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)
