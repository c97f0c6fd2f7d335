"""`KBinsDiscretizer`: scikit-learn's edges on the rows that are left."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import KBinsDiscretizer

pytestmark = [
    pytest.mark.filterwarnings("ignore:Bins whose width"),
    pytest.mark.filterwarnings("ignore:Feature . is constant"),
]

HAS_METHODS = "quantile_method" in sklearn.preprocessing.KBinsDiscretizer().get_params()


def table(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(size=n), rng.pareto(2, n), rng.integers(0, 4, n), np.full(n, 7.0)])


def theirs_of(params):
    known = sklearn.preprocessing.KBinsDiscretizer().get_params()
    return sklearn.preprocessing.KBinsDiscretizer(**{n: v for n, v in params.items() if n in known})


def assert_same_edges(ours, theirs):
    assert ours.n_bins_.tolist() == theirs.n_bins_.tolist()
    for got, want in zip(ours.bin_edges_, theirs.bin_edges_, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("encode", ["onehot", "onehot-dense", "ordinal"])
@pytest.mark.parametrize(
    "params",
    [
        {"quantile_method": "linear"},
        pytest.param({}, marks=pytest.mark.skipif(not HAS_METHODS, reason="This scikit-learn has one method alone.")),
        {"strategy": "uniform", "n_bins": [3, 4, 2, 9], "dtype": np.float32},
        {"strategy": "kmeans", "n_bins": [3, 8, 2, 9]},
    ],
)
def test_as_scikit_learn(params, encode, dtype):
    """Edges, transforms, their inverse and names are scikit-learn's, after rows have gone; so is a release."""
    if params.get("strategy") == "kmeans" and dtype is np.float32:
        pytest.skip("scikit-learn sums up float32 in float32, and its edges are others in the last places.")
    X = table().astype(dtype)
    kept = np.arange(len(X)) % 3 != 0
    params = {**params, "encode": encode}
    ours = KBinsDiscretizer(**params).fit(X).partial_forget(range(0, len(X), 3))
    theirs = theirs_of(params).fit(X[kept])
    if dtype is np.float64:
        assert_same_edges(ours, theirs)
    got, want, released = (model.transform(X) for model in (ours, theirs, ours.release()))
    assert type(got) is type(want)
    assert got.dtype == want.dtype
    if sp.issparse(got):
        got, want, released = got.toarray(), want.toarray(), released.toarray()
    assert (got == want).all()
    assert (got == released).all()
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(ours.inverse_transform(got), theirs.inverse_transform(got), rtol=1e-6)
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


@pytest.mark.parametrize(
    "params",
    [{"strategy": "uniform"}, {"quantile_method": "averaged_inverted_cdf"}, {"quantile_method": "inverted_cdf"}],
)
def test_weights_are_copies(params):
    """Weight k is k copies of a row, weight 0 none; with weights that are no integers edges are values or their means."""
    X = table()
    weight = np.random.default_rng(1).integers(0, 4, len(X)).astype(float)
    weighted = KBinsDiscretizer(**params).fit(X, sample_weight=weight).partial_forget(range(50))
    copied = KBinsDiscretizer(**params).fit(np.repeat(X[50:], weight[50:].astype(int), axis=0))
    for got, want in zip(weighted.bin_edges_, copied.bin_edges_, strict=True):
        assert got.tobytes() == want.tobytes()
    order = np.random.default_rng(2).permutation(len(X))
    weight = np.random.default_rng(3).random(len(X))
    one = KBinsDiscretizer(**params).fit(X, sample_weight=weight)
    other = KBinsDiscretizer(**params).fit(X[order], sample_weight=weight[order])
    assert one.transform_digest() == other.transform_digest()


