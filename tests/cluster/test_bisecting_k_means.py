"""`skunlearn.cluster.BisectingKMeans`: splits that the oracle makes one by one, after every history."""

import math
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from sklearn.datasets import load_digits

from skunlearn import Key, reference_fit, state_digest
from skunlearn.cluster import BisectingKMeans
from skunlearn.exceptions import DegenerateRowsError

from . import oracle

KEY = Key(bytes(range(32)))


def blobs(n=150):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)) + 4.0 * rng.integers(0, 4, (n, 1)), 5


def grid(n=90):
    """Integers from 0 to 3 in two columns: rows repeat, and splits tie."""
    return np.random.default_rng(1).integers(0, 4, (n, 2)).astype(float), 9


def repeated(n=40):
    """Three points: there are more clusters than these, and some have no row."""
    return np.random.default_rng(2).integers(0, 3, (n, 1)).astype(float), 6


def heavy_tails(n=120):
    return np.random.default_rng(3).standard_cauchy((n, 3)) * [1.0, 1e6, 1e-9], 6


def digits(n=120):
    return load_digits().data[:n], 7


TABLES = {make.__name__: make for make in (blobs, grid, repeated, heavy_tails, digits)}
FORMS = {"dense": np.asarray, "float32": lambda X: X.astype(np.float32), "csr": sp.csr_array}
SETTINGS = {
    "defaults": {},
    "by size": {"bisecting_strategy": "largest_cluster", "init": "k-means++", "n_init": 2, "tol": 0},
}
each = pytest.mark.parametrize("table", TABLES)
settings = pytest.mark.parametrize("setting", SETTINGS)


def weights(n):
    return np.random.default_rng(5).choice([1.0, 0.0, 0.25, 3.0, 7e4], n)


def ids_of(model):
    native = model._live.rows.native
    return native.ids(native.order("insertion"))


# --- the definition, slowly ------------------------------------------------------------------------------------------


def key_of(path):
    key = KEY
    for side in path:
        key = key.derive("bisecting", int(side))
    return key._secret


def bisected(rows, params):
    """Return labels, centres and inertia: clusters are split by the oracle's k-means, one after the other."""
    leaves = [("", np.arange(len(rows)), None, 0.0)]  # from left to right
    for _ in range(params["n_clusters"] - 1):
        scores = []
        for _, members, _, inertia in leaves:
            score = len(members) if params["bisecting_strategy"] == "largest_cluster" else inertia
            scores.append(score if len(members) > 1 else -1)
        at = scores.index(max(scores))
        path, members, _, _ = leaves[at]
        part = oracle.Rows(rows.X[members], rows.weight[members], [rows.tags[i] for i in members], rows.dtype)
        names = ("init", "n_init", "max_iter", "tol")
        run, _ = oracle.fit(key_of(path), part, n_clusters=2, **{name: params[name] for name in names})
        last, parts = run.entries[-1], []
        for side in (0, 1):
            own = last.labels == side
            root = np.sqrt(oracle.distances(part.X[own], last.centres[side]))
            inertia = math.fsum((part.weight[own] * root * root).tolist())
            parts.append((f"{path}{side}", members[own], last.centres[side], inertia))
        leaves[at : at + 1] = parts
    labels = np.empty(len(rows), dtype=int)
    for number, (_, members, _, _) in enumerate(leaves):
        labels[members] = number
    return labels, np.array([centre for _, _, centre, _ in leaves]), math.fsum(inertia for *_, inertia in leaves)


def assert_is_the_definition(model):
    native = model._live.rows.native
    order = native.order("insertion")
    X, _, weight = native.block(order)
    if isinstance(X, tuple):
        X = sp.csr_array((X[2], X[1], X[0]), shape=(len(X[0]) - 1, native.n_features)).toarray()
    rows = oracle.Rows.of(X, weight, native.tags(order))
    labels, centres, inertia = bisected(rows, model._live.params)
    counted = np.ones(len(X), dtype=bool) if weight is None else weight > 0
    assert model.labels_[counted].tolist() == labels.tolist()
    assert model.cluster_centers_.astype(np.float64).tobytes() == centres.tobytes()
    assert model.inertia_ == inertia


@each
@settings
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_the_definition(table, setting, form, weighted):
    """Every split is a k-means run of its own, whatever the layout, the dtype and the weights."""
    X, k = TABLES[table]()
    X = FORMS[form](X)

    model = BisectingKMeans(k, random_state=KEY, **SETTINGS[setting])
    model.fit(X, sample_weight=weights(X.shape[0]) if weighted else None)

    assert_is_the_definition(model)
    assert model.predict(X).tolist() == model.labels_.tolist()


