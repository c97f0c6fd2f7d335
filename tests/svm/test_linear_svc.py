"""`LinearSVC`: the optima on their lattice after every history, and scikit-learn's answers to a step."""

import sys
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.svm

from skunlearn import reference_fit, state_digest
from skunlearn._linalg.losses import SQUARED_HINGE
from skunlearn._linalg.optimum import LATTICE_LOG2
from skunlearn.exceptions import ClassVanishedWarning, DegenerateRowsError
from skunlearn.svm import LinearSVC

sys.path.insert(0, str(Path(__file__).parents[1] / "linalg"))
from loss_oracle import LossOracle, objective_of


def rows(n=80, d=4, n_classes=2, seed=0):
    """Rows of columns that differ in scale, labels that lean on them, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-1, 2, d)
    scores = X / np.abs(X).max(axis=0) @ rng.normal(size=(d, n_classes)) * 3 + rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y, rng.uniform(0.2, 3.0, n)


def steps_from(model, theirs, X):
    """Return how far scikit-learn's coefficients are from ours, in steps of the lattice; half a step is rounding."""
    exponents = np.frexp(np.abs(X).max(axis=0))[1]
    coef = np.ldexp(model.coef_ - theirs.coef_, exponents - LATTICE_LOG2)
    return max(np.abs(coef).max(), np.abs(model.intercept_ - theirs.intercept_).max() / 2.0**LATTICE_LOG2)


SETTINGS = [
    {},
    {"class_weight": "balanced"},
    {"class_weight": {0: 3.0, 1: 0.5}},
    {"fit_intercept": False},
    {"intercept_scaling": 10.0},
]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("params", SETTINGS, ids=str)
def test_coefficients_are_those_of_scikit_learn_to_a_step(params, n_classes):
    """The class weights of more than two classes included, which weigh a class in its own classifier alone."""
    X, y, weight = rows(200, n_classes=n_classes)
    model = LinearSVC(**params).fit(X, y, weight)
    theirs = sklearn.svm.LinearSVC(dual=False, tol=1e-10, max_iter=100_000, **params).fit(X, y, weight)
    # liblinear stops up to a step away, where its loss is higher than ours; the optimum in 60 digits is below.
    assert steps_from(model, theirs, X) < 1.5
    released = model.release()
    assert type(released) is sklearn.svm.LinearSVC
    assert released.coef_.tobytes() == model.coef_.tobytes()
    assert (released.predict(X) == model.predict(X)).all()
    np.testing.assert_allclose(released.decision_function(X), model.decision_function(X), rtol=1e-10, atol=1e-12)


def test_containers_agree():
    """Dense and sparse, float32 and float64 of the same values: the same coefficients; a row alone as in bulk."""
    X, y, _ = rows(n_classes=3)
    X = (X * (np.abs(X) > np.median(np.abs(X), axis=0))).astype(np.float32)
    models = [LinearSVC().fit(table, y) for table in (X, X.astype(float), sp.csr_array(X))]
    for model in models:
        assert model.coef_.tobytes() == models[0].coef_.tobytes()
        assert model.decision_function(sp.csr_array(X)).tobytes() == models[0].decision_function(X).tobytes()
        assert model.decision_function(X[7:8]).tobytes() == models[0].decision_function(X)[7:8].tobytes()


@pytest.mark.parametrize(("params", "n_classes"), [(SETTINGS[0], 2), (SETTINGS[1], 3), ({"classes": [0, 1, 2, 3]}, 3)])
def test_a_history_equals_a_refit_and_the_optimum_in_60_digits(params, n_classes):
    """Learning, forgetting and reading, alone and in batches; the optimum shares no code with ours."""
    X, y, _ = rows(70, 3, n_classes)
    rng = np.random.default_rng(1)
    live = list(range(50))
    model = LinearSVC(**params).fit(X[live], y[live], sample_ids=np.array(live))
    for step in range(16):
        going = rng.choice(live, int(rng.choice([1, 1, 4])), replace=False).tolist()
        gone = sorted(set(range(70)) - set(live))
        coming = rng.choice(gone, int(rng.choice([0, 1, 5])), replace=False).tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClassVanishedWarning)
            model.partial_forget(going)
        if coming:
            model.partial_fit(X[coming], y[coming], sample_ids=np.array(coming))
        live = [i for i in live if i not in going] + coming
        if step % 4 == 3:
            assert state_digest(model) == state_digest(reference_fit(model))
            if not params:
                assert_is_optimum(model, X[live], y[live])
        elif step % 2:
            model.coef_  # noqa: B018


def assert_is_optimum(model, X, y):
    exponents = np.frexp(np.abs(X).max(axis=0))[1].astype(np.int32)
    objective = objective_of(X, np.where(y == 1, 1.0, -1.0), np.ones(len(X)), SQUARED_HINGE, exponents=exponents)
    objective.penalty[:-1] = np.ldexp(1.0, -2 * exponents)
    ours = np.append(np.ldexp(model.coef_[0], exponents), model.intercept_)
    truth = LossOracle(objective).minimum(ours[None])[0]
    step = mpmath.mpf(2) ** LATTICE_LOG2
    assert [int(mpmath.nint(x / step)) for x in truth] == (ours / 2.0**LATTICE_LOG2).tolist()


def test_one_class_or_nothing_left():
    """Forgetting is not refused, reading says what is missing, learning revives."""
    X, y, _ = rows(20)
    model = LinearSVC().fit(X, y)
    whole = state_digest(model)
    for going in (np.flatnonzero(y == 1), np.flatnonzero(y == 0)):
        with pytest.warns(ClassVanishedWarning):
            model.partial_forget(going)
        with pytest.raises(DegenerateRowsError, match="at least 2"):
            model.predict(X)
        assert state_digest(model) == state_digest(reference_fit(model))
    assert state_digest(model.partial_fit(X, y, sample_ids=np.arange(20))) == whole


def test_declared_class_without_rows():
    """It keeps its row of coefficients, and is never predicted."""
    X, y, _ = rows(40, 3, 3)
    model = LinearSVC(classes=[0, 1, 2]).fit(X, y)
    model.partial_forget(np.flatnonzero(y == 1))
    assert model.coef_.shape == (3, 3)
    assert model.intercept_[1] == -np.inf
    assert not model.coef_[1].any()
    assert set(model.predict(X)) <= {0, 2}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"penalty": "l1"}, 'does not offer penalty="l1"'),
        ({"loss": "hinge"}, "no curvature"),
        ({"multi_class": "crammer_singer"}, "not quadratic"),
        ({"class_weight": {0: -1.0}}, "1 of 1 entries of class_weight"),
        ({"C": 0.0}, "'C' parameter"),
    ],
    ids=str,
)
def test_what_cannot_be_exact_is_refused(params, message):
    """At fit."""
    X, y, _ = rows(20)
    with pytest.raises(ValueError, match=message):
        LinearSVC(**params).fit(X, y)
    with pytest.raises(ValueError, match="only one class"):
        LinearSVC().fit(X, np.zeros(20))
