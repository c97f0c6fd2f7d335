"""`skunlearn.cluster.KMeans`: the run that the oracle makes, after every history, and scikit-learn's where it starts."""

import copy
import importlib.util
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.cluster
from _unlearn_native._native import row_tags
from sklearn.base import clone
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from skunlearn import Key, can_forget, reference_fit, state_digest
from skunlearn.cluster import KMeans, _kmeans_core
from skunlearn.exceptions import DamagedStateError, DegenerateRowsError
from skunlearn.key import key_from_random_state

from . import oracle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SECRETS = [bytes([number]) * 32 for number in (1, 2)]


# --- tables that a nearly exact algorithm gets wrong -----------------------------------------------------------------


def blobs(n=150):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 4)) + 3.0 * rng.integers(0, 3, (n, 1)), 4


def grid(n=90):
    """Integers from 0 to 3 in two columns: rows repeat, and centres coincide, or have no row."""
    return np.random.default_rng(1).integers(0, 4, (n, 2)).astype(float), 15


def cube(n=120):
    return np.random.default_rng(2).integers(0, 3, (n, 6)).astype(float), 5


def heavy_tails(n=120):
    return np.random.default_rng(3).standard_cauchy((n, 3)) * [1.0, 1e6, 1e-9], 4


def digits(n=160):
    return load_digits().data[:n], 6


def far_from_the_origin(n=100):
    return 1e6 + np.random.default_rng(4).normal(size=(n, 3)), 3


TABLES = {make.__name__: make for make in (blobs, grid, cube, heavy_tails, digits, far_from_the_origin)}
FORMS = {
    "dense": lambda X: X,
    "float32": lambda X: X.astype(np.float32),
    "csr": sp.csr_array,
    "csr of float32": lambda X: sp.csr_array(X.astype(np.float32)),
}


def weights(n):
    return np.random.default_rng(5).choice([1.0, 0.0, 0.25, 3.0, 1e-3, 7e4], n)


def ids_of(model):
    native = model._live.rows.native
    return native.ids(native.order("insertion"))


# --- against the oracle ----------------------------------------------------------------------------------------------


def oracle_fit(model):
    """Run the oracle on the live rows of a model, in the order in which they were learned."""
    live = model._live
    native, params = live.rows.native, live.params
    X, _, weight = native.block(native.order("insertion"))
    if isinstance(X, tuple):
        X = sp.csr_array((X[2], X[1], X[0]), shape=(len(X[0]) - 1, native.n_features)).toarray()
    rows = oracle.Rows.of(X, weight, native.tags(native.order("insertion")))
    is_coreset = params["algorithm"] == "coreset"
    runs = 1 if not isinstance(params["init"], str) else 10 if is_coreset or params["init"] == "random" else 1
    n_init = runs if params["n_init"] == "auto" else params["n_init"]
    names = ("n_clusters", "init", "max_iter", "tol", *(("coreset_size", "full_passes") if is_coreset else ()))
    fit = oracle.fit_coreset if is_coreset else oracle.fit
    run, _ = fit(live.key._secret, rows, n_init=n_init, **{name: params[name] for name in names})
    return run, (np.ones(len(X)) if weight is None else weight) > 0


def assert_is_the_oracles(model):
    """Centres, labels, inertia and the number of iterations are the oracle's, bit for bit."""
    run, counted = oracle_fit(model)
    last = run.entries[-1]
    assert model.n_iter_ == run.n_iter
    assert model.cluster_centers_.astype(np.float64).tobytes() == last.centres.tobytes()
    assert model.labels_[counted].tolist() == last.labels.tolist()
    assert model.inertia_ == run.inertia
    return run


SETTINGS = {
    "defaults": {},
    "to the end": {"tol": 0},
    "cut short": {"max_iter": 2},
    "random, two runs": {"init": "random", "n_init": 2, "max_iter": 5},
    "four runs": {"n_init": 4, "tol": 1e-3},
    "coreset": {"algorithm": "coreset", "coreset_size": 30, "n_init": 3},
    "coreset of most rows": {"algorithm": "coreset", "coreset_size": 200, "n_init": 2, "full_passes": 5},
}
#: Settings under which a table takes part in the histories below.
HISTORICAL = ("defaults", "to the end", "random, two runs", "coreset", "coreset of most rows")


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_fit_is_the_oracles(table, form, setting, weighted):
    """A fit is the definition, evaluated: whatever the layout, the dtype and the weights."""
    X, k = TABLES[table]()
    model = KMeans(k, random_state=Key(SECRETS[0]), **SETTINGS[setting])

    model.fit(FORMS[form](X), sample_weight=weights(len(X)) if weighted else None)

    assert_is_the_oracles(model)