@each
@settings
@pytest.mark.parametrize("form", FORMS)
def test_random_history_equals_refit_after_every_step(table, setting, form):
    """Rows go and come, singly and in batches: the state is that of a fit on what is left."""
    X, k = TABLES[table]()
    X = FORMS[form](X)
    n = X.shape[0]
    weight = weights(n) if setting == "by size" else np.ones(n)
    rng = np.random.default_rng(7)
    model = BisectingKMeans(k, random_state=KEY, **SETTINGS[setting]).fit(X, sample_weight=weight)
    gone = np.empty(0, dtype=np.int64)

    for step in range(20):
        if rng.random() < 0.6 or len(gone) < 3:
            going = rng.choice(ids_of(model), rng.choice([1, 1, 1, 2, 9]), replace=False)
            model.partial_forget(going)
            gone = np.append(gone, going)
        else:
            coming, gone = np.split(rng.permutation(gone), [rng.integers(1, len(gone))])
            model.partial_fit(X[coming], sample_weight=weight[coming], sample_ids=coming)
        try:
            labels = model.labels_.tolist()
        except DegenerateRowsError:
            continue
        refit = reference_fit(model)
        assert state_digest(model) == state_digest(refit), f"after step {step}"
        assert labels == refit.labels_.tolist(), f"after step {step}"
        assert model.inertia_ == refit.inertia_, f"after step {step}"
        if form == "dense":
            assert_is_the_definition(model)


@each
def test_whole_clusters_go_and_come_back(table):
    """A cluster and with it a split may go; fewer rows than clusters are kept; learned again the model is the first."""
    X, k = TABLES[table]()
    base = BisectingKMeans(k, random_state=KEY).fit(X)
    before = state_digest(base)

    for going in (
        np.flatnonzero(base.labels_ == base.labels_[0]),
        np.flatnonzero(base.labels_ < 2),
        np.arange(k, len(X)),
        np.arange(k - 1, len(X)),
        np.arange(len(X)),
    ):
        model = pickle.loads(pickle.dumps(base)).flush()
        model.partial_forget(going)
        if len(X) - len(going) < k:
            with pytest.raises(DegenerateRowsError, match="fewer than n_clusters"):
                _ = model.labels_
        else:
            assert_is_the_definition(model)
        assert state_digest(model) == state_digest(reference_fit(model))
        model.partial_fit(X[going], sample_ids=going)
        assert state_digest(model) == before


def test_no_copy_of_a_forgotten_row_stays():
    """Clusters that were split hold copies of their rows; these go at once, before anybody reads."""
    X, k = blobs()
    model = BisectingKMeans(k, random_state=KEY).fit(X)
    clusters = model._live.core._clusters

    for row in (3, 40, 77):
        stores = [cluster.rows.native for cluster in clusters.values()]
        assert sum(row in store.ids(store.order("id")) for store in stores) >= 1
        model.partial_forget([row])
        assert not any(row in store.ids(store.order("id")) for store in stores)
        assert all(store.n_live for store in stores)


def test_release_is_scikit_learns_own():
    """Its attributes are those of the model, and it goes down the same splits."""
    X, k = blobs()
    model = BisectingKMeans(k, random_state=KEY).fit(X).partial_forget(np.arange(20))

    twin = model.release()

    assert type(twin) is sklearn.cluster.BisectingKMeans
    assert twin.cluster_centers_.tobytes() == model.cluster_centers_.tobytes()
    assert twin.predict(X).tolist() == model.predict(X).tolist()
    assert twin.transform(X) == pytest.approx(model.transform(X), rel=1e-9)


def test_splits_are_as_good_as_scikit_learns():
    """On well separated blobs both find them: the inertia is the same."""
    rng = np.random.default_rng(11)
    X = rng.normal(size=(200, 2)) + 100.0 * np.array([[0, 0], [0, 1], [5, 0], [5, 2]])[np.arange(200) % 4]

    theirs = sklearn.cluster.BisectingKMeans(4, random_state=0, n_init=3).fit(X)

    assert BisectingKMeans(4, random_state=0, n_init=3).fit(X).inertia_ == pytest.approx(theirs.inertia_, rel=1e-9)


def test_a_function_is_refused_as_init():
    """It would see all rows of a cluster: the reason is in the error, and nothing has changed."""
    with pytest.raises(ValueError, match=r"every deletion would be a refit\. Nothing was changed"):
        BisectingKMeans(2, init=lambda X, n, random_state: X[:2]).fit(np.eye(4))
