"""`skunlearn.linear_model`: the nearest float64 numbers to the optimum, and scikit-learn's answers to rounding."""

import copy
import importlib.util
import os
import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.datasets import load_diabetes

from skunlearn import reference_fit, state_digest
from skunlearn._linalg import _linear as kernels
from skunlearn.exceptions import DamagedStateError, DegenerateRowsError
from skunlearn.linear_model import LinearRegression, Ridge
from skunlearn.live import LiveModel

PAIRS = [(LinearRegression, sklearn.linear_model.LinearRegression), (Ridge, sklearn.linear_model.Ridge)]
both = pytest.mark.parametrize(("Ours", "Theirs"), PAIRS, ids=["LinearRegression", "Ridge"])
each = pytest.mark.parametrize("Ours", [LinearRegression, Ridge])
with_and_without_intercept = pytest.mark.parametrize("fit_intercept", [True, False])


def numbers(n=40, d=5, n_targets=2, seed=0):
    """Rows of float64 with 53 bits at work, and targets."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, d), rng.normal(size=(n, n_targets)), rng.random(n)


# --- against rational arithmetic -------------------------------------------------------------------------------------


def quantised(columns):
    """Round every column to multiples of 2**-53 of the power of two above its largest value."""
    shifts = 53 - np.frexp(np.abs(columns).max(axis=0))[1]
    return [
        [Fraction(int(np.rint(v))) / Fraction(2) ** int(s) for v, s in zip(row, shifts, strict=True)]
        for row in np.ldexp(columns, shifts)
    ]


def optimum(X, y, c, alpha, fit_intercept):
    """Solve the normal equations of the quantised, weighted rows in rational numbers; return coefficients, means."""
    d = X.shape[1]
    Z = quantised(np.column_stack([c, X * c[:, None], y * c]))
    if (c == 1).all():
        Z = [[Fraction(1), *row[1:]] for row in Z]
    gram = [[sum(row[i] * row[j] for row in Z) for j in range(d + 2)] for i in range(d + 2)]
    total = gram[0][0]
    if fit_intercept:
        gram = [[gram[i][j] - gram[0][i] * gram[0][j] / total for j in range(d + 2)] for i in range(d + 2)]
    table = [
        [gram[i][j] + (alpha if i == j else 0) for j in range(1, d + 1)] + [gram[i][d + 1]] for i in range(1, d + 1)
    ]
    for k in range(d):
        pivot = next(i for i in range(k, d) if table[i][k] != 0)
        table[k], table[pivot] = table[pivot], table[k]
        for i in range(d):
            if i != k:
                ratio = table[i][k] / table[k][k]
                table[i] = [a - ratio * b for a, b in zip(table[i], table[k], strict=True)]
    means = [sum(row[0] * row[j] for row in Z) / total for j in range(1, d + 2)]
    return [float(table[k][d] / table[k][k]) for k in range(d)], means


@with_and_without_intercept
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 0.1])
def test_published_are_the_float64_nearest_to_the_rational_optimum(fit_intercept, weighted, alpha):
    """coef_ is the exact optimum rounded once, and intercept_ is the exact rest of the means rounded once."""
    X, y, weight = numbers(n_targets=1)
    y = y[:, 0]

    model = Ridge(alpha=alpha, fit_intercept=fit_intercept).fit(X, y, weight if weighted else None)

    c = np.sqrt(weight) if weighted else np.ones(len(X))
    coef, means = optimum(X, y, c, Fraction(alpha), fit_intercept)
    assert model.coef_.tolist() == coef
    rest = means[-1] - sum(m * Fraction(w) for m, w in zip(means[:-1], coef, strict=True))
    assert model.intercept_ == (float(rest) if fit_intercept else 0.0)


def test_rows_in_wrong_units_leave_no_trace():
    """Ten rows 1e7 times too large come and go: the same bits as if they had never been there."""
    X, y, _ = numbers()
    model = Ridge().fit(X, y)
    before = state_digest(model), model.coef_.tobytes()

    model.partial_fit(1e7 * X[:10], y[:10], sample_ids=range(100, 110))
    between = model.coef_.tobytes()
    model.partial_forget(range(100, 110))

    assert between != before[1]
    assert (state_digest(model), model.coef_.tobytes()) == before


# --- against scikit-learn --------------------------------------------------------------------------------------------


def assert_like_sklearn(ours, theirs, X):
    """Shapes and types are the same, and values to rounding: the condition of these tables leaves 1e-9."""
    assert ours.coef_.shape == theirs.coef_.shape
    assert type(ours.intercept_) is type(theirs.intercept_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)
    got, want = ours.predict(X), theirs.predict(X)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


@both
@with_and_without_intercept
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("targets", ["one", "a column", "three"])
def test_diabetes_as_scikit_learn(Ours, Theirs, fit_intercept, weighted, targets):
    """On the bundled table every attribute is scikit-learn's at rtol 1e-9, in its shape."""
    X, y = load_diabetes(return_X_y=True)
    y = {"one": y, "a column": y[:, None], "three": np.column_stack([y, y**2, X[:, 2] - y])}[targets]
    weight = np.random.default_rng(0).random(len(y)) if weighted else None

    ours = Ours(fit_intercept=fit_intercept).fit(X, y, weight)

    assert_like_sklearn(ours, Theirs(fit_intercept=fit_intercept).fit(X, y, weight), X)
    released = ours.release()
    assert type(released) is Theirs
    assert released.coef_.tobytes() == ours.coef_.tobytes()
    np.testing.assert_allclose(released.predict(X), ours.predict(X), rtol=1e-12)


