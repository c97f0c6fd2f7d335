"""`skunlearn.cluster.DBSCAN`: scikit-learn's labels, the definition evaluated slowly, and both after every history."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from sklearn.datasets import load_digits, make_moons

from skunlearn import reference_fit, state_digest
from skunlearn.cluster import DBSCAN, _dbscan_core
from skunlearn.exceptions import DegenerateRowsError

# --- tables ----------------------------------------------------------------------------------------------------------


def grid(n=150):
    """Integers in two columns: rows repeat, and many are at `eps` exactly."""
    return np.random.default_rng(0).integers(0, 18, (n, 2)).astype(float), {"eps": 1.0, "min_samples": 3}


def moons(n=200):
    return make_moons(n, noise=0.08, random_state=0)[0], {"eps": 0.15, "min_samples": 4}


def chain(n=120):
    """A line of rows: each deletion in it splits a cluster."""
    return np.arange(n, dtype=float)[:, None], {"eps": 1.0, "min_samples": 2}


def ring(n=120):
    """A closed line: the first deletion splits nothing, and the second does."""
    angle = 2 * np.pi * np.arange(n) / n
    return np.column_stack([np.cos(angle), np.sin(angle)]), {"eps": 2.1 * np.pi / n, "min_samples": 2}


def digits(n=200):
    return load_digits().data[:n], {"eps": 22.0, "min_samples": 3}


def chebyshev(n=150):
    X = np.random.default_rng(1).normal(size=(n, 5))
    return X, {"eps": 0.7, "min_samples": 3, "metric": "chebyshev"}


def manhattan(n=150):
    X = np.random.default_rng(2).integers(0, 6, (n, 3)).astype(float)
    return X, {"eps": 1.0, "min_samples": 4, "metric": "l1"}


def far_from_the_origin(n=120):
    return 1e9 + np.random.default_rng(3).integers(0, 12, (n, 2)), {"eps": 1.0, "min_samples": 3}


def heavy_tails(n=150):
    return np.random.default_rng(4).standard_cauchy((n, 2)), {"eps": 0.3, "min_samples": 4}


TABLES = {
    make.__name__: make
    for make in (grid, moons, chain, ring, digits, chebyshev, manhattan, far_from_the_origin, heavy_tails)
}
each = pytest.mark.parametrize("table", TABLES)
FORMS = {"dense": np.asarray, "float32": lambda X: X.astype(np.float32), "csr": sp.csr_array}


def weights(n):
    return np.random.default_rng(5).choice([1.0, 0.0, 0.5, 2.0, 1e-3, 7e4], n)


def ids_of(model):
    native = model._live.rows.native
    return native.ids(native.order("insertion"))


# --- the definition, slowly ------------------------------------------------------------------------------------------


def is_near(X, eps, metric):
    """Return which rows are near each other: distances are summed feature after feature."""
    total = np.zeros((len(X), len(X)))
    for column in X.T.astype(np.float64):
        gap = np.abs(column[:, None] - column)
        if metric == "chebyshev":
            total = np.maximum(total, gap)
        else:
            total += gap * gap if metric == "euclidean" else gap
    return total <= (eps * eps if metric == "euclidean" else eps)


def clusters(X, weight, *, eps, min_samples, metric="euclidean"):
    """Return labels and cores: clusters by their first core, rows at a border to the first cluster near them."""
    near = is_near(X, eps, "manhattan" if metric == "l1" else metric)
    masses = [min(Fraction(w), Fraction(min_samples)) for w in weight.tolist()]
    masses = [Fraction(int(mass * 2**64), 2**64) for mass in masses]
    crowds = [sum((masses[j] for j in np.flatnonzero(row)), start=Fraction(0)) for row in near]
    is_core = np.array([crowd >= min_samples for crowd in crowds]) & (weight > 0)
    labels = np.full(len(X), -1)
    n_clusters = 0
    for first in np.flatnonzero(is_core):
        if labels[first] >= 0:
            continue
        front = [first]
        while front:
            reached = near[front.pop()] & is_core & (labels < 0)
            labels[reached] = n_clusters
            front.extend(np.flatnonzero(reached))
        n_clusters += 1
    for row in np.flatnonzero(~is_core):
        around = labels[near[row] & is_core]
        labels[row] = around.min() if len(around) else -1
    return labels, np.flatnonzero(is_core)


def assert_is_the_definition(model, X, weight):
    at = ids_of(model)
    if not (weight[at] > 0).any():
        with pytest.raises(DegenerateRowsError):
            _ = model.labels_
        return
    params = {name: model.get_params()[name] for name in ("eps", "min_samples", "metric")}
    labels, cores = clusters(X[at], weight[at], **params)
    assert model.labels_.tolist() == labels.tolist()
    assert model.core_sample_indices_.tolist() == cores.tolist()
    assert model.components_.tobytes() == X[at][cores].tobytes()


# --- a fit -----------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("form", FORMS)
def test_fit_is_scikit_learns(table, form):
    """Labels, cores and components are scikit-learn's; its k-d tree compares the same sums of squares."""
    X, params = TABLES[table]()
    given = FORMS[form](X)
    dense = given.toarray() if sp.issparse(given) else given

    model = DBSCAN(**params).fit(given)
    theirs = sklearn.cluster.DBSCAN(**params, algorithm="kd_tree").fit(dense)

    assert model.labels_.dtype == theirs.labels_.dtype
    assert model.core_sample_indices_.dtype == theirs.core_sample_indices_.dtype
    assert model.labels_.tolist() == theirs.labels_.tolist()
    assert model.core_sample_indices_.tolist() == theirs.core_sample_indices_.tolist()
    components = model.components_.toarray() if sp.issparse(model.components_) else model.components_
    assert components.dtype == theirs.components_.dtype
    assert (components == theirs.components_).all()