@pytest.mark.parametrize("setting", ["defaults", "coreset"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("table", TABLES)
def test_history_is_the_oracles(table, weighted, setting):
    """After rows went and came, singly and in batches, the model is what the oracle makes of those that are left."""
    X, k = TABLES[table]()
    weight = weights(len(X)) if weighted else np.ones(len(X))
    rng = np.random.default_rng(6)
    model = KMeans(k, random_state=Key(SECRETS[1]), **SETTINGS[setting]).fit(X, sample_weight=weight)

    for size in (1, 2, 7, 20):
        going = rng.choice(ids_of(model), size, replace=False)
        model.partial_forget(going)
        assert_is_the_oracles(model)
        coming = going[size // 3 :]
        model.partial_fit(X[coming], sample_weight=weight[coming], sample_ids=coming)
        assert_is_the_oracles(model)


def test_oracle_relocates_somewhere():
    """The tables above have runs in which empty clusters take rows: without one the comparison would be blind."""
    X, k = grid()
    runs = [
        oracle_fit(KMeans(k, random_state=Key(bytes([s]) * 32), init="random", n_init=1).fit(X))[0] for s in range(9)
    ]

    assert sum(run.n_relocated for run in runs) > 0


# --- histories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", HISTORICAL)
@pytest.mark.parametrize("form", ["dense", "float32", "csr"])
@pytest.mark.parametrize("table", TABLES)
def test_random_history_equals_refit_after_every_step(table, form, setting):
    """Forgetting and learning, row by row and in batches, gives the model of a fit on the rows that are left."""
    X, k = TABLES[table]()
    X = FORMS[form](X)
    weight = weights(X.shape[0]) if setting == "to the end" else np.ones(X.shape[0])
    rng = np.random.default_rng(7)
    model = KMeans(k, random_state=Key(SECRETS[0]), **SETTINGS[setting]).fit(X, sample_weight=weight)
    gone = np.empty(0, dtype=np.int64)

    for step in range(24):
        if rng.random() < 0.6 or len(gone) < 3:
            going = rng.choice(ids_of(model), rng.choice([1, 1, 1, 2, 9]), replace=False)
            model.partial_forget(going)
            gone = np.append(gone, going)
        else:
            coming, gone = np.split(rng.permutation(gone), [rng.integers(1, len(gone))])
            model.partial_fit(X[coming], sample_weight=weight[coming], sample_ids=coming)
        assert state_digest(model) == state_digest(reference_fit(model)), f"after step {step}"

    left = np.sort(ids_of(model))
    fresh = KMeans(k, random_state=Key(SECRETS[0]), **SETTINGS[setting])
    fresh.fit(X[left], sample_weight=weight[left], sample_ids=left)
    assert state_digest(model) == state_digest(fresh)


def targets_of(model, X):
    """Yield rows that a model leans on: drawn ones, the largest values, the smallest cluster."""
    live = model._live
    rows = oracle.Rows.of(X, None, live.rows.native.tags(np.arange(len(X), dtype=np.uint32)))
    key, k = live.key._secret, live.params["n_clusters"]
    chosen = oracle.seed(key, rows, oracle.Grid(key, rows), k, "k-means++", 0)
    yield "the first centre", chosen[:1]
    yield "the last centre", chosen[-1:]
    yield "all centres", chosen
    first = oracle.distances(X, X[chosen[0]])
    draw = oracle.seeding_draw(key, 0, 1)
    races = [
        oracle.race(oracle.uniform(oracle.row_word(draw, t)), float(m)) for t, m in zip(rows.tags, first, strict=True)
    ]
    yield "the first two candidates of a step", np.argsort(races)[:2]
    yield "the largest value of a column", np.argsort(-np.abs(X[:, 0]), kind="stable")[:1]
    yield "the largest values of a column", np.argsort(-np.abs(X[:, -1]), kind="stable")[:5]
    sizes = np.bincount(model.labels_, minlength=k)
    yield "the smallest cluster", np.flatnonzero(model.labels_ == np.argmin(np.where(sizes, sizes, len(X))))
    yield "the largest cluster", np.flatnonzero(model.labels_ == np.argmax(sizes))
    yield "all but k rows", np.arange(k, len(X))
    yield "all but k - 1 rows", np.arange(k - 1, len(X))
    yield "all rows", np.arange(len(X))


@pytest.mark.parametrize("table", TABLES)
def test_targeted_deletions_equal_refit_and_come_back(table):
    """Rows that the model leans on may go, in a batch or one by one, and come back: it is the model of its rows."""
    X, k = TABLES[table]()
    base = KMeans(k, random_state=Key(SECRETS[1])).fit(X)
    before = state_digest(base)

    for what, going in targets_of(base, X):
        going = np.asarray(going, dtype=np.int64)
        batch, single = copy.deepcopy(base), copy.deepcopy(base)
        for model in (batch, single):
            model.flush()
        batch.partial_forget(going)
        for row in going[:40]:
            single.partial_forget([row])
        single.partial_forget(going[40:])
        assert state_digest(batch) == state_digest(reference_fit(batch)), what
        assert state_digest(single) == state_digest(batch), what
        batch.partial_fit(X[going], sample_ids=going)
        assert state_digest(batch) == before, f"{what}, learned again"


def of_coreset(model, X):
    """Yield rows that a coreset leans on."""
    live = model._live
    rows = oracle.Rows.of(X, None, live.rows.native.tags(np.arange(len(X), dtype=np.uint32)))
    key, k = live.key._secret, live.params["n_clusters"]
    grid = oracle.Grid(key, rows)
    in_order = np.array(sorted(range(len(rows)), key=lambda i: rows.tags[i]))
    yield "a row of the reference", in_order[3:4]
    yield "the reference", in_order[:16]
    sample = oracle.members(key, rows, grid, live.params["coreset_size"], k)
    members = np.flatnonzero([tag in sample.tags for tag in rows.tags])
    yield "a member", members[:1]
    yield (
        "the members that a run starts at",
        members[oracle.seed(key, sample, oracle.Grid(key, sample), k, "k-means++", 0)],
    )
    yield "all members", members
    yield "all others", np.setdiff1d(np.arange(len(X)), members)
    yield "all but k rows", np.arange(k, len(X))
    yield "all but k - 1 rows", np.arange(k - 1, len(X))


@pytest.mark.parametrize("table", TABLES)
def test_rows_that_a_coreset_leans_on_may_go(table):
    """Members of the sample, those a run starts at, and the rows that the sample is drawn around: all go exactly."""
    X, k = TABLES[table]()
    base = KMeans(k, random_state=Key(SECRETS[1]), **SETTINGS["coreset"]).fit(X)
    before = state_digest(base)

    for what, going in of_coreset(base, X):
        batch, single = copy.deepcopy(base).flush(), copy.deepcopy(base).flush()
        batch.partial_forget(going)
        for row in going:
            single.partial_forget([row])
        assert state_digest(batch) == state_digest(reference_fit(batch)), what
        assert state_digest(single) == state_digest(batch), what
        batch.partial_fit(X[going], sample_ids=going)
        assert state_digest(batch) == before, f"{what}, learned again"


def test_automatic_algorithm_follows_the_live_rows(monkeypatch):
    """Which algorithm is in force depends on how many rows are live, not on how many were: both ways, and exactly."""
    monkeypatch.setattr(_kmeans_core, "_CORESET_FROM_ROWS", 120)
    monkeypatch.setattr(_kmeans_core, "_CORESET_FROM_TIMES", 4)
    X, k = blobs()
    model = KMeans(k, random_state=0, coreset_size=30).fit(X)
    assert model.algorithm_ == "coreset"
    before = state_digest(model)

    model.partial_forget(np.arange(30))
    assert model.algorithm_ == "coreset"
    model.partial_forget([30])

    assert model.forget_report_.path == "rebuild"
    assert model.algorithm_ == "lloyd"
    assert state_digest(model) == state_digest(reference_fit(model))
    model.partial_fit(X[:31], sample_ids=np.arange(31))
    assert model.algorithm_ == "coreset"
    assert state_digest(model) == before
    assert KMeans(k, random_state=0, coreset_size=31).fit(X[:123]).algorithm_ == "lloyd"
    assert KMeans(k, random_state=0, coreset_size=31).fit(X[:124]).algorithm_ == "coreset"


def test_reseed_gives_the_model_of_another_key():
    """After `reseed` other rows are drawn: the model is the fit under its new key, tags and all."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)
    before = state_digest(model)

    model.reseed()

    assert state_digest(model) != before
    assert_is_the_oracles(model)
    fresh = KMeans(k, random_state=model._live.key).fit(X)
    assert state_digest(model) == state_digest(fresh)
    model.partial_forget([3])
    assert state_digest(model) == state_digest(reference_fit(model))


# --- degenerate sets -------------------------------------------------------------------------------------------------


def test_fewer_rows_than_clusters_are_kept_and_revived():
    """Down to k - 1 rows nothing is refused; reading says how many are missing; learning brings the model back."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)

    model.partial_forget(np.arange(k - 1, len(X)))

    with pytest.raises(DegenerateRowsError, match="1 fewer than n_clusters=4"):
        model.predict(X)
    assert model.n_live_ == k - 1
    model.partial_fit(X[-1:], sample_ids=[len(X) - 1])
    assert sorted(model.labels_.tolist()) == list(range(k))
    assert_is_the_oracles(model)


def test_fit_refuses_fewer_rows_than_clusters_and_changes_nothing():
    """A fit on fewer rows of a weight above 0 than clusters is a ValueError, and the model is as it was."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)
    before = state_digest(model)

    for refused in (lambda: model.fit(X[: k - 1]), lambda: model.fit(X[:9], sample_weight=[1.0] * (k - 1) + [0.0] * 6)):
        with pytest.raises(ValueError, match="n_clusters=4"):
            refused()

    assert state_digest(model) == before


def test_fewer_distinct_rows_than_clusters():
    """With fewer distinct rows than clusters a fit warns, as scikit-learn's does; inertia is 0, and rows may go."""
    X = np.repeat([[0.0, 1.0], [5.0, 5.0]], 6, axis=0)

    with pytest.warns(ConvergenceWarning, match="2 of 4 clusters"):
        model = KMeans(4, random_state=0).fit(X)

    assert model.inertia_ == 0.0
    model.partial_forget([0, 1, 2, 3, 4, 5])
    assert state_digest(model) == state_digest(reference_fit(model))
    assert (model.cluster_centers_ == [5.0, 5.0]).all()


def test_given_start_leaves_no_room_for_runs():
    """As scikit-learn, a fit that is given its start warns that `n_init` has no effect."""
    X, k = blobs()

    with pytest.warns(RuntimeWarning, match="one run"):
        model = KMeans(k, init=X[:k], n_init=3).fit(X)

    assert_is_the_oracles(model)


def test_warning_as_an_error_leaves_the_model_as_it_was():
    """Under warnings as errors, a fit that warns changes nothing."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)
    before = state_digest(model)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            model.fit(np.zeros((9, 4)))

    assert state_digest(model) == before


def test_rows_of_weight_zero_get_labels():
    """A row of weight 0 changes no centre, and has the label that `predict` gives it."""
    X, k = blobs()
    weight = np.ones(len(X))
    weight[::5] = 0.0
    model = KMeans(k, random_state=0).fit(X, sample_weight=weight)

    counted = KMeans(k, random_state=0).fit(X[weight > 0], sample_ids=np.flatnonzero(weight))

    assert model.cluster_centers_.tobytes() == counted.cluster_centers_.tobytes()
    assert model.labels_.tolist() == model.predict(X).tolist()
    model.partial_forget([0, 1, 5])
    assert model.labels_.tolist() == model.predict(np.delete(X, [0, 1, 5], axis=0)).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda X: KMeans(2).fit(np.vstack([X, X[:1] + 2.0**401])), "4 of 604 values of X are larger"),
        (lambda X: KMeans(2).fit(X, sample_weight=np.full(len(X), 1e61)), "150 of 150 weights are larger"),
        (lambda X: KMeans(2, init=X[:3]).fit(X), "one center a cluster"),
        (lambda X: KMeans(2, init=X[:2, :3]).fit(X), "one center a cluster"),
        (lambda X: KMeans(2, init=lambda X, k, random_state: X[:3]).fit(X), "one center a cluster"),
        (lambda X: KMeans(2, init=lambda X, k, random_state: X[:2], algorithm="coreset").fit(X), "init is a function"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    """Values whose squares are infinite, and starts of another shape, are refused at fit."""
    with pytest.raises(ValueError, match=message):
        make(blobs()[0])


# --- scikit-learn ----------------------------------------------------------------------------------------------------


def shared_table(name):
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not (folder / f"{name}.parquet").exists():
        pytest.skip(f"{name}.parquet is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X = module.load(name)[0].select_dtypes("number").astype(np.float64)
    X = X[X.notna().all(axis=1)].to_numpy()[:20_000]
    spread = X.std(axis=0)
    return (X[:, spread > 0] - X[:, spread > 0].mean(axis=0)) / spread[spread > 0]


def assert_as_scikit_learn(ours, theirs, X):
    """The same run; or else the first labels that differ are of rows as near to one centre as to another."""
    if (ours.labels_ == theirs.labels_).all():
        assert ours.n_iter_ == theirs.n_iter_
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
        np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-7, atol=1e-9)
        return
    gaps = np.sort(np.sqrt([oracle.distances(X, centre) for centre in ours.init]), axis=0)
    if (gaps[1] - gaps[0] <= 1e-9 * gaps[1]).any():  # rows, such as repeated ones, that lie between two starts
        return
    for n_iter in range(1, ours.n_iter_ + 1):
        ours, theirs = (clone(model).set_params(max_iter=n_iter, tol=0).fit(X) for model in (ours, theirs))
        differing = ours.labels_ != theirs.labels_
        if differing.any():
            gaps = np.sort(ours.transform(X[differing]), axis=1)
            assert (gaps[:, 1] - gaps[:, 0] <= 1e-9 * gaps[:, 1]).all(), "a label differs where centres are not as near"
            return


SHARED = [
    "adult",
    "bank_marketing",
    "diabetes130",
    "fertility254k",
    "flchain",
    "higgs_7500",
    "lending_club",
    "mpls_stops",
    "online_shoppers",
    "bike_hour",
    "california_housing",
    "ccpp",
    "covtype_15k",
    "letter",
    "satellite",
    "kddcup99_10pct",
    "nycflights13",
]


@pytest.mark.parametrize("name", SHARED)
def test_shared_tables_as_scikit_learn(name):
    """From the centres at which scikit-learn starts, the run is its run: iterations, labels, inertia at rtol 1e-9."""
    X = shared_table(name)
    start, _ = kmeans_plusplus(X, 8, random_state=0)
    going = np.random.default_rng(0).permutation(len(X))[: len(X) // 50]

    ours = KMeans(init=start, algorithm="lloyd").fit(X)
    assert_as_scikit_learn(ours, sklearn.cluster.KMeans(init=start, n_init=1).fit(X), X)
    ours.partial_forget(going)

    left = np.delete(X, going, axis=0)
    assert_as_scikit_learn(ours, sklearn.cluster.KMeans(init=start, n_init=1).fit(left), left)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("weighted", [False, True])
def test_digits_as_scikit_learn(form, weighted):
    """On digits, sparse or dense, weighted or not, the run is scikit-learn's; in float32 to its rounding."""
    X = load_digits().data
    start, _ = kmeans_plusplus(X, 10, random_state=0)
    weight = np.random.default_rng(0).random(len(X)) if weighted else None

    ours = KMeans(10, init=start).fit(FORMS[form](X), sample_weight=weight)
    theirs = sklearn.cluster.KMeans(10, init=start, n_init=1).fit(FORMS[form](X), sample_weight=weight)

    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype
    assert ours.labels_.dtype == theirs.labels_.dtype
    if "float32" in form:
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-4)
    else:
        assert_as_scikit_learn(ours, theirs, X)


@pytest.mark.parametrize("form", FORMS)
def test_release_is_scikit_learns_own_class(form):
    """A release has the model's attributes bit for bit, and answers like it."""
    X, k = blobs()
    X = FORMS[form](X)
    model = KMeans(k, random_state=0).fit(X).partial_forget([1, 2])

    released = pickle.loads(pickle.dumps(model.release()))

    assert type(released) is sklearn.cluster.KMeans
    for name in ("cluster_centers_", "labels_"):
        assert getattr(released, name).tobytes() == getattr(model, name).tobytes()
        assert getattr(released, name).dtype == getattr(model, name).dtype
    assert (released.inertia_, released.n_iter_) == (model.inertia_, model.n_iter_)
    assert released.predict(X).tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(released.transform(X), model.transform(X), rtol=1e-4 if "float32" in form else 1e-9)
    np.testing.assert_allclose(released.score(X), model.score(X), rtol=1e-5)
    assert released.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()


def test_parameters_are_scikit_learns():
    """Names, order and defaults are scikit-learn's but for algorithm="auto"; what is added comes after them."""
    ours, theirs = KMeans().get_params(), sklearn.cluster.KMeans().get_params()

    assert set(ours) - set(theirs) == {"coreset_size", "full_passes"}
    assert {name for name in theirs if ours[name] != theirs[name]} == {"algorithm"}


def test_transform_and_predict_agree_with_labels():
    """`predict` on the live rows is `labels_`; `transform` is least there; fit_predict and fit_transform are these."""
    X, k = heavy_tails()
    model = KMeans(k, random_state=0).fit(X)

    assert model.predict(X).tolist() == model.labels_.tolist()
    assert model.transform(X).argmin(axis=1).tolist() == model.labels_.tolist()
    assert KMeans(k, random_state=0).fit_predict(X).tolist() == model.labels_.tolist()
    assert KMeans(k, random_state=0).fit_transform(X).tobytes() == model.transform(X).tobytes()
    np.testing.assert_allclose(-model.score(X), model.inertia_, rtol=1e-9)


def test_mixed_dtypes_at_predict():
    """float64 rows are not rounded to the float32 of the centres, nor float32 rows compared with rounded centres."""
    X, k = digits()
    narrow, wide = KMeans(k, random_state=0).fit(X.astype(np.float32)), KMeans(k, random_state=0).fit(X)

    for model in (narrow, wide):
        centres = model.cluster_centers_.astype(np.float64)
        for asked in (X + 1e-12, X.astype(np.float32), sp.csr_array(X)):
            dense = asked.toarray() if sp.issparse(asked) else np.asarray(asked)
            assert model.predict(asked).tolist() == oracle.nearest(dense.astype(np.float64), centres).tolist()


# --- an adversary who chooses ids ------------------------------------------------------------------------------------


def ground_ids(key, n, n_tried=40_000):
    """Return ids that win the race for the start under a key that is known."""
    tried = np.arange(10**6, 10**6 + n_tried)
    draw = oracle.seeding_draw(key, 0, 0)
    words = [oracle.row_word(draw, (int(high) << 64) | int(low)) for low, high in row_tags(key, tried)]
    return tried[np.argsort(words)[-n:]]


def test_ground_ids_spoil_a_public_key_and_no_secret_one():
    """Whoever adds a few ordinary rows under ids of their choice decides where a run starts, if the key is public.

    Ten of 2000 rows, all of one cluster, are then all the random starts there are, and the loss is several times that
    of honest ids. Under a secret key the same ids do nothing.
    """
    rng = np.random.default_rng(0)
    clusters = np.r_[np.repeat(np.arange(8), 249), np.zeros(10, dtype=int)]
    X = rng.normal(size=(len(clusters), 2)) + 20.0 * np.c_[np.cos(clusters), np.sin(clusters)]
    public, secret = key_from_random_state(0), Key(SECRETS[0])
    ids = {"honest": np.arange(len(X)), "ground": np.r_[np.arange(len(X) - 10), ground_ids(public._secret, 10)]}

    def loss(random_state, which):
        model = KMeans(8, init="random", n_init=1, random_state=random_state).fit(X, sample_ids=ids[which])
        return model.inertia_ / len(X)

    assert loss(0, "ground") > 3 * loss(0, "honest")
    assert loss(secret, "ground") < 1.5 * loss(secret, "honest")


# --- a start that a function gives -----------------------------------------------------------------------------------


def scattered(X, n_clusters, random_state):
    """Start at rows that are drawn from the generator."""
    return X[random_state.permutation(X.shape[0])[:n_clusters]]


@pytest.mark.parametrize("form", FORMS)
def test_function_as_init_sees_rows_in_an_order_of_their_own(form):
    """A function sees the rows in the order of their tags, so neither order of insertion nor history shows."""
    X, k = blobs()
    X = FORMS[form](X)
    model = KMeans(k, init=scattered, n_init=3, random_state=0).fit(X)
    model.partial_forget([4, 9]).partial_fit(X[[9]], sample_ids=[9])

    left = np.delete(np.arange(X.shape[0]), 4)[::-1]
    fresh = KMeans(k, init=scattered, n_init=3, random_state=0).fit(X[left], sample_ids=left)

    assert state_digest(model) == state_digest(fresh)
    assert model.cluster_centers_.tobytes() == fresh.cluster_centers_.tobytes()
    assert "init returns the same" in model.guarantee_.basis
    assert "a refit" in can_forget(model).steps[0].cost


def test_function_as_init_may_return_a_view():
    """What a function returns is copied before its rows are wiped."""
    X, k = blobs()

    views = KMeans(k, init=lambda X, k, random_state: X[:k], n_init=1, random_state=0).fit(X)
    copies = KMeans(k, init=lambda X, k, random_state: X[:k].copy(), n_init=1, random_state=0).fit(X)

    assert views.cluster_centers_.tobytes() == copies.cluster_centers_.tobytes()
    assert len(np.unique(views.labels_)) == k


def test_function_as_init_is_called_at_the_next_read():
    """A deletion alone does not call the function; the next read does, once a run, and not for fewer rows than k."""
    calls = []

    def counted(X, n_clusters, random_state):
        calls.append(len(X))
        return X[:n_clusters]

    X, k = blobs()
    model = KMeans(k, init=counted, n_init=2, random_state=0).fit(X)
    assert calls == [len(X)] * 2
    model.partial_forget([0])
    model.partial_forget([1])
    assert calls == [len(X)] * 2
    assert model.forget_report_.path == "rebuild"
    assert len(model.cluster_centers_) == k
    assert calls[2:] == [len(X) - 2] * 2
    model.partial_forget(np.arange(2, len(X) - 1))
    with pytest.raises(DegenerateRowsError):
        model.predict(X)
    assert len(calls) == 4


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_labels_are_computed_when_they_are_read():
    """Publishing a version does not pass over the rows: labels come at the first read of `labels_`, and stay."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)
    model.partial_forget([0])
    model.predict(X)

    assert model._live.published.labels_ is None
    first = model.labels_
    assert model.labels_ is first
    assert not first.flags.writeable


def test_report_says_how_far_a_deletion_went():
    """A deletion that the stored iterations take up says so, in counts; one that a fit must follow is a "rebuild"."""
    X, k = blobs()
    model = KMeans(k, random_state=0).fit(X)

    reports = [model.partial_forget([row]).forget_report_ for row in range(30)]

    assert {report.path for report in reports} <= {"propagate", "reseed", "rebuild"}
    assert sum(report.path == "propagate" for report in reports) > 15
    assert all(set(report.work) == {"rows_examined", "labels_changed"} for report in reports)
    loaded = pickle.loads(pickle.dumps(model)).partial_forget([40])
    assert loaded.forget_report_.path == "rebuild"


def test_memory_is_estimated():
    """The estimate covers the rows, and the engine within a factor of a few; tags are part of the index."""
    X = np.random.default_rng(0).normal(size=(20_000, 8))
    model = KMeans(8, random_state=0).fit(X)

    estimate = model.estimate_memory(X)

    assert estimate.rows >= X.nbytes
    assert estimate.index >= 20 * len(X)
    assert estimate.core / 8 < model._live.core.nbytes() < 8 * estimate.core


def test_damaged_parameters_do_not_load():
    """Saved parameters that no fit accepts, such as a start of another shape, are damage."""
    X, k = blobs()
    state = KMeans(k, init=X[:k]).fit(X).__getstate__()
    state["_live"]["params"]["init"] = X[: k - 1]

    with pytest.raises(DamagedStateError, match="one center a cluster"):
        KMeans().__setstate__(state)
