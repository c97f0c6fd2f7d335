"""`GaussianNB`: means and variances rounded once from exact sums, and scikit-learn's answers to rounding."""

import copy
import importlib.util
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.naive_bayes
from sklearn.datasets import load_digits, load_iris

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import ClassVanishedWarning, DegenerateRowsError
from skunlearn.naive_bayes import GaussianNB

ATTRIBUTES = ("class_count_", "class_prior_", "theta_", "var_", "epsilon_")


def numbers(n=60, d=4, seed=0):
    """Rows of integers in floats, of three classes, so that the engine rounds nothing."""
    rng = np.random.default_rng(seed)
    return rng.integers(-1000, 1000, (n, d)) / 8.0, rng.integers(0, 3, n)


def shared_table(name):
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not any(folder.glob(f"{name}.*")):
        pytest.skip(f"{name} is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    spec = importlib.util.spec_from_file_location("_load", folder / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    X, y, _ = module.load(name)
    return X.select_dtypes("number").astype(np.float64).to_numpy(), np.asarray(y)


def moments(rows):
    """Mean and variance of each column, in rational numbers."""
    columns = [[Fraction(v) for v in column] for column in rows.T.tolist()]
    means = [sum(column) / len(column) for column in columns]
    return means, [sum((v - m) ** 2 for v in column) / len(column) for column, m in zip(columns, means, strict=True)]


def test_published_are_the_float64_nearest_to_the_rational_moments():
    """theta_ is the exact mean rounded once; var_ is the exact variance rounded once, plus epsilon_."""
    X, y = numbers()

    model = GaussianNB(var_smoothing=1e-3).fit(X, y).partial_forget([0, 3, 50])

    kept = np.setdiff1d(np.arange(len(X)), [0, 3, 50])
    assert model.epsilon_ == 1e-3 * max(map(float, moments(X[kept])[1]))
    for c in range(3):
        means, variances = moments(X[kept][y[kept] == c])
        assert model.theta_[c].tolist() == [float(m) for m in means]
        assert model.var_[c].tolist() == [float(v) + model.epsilon_ for v in variances]


def test_nothing_cancels():
    """A spread of 1 about 1e9 keeps all its digits, where the difference of rounded sums would keep none."""
    rng = np.random.default_rng(0)
    X, y = 1e9 + rng.normal(size=(200, 2)), rng.integers(0, 2, 200)

    model = GaussianNB(var_smoothing=0).fit(X, y)

    for c in range(2):
        np.testing.assert_allclose(model.var_[c], [float(v) for v in moments(X[y == c])[1]], rtol=1e-6)


@pytest.mark.parametrize("params", [{}, {"var_smoothing": 0.1, "priors": [0.2, 0.3, 0.5]}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_as_scikit_learn(params, dtype):
    """Attributes and probabilities are scikit-learn's, of which the release is one."""
    X, y = load_iris(return_X_y=True)
    # scikit-learn computes in the dtype of X.
    rtol = 1e-9 if dtype == np.float64 else 1e-3

    ours = GaussianNB(**params).fit(X.astype(dtype), y)
    theirs = sklearn.naive_bayes.GaussianNB(**params).fit(X.astype(dtype), y)

    for name in ATTRIBUTES:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=rtol)
        assert np.array_equal(getattr(ours.release(), name), getattr(ours, name))
    np.testing.assert_allclose(ours.predict_joint_log_proba(X), theirs.predict_joint_log_proba(X), rtol=rtol)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=10 * rtol, atol=rtol)
    assert (ours.predict(X) == theirs.predict(X)).all()
    np.testing.assert_allclose(ours.release().predict_proba(X), ours.predict_proba(X), rtol=1e-9, atol=1e-12)


def test_weights_as_scikit_learn():
    """Weighted means and variances are scikit-learn's; epsilon_ is not, which ignores the weights there."""
    X, y = load_digits(return_X_y=True)
    weight = np.random.default_rng(0).random(len(X)) * 3
    ours = GaussianNB(var_smoothing=0).fit(X[:, [20, 21, 28]], y, weight)
    theirs = sklearn.naive_bayes.GaussianNB(var_smoothing=0).fit(X[:, [20, 21, 28]], y, weight)
    for name in ATTRIBUTES[:4]:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("name", ["letter", "satellite", "covtype_15k"])
def test_shared_tables_as_scikit_learn(name):
    """On real tables probabilities are scikit-learn's at rtol 1e-9, before and after a deletion."""
    X, y = shared_table(name)
    going = np.random.default_rng(0).permutation(len(X))[: len(X) // 10]
    ours = GaussianNB().fit(X, y)

    for kept in (np.arange(len(X)), np.setdiff1d(np.arange(len(X)), going)):
        if len(kept) < len(X):
            ours.partial_forget(going)
        theirs = sklearn.naive_bayes.GaussianNB().fit(X[kept], y[kept])
        np.testing.assert_allclose(ours.theta_, theirs.theta_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.var_, theirs.var_, rtol=1e-9)
        np.testing.assert_allclose(ours.predict_proba(X[:500]), theirs.predict_proba(X[:500]), rtol=1e-7, atol=1e-12)


def test_sparse_rows_are_refused():
    """As by scikit-learn's, before anything changes."""
    X, y = numbers()
    model = GaussianNB().fit(X, y)
    before = state_digest(model)
    for call in (lambda: model.fit(sp.csr_array(X), y), lambda: model.predict(sp.csr_array(X))):
        with pytest.raises(TypeError, match=r"[Ss]parse"):
            call()
    assert state_digest(model) == before


def test_scales_follow_the_live_rows():
    """A giant row coarsens the scale of its column while it is there, and leaves nothing behind."""
    X, y = numbers()
    base = GaussianNB().fit(X, y)
    giant = np.full((1, X.shape[1]), 1e18)

    model = copy.deepcopy(base).partial_fit(giant, y[:1], sample_ids=[1000])
    assert (model.theta_ != base.theta_).any()
    model.partial_forget([1000])

    assert state_digest(model) == state_digest(base)
    assert (model.theta_ == base.theta_).all()
    assert (model.var_ == base.var_).all()


@pytest.mark.parametrize(
    ("X", "params", "says"),
    [
        ([[1.0], [1.0], [1.0]], {}, "3 of 3 variances|2 of 2 variances"),
        ([[1.0], [1.0], [2.0]], {"var_smoothing": 0}, "variances of this GaussianNB are 0"),
        ([[1e300], [-1e300], [2.0]], {}, "too large for float64"),
    ],
)
def test_no_density(X, params, says):
    """Where a variance is 0 or too large, means can be read, and predicting says what is missing."""
    model = GaussianNB(**params).fit(X, [0, 0, 1])
    assert model.theta_.shape == (2, 1)
    for read in (lambda: model.predict(X), lambda: model.predict_proba(X), model.release):
        with pytest.raises(DegenerateRowsError, match=says):
            read()


def test_class_that_goes_and_class_that_is_declared():
    """An undeclared class leaves with its last row; a declared one stays, at probability 0."""
    X, y = numbers()
    going = np.flatnonzero(y == 1)
    with pytest.warns(ClassVanishedWarning):
        gone = GaussianNB().fit(X, y).partial_forget(going)
    assert gone.classes_.tolist() == [0, 2]
    declared = GaussianNB(classes=[0, 1, 2], priors=[0.2, 0.3, 0.5]).fit(X, y).partial_forget(going)
    assert not declared.predict_proba(X)[:, 1].any()
    assert declared.class_prior_.tolist() == [0.2, 0.0, 0.5]
    assert state_digest(declared) == state_digest(reference_fit(declared))


def test_class_without_rows_has_a_density():
    """A declared class does not stop the others from predicting where nothing is added to variances."""
    X, y = numbers()
    declared = GaussianNB(classes=[-1, 0, 1, 2], var_smoothing=0).fit(X, y)
    undeclared = GaussianNB(var_smoothing=0).fit(X, y)

    assert (declared.predict_proba(X)[:, 1:] == undeclared.predict_proba(X)).all()
    with np.errstate(divide="ignore"):
        assert (declared.release().predict(X) == undeclared.predict(X)).all()


@pytest.mark.parametrize(
    ("priors", "says"),
    [([0.5, 0.5], "Number of priors must match"), ([0.5, 0.5, 0.5], "sum"), ([1.5, -0.25, -0.25], "non-negative")],
)
def test_priors_that_are_none(priors, says):
    """Priors that scikit-learn refuses are refused."""
    with pytest.raises(ValueError, match=says):
        GaussianNB(priors=priors).fit(*numbers())