@each
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_the_definition(table, weighted):
    """The oracle above says the same, of weighted rows as well."""
    X, params = TABLES[table]()
    weight = weights(len(X)) if weighted else np.ones(len(X))

    assert_is_the_definition(DBSCAN(**params).fit(X, sample_weight=weight), X, weight)


def test_weights_are_scikit_learns_where_its_sums_are_exact():
    """Weights that are multiples of a quarter: crowds are the same numbers there. A weight of 0 is left out."""
    X, params = moons()
    weight = np.random.default_rng(6).choice([0.25, 0.5, 1.0, 3.0], len(X))

    theirs = sklearn.cluster.DBSCAN(**params).fit(X, sample_weight=weight)

    assert DBSCAN(**params).fit(X, sample_weight=weight).labels_.tolist() == theirs.labels_.tolist()


def test_tiny_weights_add_up_exactly():
    """A tenth ten times is 1 and a little, as a sum of the numbers that stand for a tenth: a core, in any order."""
    X = np.zeros((10, 1))

    assert DBSCAN(min_samples=1).fit(X, sample_weight=np.full(10, 0.1)).labels_.tolist() == [0] * 10
    assert DBSCAN(min_samples=1).fit(X[:9], sample_weight=np.full(9, 0.1)).labels_.tolist() == [-1] * 9


def test_a_row_of_weight_0_enters_nothing():
    """It would join two clusters, and bears the label of a row at their border instead."""
    X = np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])

    model = DBSCAN(eps=1, min_samples=2).fit(X, sample_weight=[1, 1, 0, 1, 1])

    assert model.labels_.tolist() == [0, 0, 0, 1, 1]
    assert model.core_sample_indices_.tolist() == [0, 1, 3, 4]


# --- histories -------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_random_history_equals_refit_after_every_step(table, form, weighted):
    """Rows go and come, singly and in batches: digest and labels are those of a fit on what is left."""
    X, params = TABLES[table]()
    X = FORMS[form](X)
    n = X.shape[0]
    weight = weights(n) if weighted else np.ones(n)
    rng = np.random.default_rng(7)
    model = DBSCAN(**params).fit(X, sample_weight=weight)
    gone = np.empty(0, dtype=np.int64)

    for step in range(30):
        if rng.random() < 0.6 or len(gone) < 3:
            going = rng.choice(ids_of(model), rng.choice([1, 1, 1, 2, 9]), replace=False)
            model.partial_forget(going)
            gone = np.append(gone, going)
        else:
            coming, gone = np.split(rng.permutation(gone), [rng.integers(1, len(gone))])
            model.partial_fit(X[coming], sample_weight=weight[coming], sample_ids=coming)
        refit = reference_fit(model)
        assert state_digest(model) == state_digest(refit), f"after step {step}"
        assert model.labels_.tolist() == refit.labels_.tolist(), f"after step {step}"
        if form == "dense":
            assert_is_the_definition(model, X, weight)

    left = np.sort(ids_of(model))
    fresh = DBSCAN(**params).fit(X[left], sample_weight=weight[left], sample_ids=left)
    assert state_digest(model) == state_digest(fresh)


@each
def test_all_rows_go_one_by_one_and_come_back(table):
    """Down to nothing, every step the definition's; learned again the model is the first."""
    X, params = TABLES[table]()
    model = DBSCAN(**params).fit(X)
    before, labels = state_digest(model), model.labels_.tolist()

    for row in np.random.default_rng(8).permutation(len(X)):
        model.partial_forget([row])
        assert_is_the_definition(model, X, np.ones(len(X)))

    for row in range(len(X)):
        model.partial_fit(X[row : row + 1], sample_ids=[row])
    assert state_digest(model) == before
    assert model.labels_.tolist() == labels


@each
def test_whole_clusters_and_all_cores_may_go(table):
    """Batches on which the model leans, and back."""
    X, params = TABLES[table]()
    base = DBSCAN(**params).fit(X)
    before = state_digest(base)
    sizes = np.bincount(base.labels_[base.labels_ >= 0])

    for going in (
        np.flatnonzero(base.labels_ == sizes.argmax()),
        np.flatnonzero(base.labels_ == sizes.argmin()),
        base.core_sample_indices_,
        base.core_sample_indices_[::3],
        np.arange(0, len(X), 2),
        np.arange(1, len(X)),
    ):
        model = pickle.loads(pickle.dumps(base)).flush()
        model.partial_forget(going)
        assert_is_the_definition(model, X, np.ones(len(X)))
        assert state_digest(model) == state_digest(reference_fit(model))
        model.partial_fit(X[going], sample_ids=going)
        assert state_digest(model) == before


