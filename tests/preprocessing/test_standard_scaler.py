"""`StandardScaler`: exact statistics, the lattice that they are published on, and scikit-learn's answers to rounding."""

import copy
import importlib.util
import os
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.preprocessing

from skunlearn import Key, reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.preprocessing import StandardScaler


def table(n=300, seed=0):
    """Columns of different sizes: normal, shifted, 0 or 1, constant, heavy-tailed."""
    rng = np.random.default_rng(seed)
    columns = [rng.normal(size=n), 1e6 + rng.normal(size=n), rng.random(n) < 0.3, np.full(n, 7.0), rng.pareto(2.0, n)]
    return np.column_stack(columns)


def with_gaps(X, seed=1):
    X = X.copy()
    X[np.random.default_rng(seed).random(X.shape) < 0.2] = np.nan
    return X


def assert_statistics_like(ours, theirs, rtol=1e-9):
    names = ["mean_", "var_", "scale_"]
    if theirs.mean_ is not None:  # else scikit-learn ignores the weights
        names.append("n_samples_seen_")
    for name in names:
        got, want = getattr(ours, name), getattr(theirs, name)
        assert (got is None) == (want is None), name
        if got is not None:
            np.testing.assert_allclose(got, want, rtol=rtol, atol=1e-12, err_msg=name)
            assert np.shape(got) == np.shape(want), name


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("with_std", [False, True])
def test_exact_statistics_as_scikit_learn(with_mean, with_std, gaps, weighted):
    """With exact_statistics=True attributes and transforms are scikit-learn's to the rounding of its sums."""
    X = with_gaps(table()) if gaps else table()
    weight = np.random.default_rng(2).random(len(X)) * 3 if weighted else None
    params = {"with_mean": with_mean, "with_std": with_std}
    kept = np.flatnonzero(np.arange(len(X)) % 3)

    ours = StandardScaler(exact_statistics=True, **params).fit(X, sample_weight=weight)
    ours.partial_forget(range(0, len(X), 3))

    left = None if weight is None else weight[kept]
    with np.errstate(invalid="ignore"):
        theirs = sklearn.preprocessing.StandardScaler(**params).fit(X[kept], sample_weight=left)
    assert_statistics_like(ours, theirs)
    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-9, atol=1e-9)
    assert ours.release().transform(X).tobytes() == ours.transform(X).tobytes()
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(X)), X, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("with_std", [False, True])
def test_sparse_as_scikit_learn(with_std):
    """Sparse rows are scaled as dense ones, in the same bits, and cannot be centred."""
    X = table() * (np.random.default_rng(3).random((300, 5)) < 0.3)
    rows = sp.csr_array(X)
    ours = StandardScaler(exact_statistics=True, with_mean=False, with_std=with_std).fit(rows)
    theirs = sklearn.preprocessing.StandardScaler(with_mean=False, with_std=with_std).fit(rows)
    if with_std:
        assert_statistics_like(ours, theirs)
    np.testing.assert_allclose(ours.transform(rows).toarray(), theirs.transform(rows).toarray(), rtol=1e-9)
    assert (ours.transform(rows).toarray() == ours.transform(X)).all()
    np.testing.assert_allclose(ours.inverse_transform(ours.transform(rows)).toarray(), X, rtol=1e-12)
    for refused in (lambda: StandardScaler().fit(rows), lambda: StandardScaler().fit(X).transform(rows)):
        with pytest.raises(ValueError, match="Cannot center sparse matrices"):
            refused()


@pytest.mark.parametrize("gaps", [False, True])
def test_exact_mean_and_variance_are_the_nearest_float64(gaps):
    """exact_mean_ and exact_var_ are the rational moments of the values that are there, rounded once."""
    rng = np.random.default_rng(0)
    X = rng.integers(-1000, 1000, (50, 3)) / 8.0  # the engine rounds none of them
    X = with_gaps(X) if gaps else X
    for model in (StandardScaler().fit(X), StandardScaler(exact_statistics=True).fit(X)):
        for j in range(3):
            values = [Fraction(v) for v in X[~np.isnan(X[:, j]), j].tolist()]
            mean = sum(values) / len(values)
            assert model.exact_mean_[j] == float(mean)
            assert model.exact_var_[j] == float(sum((v - mean) ** 2 for v in values) / len(values))