def spread(kind, n, rng):
    values = {
        "outliers": lambda: rng.standard_cauchy(n),
        "bell": lambda: rng.normal(3, 2, n),
        "runs": lambda: np.concatenate([rng.normal(-900, 1, n // 2), rng.normal(50, 9, n - n // 2)]),
        "ties": lambda: rng.integers(0, 30, n).astype(float),
    }[kind]()
    return values[:, None]


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
@pytest.mark.parametrize("kind", ["bell", "runs", "ties"])
def test_clusters_of_a_column_are_scikit_learns(kind):
    """Edges are scikit-learn's, with and without weights."""
    rng = np.random.default_rng(0)
    for n_bins in (2, 5, 12):
        X = spread(kind, 200, rng)
        for weight in (None, rng.random(200) + 0.1):
            params = {"n_bins": n_bins, "strategy": "kmeans"}
            ours = KBinsDiscretizer(**params).fit(X, sample_weight=weight)
            assert_same_edges(ours, theirs_of(params).fit(X, sample_weight=weight))


def test_clusters_of_a_column_are_a_function_of_the_set():
    """In whatever order rows come and go, edges are those of a refit, bit for bit."""
    rng = np.random.default_rng(0)
    X = np.column_stack([spread(kind, 60, rng)[:, 0] for kind in ("outliers", "runs", "ties")])
    weight = rng.random(60)
    order = rng.permutation(60)
    model = KBinsDiscretizer(4, strategy="kmeans", random_state=0).fit(X, sample_weight=weight)
    shuffled = KBinsDiscretizer(4, strategy="kmeans", random_state=0)
    shuffled.fit(X[order], sample_weight=weight[order], sample_ids=order)
    for gone in (range(7), [30], range(40, 59)):
        assert state_digest(model.partial_forget(gone)) == state_digest(reference_fit(model))
        assert state_digest(model) == state_digest(shuffled.partial_forget(gone))
    model.partial_fit(X[:7], sample_weight=weight[:7], sample_ids=range(7))
    assert state_digest(model) == state_digest(reference_fit(model))


def test_uniform_bins_change_only_with_an_extreme():
    """Rows between the extremes come and go, and the map stays."""
    X = np.random.default_rng(0).normal(size=(200, 1))
    model = KBinsDiscretizer(strategy="uniform").fit(X)
    digest = model.transform_digest()
    middle = np.argsort(X[:, 0])[20:150]
    assert model.partial_forget(middle).transform_digest() == digest
    assert model.partial_forget([int(X.argmin())]).transform_digest() != digest


def test_quantiles_of_a_keyed_sample():
    """With more rows than `subsample`, rows outside of the sample change nothing."""
    X = np.random.default_rng(0).normal(size=(400, 2))
    model = KBinsDiscretizer(subsample=40, random_state=0).fit(X)
    n_changes = 0
    for i in range(60):
        digest = model.transform_digest()
        n_changes += model.partial_forget([i]).transform_digest() != digest
    assert 0 < n_changes < 20  # 6 are expected
    assert state_digest(model) == state_digest(reference_fit(model))


def test_refusals():
    """What cannot be exact, or is no number of bins, is refused, and says why."""
    X = table()
    for params, match in (
        ({"n_bins": [2, 2]}, "n_bins must be a scalar or array"),
        ({"n_bins": [2, 1, 2, 2]}, "invalid number of bins at indices 1"),
        ({"dtype": np.int64}, "must be np.float64, np.float32 or None"),
    ):
        with pytest.raises(ValueError, match=match):
            KBinsDiscretizer(**params).fit(X)
    with pytest.raises(ValueError, match="quantile_method should either be"):
        KBinsDiscretizer(quantile_method="linear").fit(X, sample_weight=np.arange(300.0))


def test_degenerate_sets():
    """Constant features have one bin and warn at `fit`; narrow bins go; without rows reading raises."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = KBinsDiscretizer(encode="ordinal").fit([[0.0, 1.0], [0.0, 2.0], [0.0, 2.0]])
    assert sorted(str(w.message).split(" ")[0] for w in caught) == ["Bins", "Feature"]
    assert model.n_bins_[0] == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.partial_forget([0])
        assert model.n_bins_.tolist() == [1, 1]
        assert model.transform([[5.0, 5.0]]).tolist() == [[0.0, 0.0]]
    assert KBinsDiscretizer(2).fit([[0.0], [1e-9]]).n_bins_.tolist() == [1]  # scikit-learn's fails
    with pytest.raises(DegenerateRowsError, match="no bins"):
        model.partial_forget([1, 2]).transform([[0.0, 0.0]])