def shared_table(name):
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not (folder / f"{name}.parquet").exists():
        pytest.skip(f"{name}.parquet is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X, y, _ = module.load(name)
    X = X.select_dtypes("number").astype(np.float64)
    kept = X.notna().all(axis=1).to_numpy()
    return X.to_numpy()[kept], np.asarray(y, dtype=np.float64)[kept]


@both
@pytest.mark.parametrize("name", ["california_housing", "ccpp", "bike_hour"])
def test_shared_tables_as_scikit_learn(Ours, Theirs, name):
    """On standardised real tables coefficients are scikit-learn's at rtol 1e-9, before and after a deletion."""
    X, y = shared_table(name)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    going = np.random.default_rng(0).permutation(len(X))[: len(X) // 10]

    ours = Ours().fit(X, y)
    assert_like_sklearn(ours, Theirs().fit(X, y), X)
    ours.partial_forget(going)

    assert_like_sklearn(ours, Theirs().fit(np.delete(X, going, 0), np.delete(y, going, 0)), X)


def test_every_target_has_its_alpha():
    """An array of penalties is one model for each target."""
    X, y, _ = numbers(n_targets=3)
    alphas = [0.0, 2.0, 0.0]

    model = Ridge(alpha=alphas).fit(X, y)

    alone = [Ridge(alpha=a).fit(X, t) for a, t in zip(alphas, y.T, strict=True)]
    assert model.coef_.tobytes() == np.array([m.coef_ for m in alone]).tobytes()
    assert model.intercept_.tolist() == [m.intercept_ for m in alone]


def test_alpha_zero_is_linear_regression():
    """Ridge without a penalty publishes the bits of LinearRegression, and those of columns that depend, too."""
    X, y, _ = numbers()
    for table in (X, np.column_stack([X, X[:, 0] - X[:, 1]]).round(2)):
        want = LinearRegression().fit(table, y)
        assert Ridge(alpha=0).fit(table, y).coef_.tobytes() == want.coef_.tobytes()


def test_rank_counts_independent_columns_about_the_mean():
    """A constant and a repeated column add no rank, and take no part of what the others predict."""
    X, y, _ = numbers(d=3)
    wide = np.column_stack([X, X[:, 0], np.full(len(X), 7.0)])

    model = LinearRegression().fit(wide, y)

    assert model.rank_ == 3
    np.testing.assert_allclose(model.predict(wide), LinearRegression().fit(X, y).predict(X), rtol=1e-9)


def test_a_constant_column_has_no_coefficient_under_weights():
    """Products with roots of weights spread a constant column by rounding; that is no rank, whatever the weights."""
    X, y, weight = numbers(d=3)
    for constant in (0.1, 1e-3, 12345.678):
        wide = np.column_stack([X, np.full(len(X), constant)])
        for weights in (weight, weight**40, np.ones(len(X))):
            model = LinearRegression().fit(wide, y, weights)
            assert model.rank_ == 3
            assert model.coef_[:, 3].tolist() == [0.0, 0.0]
            assert model.coef_[:, :3].tobytes() == LinearRegression().fit(X, y, weights).coef_.tobytes()


# --- the parameters that have no effect, and what is refused -----------------------------------------------------------


def test_solver_has_no_effect():
    """Whatever the solver and its tolerance: the same bits."""
    X, y, _ = numbers()
    want = Ridge().fit(X, y).coef_.tobytes()
    for params in (
        {"solver": "sag", "tol": 0.5, "max_iter": 1},
        {"solver": "svd", "random_state": 3},
        {"copy_X": False},
    ):
        assert Ridge(**params).fit(X, y).coef_.tobytes() == want


@each
def test_positive_is_refused_with_its_reason(Ours):
    """positive=True is a ValueError at fit, and a model fitted before is unchanged."""
    X, y, _ = numbers()
    model = Ours().fit(X, y)
    before = state_digest(model)
    with pytest.raises(ValueError, match="positive=True"):
        model.set_params(positive=True).fit(X, y)
    assert state_digest(model) == before


@pytest.mark.parametrize("alpha", [[1.0, 2.0, 3.0], [1.0, -1.0], [1.0, np.inf], np.inf])
def test_bad_alphas_are_refused(alpha):
    """Too many, negative or infinite penalties are a ValueError."""
    X, y, _ = numbers()
    with pytest.raises(ValueError, match=r"alpha|penalties"):
        Ridge(alpha=alpha).fit(X, y)


@each
def test_bad_targets_change_nothing(Ours):
    """Targets of another shape, sparse, text or infinite are refused before anything changes, without their values."""
    X, y, _ = numbers()
    model = Ours().fit(X, y)
    before = state_digest(model), pickle.dumps(model)
    for bad in (
        y[:, 0],
        y[:, :1],
        np.column_stack([y, y]),
        np.full_like(y, np.inf),
        y[:-1],
        np.full(y.shape, "secret"),
    ):
        with pytest.raises(ValueError, match=r"y|samples") as caught:
            model.partial_fit(X, bad, sample_ids=range(100, 140))
        assert "secret" not in str(caught.value)
    with pytest.raises(TypeError, match="sparse"):
        model.partial_fit(X, sp.csr_array(y), sample_ids=range(100, 140))
    assert (state_digest(model), pickle.dumps(model)) == before


@each
def test_a_weight_that_makes_a_row_infinite_changes_nothing(Ours):
    """Such a row is refused before the commit, dense or sparse."""
    X, y, _ = numbers()
    X[0, 0] = 1e300
    for layout in (np.asarray, np.asfortranarray, sp.csr_array):
        model = Ours().fit(layout(X), y)
        before = state_digest(model)
        with pytest.raises(ValueError, match="1 of 40 rows are not finite"):
            model.partial_fit(layout(X), y, np.full(len(X), 1e300), sample_ids=range(100, 140))
        assert state_digest(model) == before


def test_coefficients_beyond_float64_are_an_error_where_they_are_read():
    """A model whose optimum has no float64 says so, and is back when the row that caused it is gone."""
    model = LinearRegression(fit_intercept=False).fit([[1.0]], [1.0])
    model.partial_forget([0]).partial_fit([[1e-280]], [1e300], sample_ids=[1])
    with pytest.raises(DegenerateRowsError, match="1 of 1 coefficients"):
        _ = model.coef_
    assert model.partial_forget([1]).partial_fit([[2.0]], [1.0], sample_ids=[2]).coef_.tolist() == [0.5]


# --- targets, saved and hashed -------------------------------------------------------------------------------------------


def test_digest_sees_targets_and_their_dimensions():
    """Another target, or the same in a column, is another model."""
    X, y, _ = numbers(n_targets=1)
    other = y.copy()
    other[3] += 1e-9
    assert len({state_digest(Ridge().fit(X, t)) for t in (y, y[:, 0], other)}) == 3


@each
@pytest.mark.parametrize("n_targets", [0, 1, 3])
def test_saved_models_keep_their_targets(Ours, n_targets):
    """Targets of one or two dimensions survive; the loaded model forgets on, and its bytes are those of a refit."""
    X, y, weight = numbers(n_targets=max(n_targets, 1))
    model = Ours().fit(X, y if n_targets else y[:, 0], weight).partial_forget([3, 4])

    loaded = pickle.loads(pickle.dumps(model))

    assert loaded.coef_.tobytes() == model.coef_.tobytes()
    assert loaded.coef_.shape == model.coef_.shape
    assert pickle.dumps(loaded) == pickle.dumps(reference_fit(model)) == pickle.dumps(copy.deepcopy(model))
    assert state_digest(loaded.partial_forget([9])) == state_digest(reference_fit(model.partial_forget([9])))


def test_a_saved_regressor_is_no_classifier():
    """The blob of a model of another kind of targets does not load."""
    from skunlearn.naive_bayes import BernoulliNB

    X, y, _ = numbers(n_targets=1)
    state = BernoulliNB().fit(X > 0, y[:, 0] > 0).__getstate__()["_live"]
    regressor = Ridge().fit(X, y).__getstate__()
    with pytest.raises(DamagedStateError, match="malformed header"):
        Ridge().__setstate__({**regressor, "_live": {**regressor["_live"], "blob": state["blob"]}})


def test_memory_is_estimated_with_all_targets():
    """The estimate of rows and sums is what they take: chunks of the store are allocated whole."""
    X, y, _ = numbers(n=3000, n_targets=3)
    model = Ridge().fit(X, y)
    estimate = Ridge().estimate_memory(X, n_targets=3)
    assert estimate.core == model._live.core.nbytes()
    native = model._live.rows.native
    assert estimate.rows + estimate.index == pytest.approx(native.nbytes, rel=0.1)
    assert estimate.rows > Ridge().estimate_memory(X).rows


# --- reading ----------------------------------------------------------------------------------------------------------------


@each
def test_reading_puts_off_and_flush_does(Ours, monkeypatch):
    """A deletion of the largest values leaves scales to be settled; flush settles, and then a read passes over no row."""
    X, y, _ = numbers()
    X[0] *= 100
    model = Ours().fit(X, y)
    model.partial_forget([0])
    assert not model._live.core.is_settled()

    model.flush()

    assert model._live.core.is_settled()
    want = reference_fit(model).coef_
    monkeypatch.setattr(LiveModel, "effective_blocks", None)
    assert model.coef_.tobytes() == want.tobytes()


@each
@pytest.mark.parametrize("after", [0, 1])
def test_an_interrupted_settling_is_made_good(Ours, after, monkeypatch):
    """Ctrl-C while scales are settled, in the first pass over the rows or after it: the next read starts afresh."""
    X, y, _ = numbers()
    X[0] *= 100
    model = Ours().fit(X, y).partial_forget([0])
    passes = LiveModel.effective_blocks

    def interrupted(live):
        if after:
            yield from passes(live)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LiveModel, "effective_blocks", interrupted)
        with pytest.raises(KeyboardInterrupt):
            state_digest(model)

    assert model._live.stale
    want = reference_fit(model)
    assert state_digest(model) == state_digest(want)
    assert model.coef_.tobytes() == want.coef_.tobytes()


@pytest.mark.parametrize("d", [1, 7, 8, 9, 16, 23])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_prediction_is_eight_lanes_joined_by_a_tree(d, dtype):
    """Dense, sparse, alone or in bulk: term j in lane j % 8, lanes joined (0+4)+(2+6) + (1+5)+(3+7)."""
    rng = np.random.default_rng(d)
    X = (rng.normal(size=(11, d)) * (rng.random((11, d)) < 0.7)).astype(dtype)
    coef, intercept = rng.normal(size=(3, d)), rng.normal(size=3)
    want = np.empty((11, 3))
    for i, t in np.ndindex(*want.shape):
        s = [0.0] * 8
        for j in range(d):
            s[j % 8] += float(X[i, j]) * coef[t, j]
        want[i, t] = intercept[t] + (((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])))

    dense, sparse, alone = np.empty((3, 11, 3))
    kernels.predict_dense(X, coef, intercept, dense)
    rows = sp.csr_array(X)
    kernels.predict_csr(rows.indptr.astype(np.int64), rows.indices, rows.data, coef, intercept, sparse)
    for i in range(11):
        kernels.predict_dense(X[i : i + 1], coef, intercept, alone[i : i + 1])

    assert dense.tobytes() == sparse.tobytes() == alone.tobytes() == want.tobytes()


@each
def test_layouts_and_dtypes_give_the_same_bits(Ours):
    """Equal values as float32, float64 or CSR: the same coefficients and predictions."""
    X, y, weight = numbers()
    X = X.astype(np.float32)
    X[X < 0] = 0
    models = [Ours().fit(rows, y, weight) for rows in (X, X.astype(np.float64), sp.csr_array(X))]
    assert len({m.coef_.tobytes() + m.intercept_.tobytes() + m.predict(X).tobytes() for m in models}) == 1