def test_a_bridge_splits_a_cluster_and_joins_it_again():
    """What is looked at is the smaller part, not the whole."""
    X = np.concatenate([np.arange(2000.0), np.arange(2001.0, 2011.0), [2000.0]])[:, None]
    model = DBSCAN(eps=1, min_samples=2).fit(X)
    assert len(set(model.labels_)) == 1

    model.partial_forget([2010])

    work = model.forget_report_.work
    assert work["clusters_split"] == 1
    assert work["rows_searched"] < 40
    assert [model.labels_[0], model.labels_[-1]] == [0, 1]
    model.partial_fit(X[-1:], sample_ids=[2010])
    assert len(set(model.labels_)) == 1


def test_threads_do_not_matter(monkeypatch):
    """A pass over 20,000 rows is cut into as many parts as there are threads."""
    X = np.random.default_rng(9).random((20_000, 2))
    seen = set()
    for n_threads in (1, 2, 4):
        monkeypatch.setattr(_dbscan_core, "effective_n_threads", lambda n=n_threads: n)
        model = DBSCAN(eps=0.01).fit(X).partial_forget(np.arange(0, 20_000, 997))
        seen.add((state_digest(model), model.labels_.tobytes()))

    assert len(seen) == 1


def test_border_rows_follow_the_order_of_insertion_and_the_digest_does_not():
    """A row between two clusters belongs to the one that was learned first, as in scikit-learn."""
    X = np.array([[0.0], [0.5], [1.0], [2.0], [3.0], [3.5], [4.0]])
    backwards = np.arange(len(X))[::-1]
    params = {"eps": 1.0, "min_samples": 4}

    one = DBSCAN(**params).fit(X)
    other = DBSCAN(**params).fit(X[backwards], sample_ids=backwards)

    for model, rows in ((one, X), (other, X[backwards])):
        assert model.labels_.tolist() == sklearn.cluster.DBSCAN(**params).fit(rows).labels_.tolist()
    assert state_digest(one) == state_digest(other)


# --- scales ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-150, 1e100])
def test_squares_that_underflow_or_are_large_are_compared_as_they_are(scale):
    """Where the square of `eps` is 0, rows are near each other if the squares of their gaps are, too."""
    X = np.random.default_rng(10).integers(0, 12, (80, 2)) * scale
    params = {"eps": scale, "min_samples": 3}

    assert_is_the_definition(DBSCAN(**params).fit(X), X, np.ones(len(X)))


def test_values_beyond_any_square_are_refused():
    """Squares of distances are finite, or nothing changes."""
    with pytest.raises(ValueError, match=r"1 of 2 values .* Nothing was changed"):
        DBSCAN().fit([[1e200], [0.0]])


@pytest.mark.parametrize(
    ("metric", "reason"),
    [("precomputed", "every other row"), ("cosine", "rounding"), (lambda x, y: 0.0, "need not give the same")],
)
def test_other_metrics_are_refused_with_the_reason(metric, reason):
    """A metric that cannot be exact is refused at fit, and the model before is as it was."""
    X, params = grid()
    model = DBSCAN(**params).fit(X)
    before = state_digest(model)

    with pytest.raises(ValueError, match=reason):
        model.set_params(metric=metric).fit(X)

    assert state_digest(model.set_params(metric="euclidean")) == before


@pytest.mark.parametrize(("p", "metric"), [(1, "manhattan"), (2, "euclidean"), (None, "euclidean")])
def test_minkowski_is_one_of_three(p, metric):
    """The powers that are exact, by their other names."""
    X, params = grid()

    want = DBSCAN(**{**params, "metric": metric}).fit(X)

    assert DBSCAN(**params, **{"metric": "minkowski", "p": p}).fit(X).labels_.tolist() == want.labels_.tolist()
    with pytest.raises(ValueError, match="rounding"):
        DBSCAN(metric="minkowski", p=3).fit(X)


def test_release_is_scikit_learns_own():
    """Its attributes are those of the model, bit for bit."""
    X, params = moons()
    model = DBSCAN(**params).fit(X).partial_forget(np.arange(20))

    twin = model.release()
    theirs = sklearn.cluster.DBSCAN(**params).fit(X[20:])

    assert type(twin) is sklearn.cluster.DBSCAN
    for name in ("labels_", "core_sample_indices_", "components_"):
        assert getattr(twin, name).tobytes() == getattr(model, name).tobytes() == getattr(theirs, name).tobytes()
    assert model.fit_predict(X).tolist() == sklearn.cluster.DBSCAN(**params).fit_predict(X).tolist()