def test_lattice_is_that_of_the_definition():
    """A scale is 2^((k + u2)/4) and a mean a multiple of half of it, at a phase; both next to the true ones."""
    X = table()[:, [0, 1, 2, 4]]
    model = StandardScaler(random_state=3).fit(X)
    other = StandardScaler(random_state=3).fit(X * 2.0**40 + 0.0)

    s = np.sqrt(model.exact_var_)
    assert (np.abs(np.log2(model.scale_ / s)) <= 0.125 + 1e-12).all()
    assert (np.abs(model.mean_ - model.exact_mean_) <= model.scale_ / 4 * (1 + 1e-12)).all()
    steps = 4 * np.log2(other.scale_ / model.scale_)  # equal phases: whole steps apart
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-9)
    assert (model.var_ == model.scale_**2).all()


def test_published_values_stay_within_a_cell():
    """Most deletions change nothing that is published; the exact statistics, and the digest, do change."""
    X = np.random.default_rng(0).normal(size=(2000, 3))
    model = StandardScaler(random_state=0).fit(X)
    scale, digest = model.scale_, state_digest(model)
    n_changes = 0
    for i in range(300):
        before = model.mean_.tobytes() + model.scale_.tobytes()
        model.partial_forget([i])
        n_changes += before != model.mean_.tobytes() + model.scale_.tobytes()
    # 7.8 d/n a deletion bounds what is expected; changes are bursty, so this is no sharp test.
    assert n_changes <= 30
    assert (np.abs(np.log2(model.scale_ / scale)) <= 0.25 + 1e-12).all()
    assert state_digest(model) != digest
    assert state_digest(model) == state_digest(reference_fit(model))


def test_the_key_places_the_lattice():
    """One key gives one scaler, whatever the order of rows; another key another, and so does reseed()."""
    X = table()
    order = np.random.default_rng(1).permutation(len(X))
    one = StandardScaler(random_state=Key(bytes(32))).fit(X)
    same = StandardScaler(random_state=Key(bytes(32))).fit(X[order])
    other = StandardScaler(random_state=Key(bytes(31) + b"\1")).fit(X)
    assert one.mean_.tobytes() + one.scale_.tobytes() == same.mean_.tobytes() + same.scale_.tobytes()
    assert (one.scale_ != other.scale_)[[0, 1, 2, 4]].all()
    assert (one.exact_mean_ == other.exact_mean_).all()
    before = one.scale_
    assert (one.reseed().scale_ != before).any()
    drawn = StandardScaler().fit(X)
    assert (pickle.loads(pickle.dumps(drawn)).scale_ == drawn.scale_).all()


@pytest.mark.parametrize("exact_statistics", [False, True])
def test_constant_columns(exact_statistics):
    """A column without variance keeps its own mean and the scale 1, also where weights round."""
    X = np.column_stack([np.full(50, 0.1), np.arange(50.0)])
    for weight in (None, np.random.default_rng(0).random(50)):
        model = StandardScaler(exact_statistics=exact_statistics).fit(X, sample_weight=weight)
        assert model.scale_[0] == 1.0
        assert model.var_[0] == model.exact_var_[0] == 0.0
        np.testing.assert_allclose(model.mean_[0], 0.1, rtol=1e-15)
        assert model.scale_[1] > 10


@pytest.mark.parametrize("exact_statistics", [False, True])
def test_a_column_may_lose_its_last_value(exact_statistics):
    """All-missing columns have statistics NaN, as in a refit; values that come back restore them."""
    X = np.array([[1.0, np.nan], [2.0, 5.0], [4.0, np.nan], [np.nan, 9.0]])
    base = StandardScaler(exact_statistics=exact_statistics, random_state=0).fit(X)
    model = copy.deepcopy(base).partial_forget([1, 3])
    assert np.isnan(model.mean_).tolist() == [False, True]
    assert model.n_samples_seen_.tolist() == [2, 0]
    fresh = StandardScaler(exact_statistics=exact_statistics, random_state=0).fit(X[[0, 2]])
    assert model.mean_.tobytes() == fresh.mean_.tobytes()
    model.partial_fit(X[[1, 3]], sample_ids=[1, 3])
    assert model.mean_.tobytes() == base.mean_.tobytes()
    assert model.n_samples_seen_.tolist() == [3, 2]


def test_values_of_all_sizes():
    """Variances may overflow, scales do not: they come from the exact sums."""
    X = np.array([[1e300, 1e-300], [-1e300, -1e-300], [3e299, 5e-301]])
    for exact_statistics in (False, True):
        model = StandardScaler(exact_statistics=exact_statistics, random_state=0).fit(X)
        assert np.isposinf(model.exact_var_[0]) or not exact_statistics
        assert np.isfinite(model.transform(X)).all()
        assert (np.abs(model.transform(X)) < 3).all()


def test_no_row_left():
    """An emptied scaler keeps its columns, raises at reading, and learns again."""
    X = table()
    model = StandardScaler(random_state=0).fit(X)
    digest = state_digest(model)
    model.partial_forget(range(len(X)))
    for read in (lambda: model.transform(X), lambda: model.mean_, model.release, lambda: model.inverse_transform(X)):
        with pytest.raises(DegenerateRowsError, match="no statistics to scale by"):
            read()
    assert model.n_features_in_ == 5
    model.partial_fit(X, sample_ids=np.arange(len(X)))
    assert state_digest(model) == digest


def test_transformer_interface():
    """fit_transform takes ids, names come out as they went in, dtype is kept, and copy=False works in place."""
    pd = pytest.importorskip("pandas")
    X = table()
    model = StandardScaler(random_state=0)
    out = model.fit_transform(X, sample_ids=np.arange(len(X)) + 10)
    assert (out == model.transform(X)).all()
    assert model.partial_forget([10]).n_live_ == len(X) - 1
    assert model.transform(X.astype(np.float32)).dtype == np.float32
    frame = pd.DataFrame(X, columns=list("abcde"))
    named = StandardScaler(random_state=0).set_output(transform="pandas").fit(frame)
    assert named.get_feature_names_out().tolist() == list("abcde")
    assert named.transform(frame).columns.tolist() == list("abcde")
    Y = X.copy()
    assert model.transform(Y, copy=False) is Y
    assert (Y != X).any()


@pytest.mark.parametrize("name", ["california_housing", "ccpp"])
def test_shared_tables_as_scikit_learn(name):
    """On real tables exact statistics are scikit-learn's at rtol 1e-9, and the lattice is next to them."""
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not (folder / f"{name}.parquet").exists():
        pytest.skip(f"{name}.parquet is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X = module.load(name)[0].select_dtypes("number").astype(np.float64).to_numpy()
    theirs = sklearn.preprocessing.StandardScaler().fit(X)
    assert_statistics_like(StandardScaler(exact_statistics=True).fit(X), theirs)
    model = StandardScaler(random_state=0).fit(X)
    assert (np.abs(np.log2(model.scale_ / theirs.scale_)) <= 0.125 + 1e-9).all()
    assert (np.abs(model.mean_ - theirs.mean_) <= model.scale_ * (0.25 + 1e-9)).all()


def test_reader_sees_one_version_beside_a_fit():
    """A fit under other parameters, while another thread transforms, changes nothing for the latter."""

    class Interrupted(StandardScaler):
        def _check_X(self, estimator, X, **options):
            checked = super()._check_X(estimator, X, **options)
            if not options["reset"] and self.with_mean:
                self.set_params(with_mean=False, with_std=False).fit([[5.0], [6.0]])
            return checked

    rows = [[1.0], [3.0]]
    expected = StandardScaler(random_state=0).fit(rows).transform(rows)
    assert (Interrupted(random_state=0).fit(rows).transform(rows) == expected).all()
