"""`LogisticRegression`: the optimum on its lattice after every history, and scikit-learn's answers to half a step."""

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.preprocessing import scale

from skunlearn import reference_fit, state_digest
from skunlearn._linalg import optimum
from skunlearn._linalg.optimum import LATTICE_LOG2, Search
from skunlearn.exceptions import CertificateError, ClassVanishedWarning, DegenerateRowsError
from skunlearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1] / "linalg"))
from likelihood_oracle import Oracle, likelihood_of

HERE = Path(__file__).parent


def rows(n=80, d=4, n_classes=2, seed=0):
    """Rows of columns that differ in scale, labels that lean on them, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-2, 3, d)
    scores = X / np.abs(X).max(axis=0) @ rng.normal(size=(d, n_classes)) * 3 + rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y, rng.uniform(0.2, 3.0, n)


def steps_from(model, theirs, X):
    """Return how far scikit-learn's coefficients are from ours, in steps of the lattice; half a step is rounding."""
    exponents = np.frexp(np.abs(X).max(axis=0))[1]
    coef = np.ldexp(model.coef_ - theirs.coef_, exponents - LATTICE_LOG2)
    intercept = np.ldexp(model.intercept_ - theirs.intercept_, -LATTICE_LOG2)
    return max(np.abs(coef).max(), np.abs(intercept).max())


def tight(**params):
    params = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000, **params}
    return sklearn.linear_model.LogisticRegression(**params)


# --- parity with scikit-learn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize(
    "params",
    [
        {},
        {"C": 30.0},
        {"C": np.inf},
        {"fit_intercept": False},
        {"class_weight": "balanced"},
        {"class_weight": {0: 3.0, 1: 0.5}},
        {"C": 0.01, "class_weight": {1: 2.0}, "fit_intercept": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Line search:Warning")
def test_coefficients_are_those_of_scikit_learn_to_half_a_step(params, n_classes, weighted):
    """Binary and multinomial, whatever the weights and the penalty."""
    X, y, weight = rows(n_classes=n_classes)
    weight = weight if weighted else None

    model = LogisticRegression(**params).fit(X, y, weight)

    theirs = tight(**params).fit(X, y, weight)
    assert steps_from(model, theirs, X) < 0.55


@pytest.mark.parametrize("intercept_scaling", [1.0, 10.0])
def test_liblinear_penalises_the_intercept(intercept_scaling):
    """It is the coefficient of a constant column there."""
    X, y, _ = rows()
    X = X / np.abs(X).max(axis=0)
    params = {"solver": "liblinear", "intercept_scaling": intercept_scaling}

    model = LogisticRegression(**params).fit(X, y)

    theirs = tight(**params).fit(X, y)
    assert steps_from(model, theirs, X) < 0.55
    assert model.intercept_ != LogisticRegression().fit(X, y).intercept_
    with pytest.raises(ValueError, match="takes two classes"):
        LogisticRegression(solver="liblinear").fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_predictions_are_those_of_the_release(n_classes):
    """To rounding; and the attributes bitwise."""
    X, y, _ = rows(n_classes=n_classes)
    model = LogisticRegression().fit(X, np.array(["x", "y", "z"])[y])

    released = model.release()

    assert type(released) is sklearn.linear_model.LogisticRegression
    for name in ("classes_", "coef_", "intercept_", "n_iter_"):
        assert getattr(model, name).tobytes() == getattr(released, name).tobytes()
    assert (model.predict(X) == released.predict(X)).all()
    np.testing.assert_allclose(model.decision_function(X), released.decision_function(X), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(model.predict_proba(X), released.predict_proba(X), rtol=1e-10, atol=1e-300)
    np.testing.assert_allclose(model.predict_log_proba(X), released.predict_log_proba(X), rtol=1e-10, atol=1e-12)
    assert model.score(X, model.predict(X)) == 1.0


def test_containers_agree():
    """Dense and sparse, float32 and float64 of the same values: the same coefficients; a row alone as in bulk."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(60, 6)) * rng.integers(0, 2, (60, 6))).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    models = [LogisticRegression().fit(table, y) for table in (X, X.astype(float), sp.csr_array(X), sp.csc_matrix(X))]

    for model in models:
        assert model.coef_.tobytes() == models[0].coef_.tobytes()
        assert model.predict_proba(sp.csr_array(X)).tobytes() == models[0].predict_proba(X).tobytes()
        assert model.predict_proba(X[7:8]).tobytes() == models[0].predict_proba(X)[7:8].tobytes()


# --- forgetting ------------------------------------------------------------------------------------------------------

SETTINGS = [
    ({}, 2, False),
    ({"C": 100.0, "fit_intercept": False}, 2, True),
    ({"class_weight": "balanced"}, 2, True),
    ({"class_weight": "balanced", "C": 10.0}, 3, False),
    ({"solver": "liblinear", "class_weight": {0: 2.5}}, 2, False),
    ({"classes": [0, 1, 2, 3]}, 3, True),
]


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize(("params", "n_classes", "weighted"), SETTINGS, ids=str)
def test_a_history_equals_a_refit(params, n_classes, weighted, layout):
    """Thirty steps of learning, forgetting and reading, alone and in batches."""
    X, y, weight = rows(150, 4, n_classes)
    rng = np.random.default_rng(1)
    live = list(range(100))

    def block(ids):
        return layout(X[ids]), y[ids]

    def beside(ids):
        return {"sample_ids": np.array(ids), "sample_weight": weight[ids] if weighted else None}

    model = LogisticRegression(**params).fit(*block(live), **beside(live))
    for _ in range(30):
        going = rng.choice(live, int(rng.choice([1, 1, 3, 15])), replace=False).tolist()
        gone = sorted(set(range(150)) - set(live))
        coming = rng.choice(gone, min(len(gone), int(rng.choice([0, 1, 9]))), replace=False).tolist()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClassVanishedWarning)
            model.partial_forget(going)
        if coming:
            model.partial_fit(*block(coming), **beside(coming))
        live = [i for i in live if i not in going] + coming
        if rng.random() < 0.6:
            assert state_digest(model) == state_digest(reference_fit(model))
            fresh = LogisticRegression(**params).fit(*block(sorted(live)), **beside(sorted(live)))
            assert fresh.coef_.tobytes() == model.coef_.tobytes()


def test_published_coefficients_are_the_optimum_rounded():
    """After a history, against an optimum in 60 digits that shares no code with ours."""
    X, y, _ = rows(30, 2, seed=3)
    X = np.clip(X / np.abs(X).max(axis=0), -0.99, 0.99)
    y = np.where(np.arange(30) % 5 == 0, 1 - y, y)
    model = LogisticRegression(C=2.0).fit(X, y)
    live = np.ones(30, dtype=bool)
    for going in np.random.default_rng(0).permutation(30)[:20]:
        model.partial_forget([going])
        live[going] = False
        exponents = np.frexp(np.abs(X[live]).max(axis=0))[1]
        likelihood = likelihood_of(np.ldexp(X[live], -exponents), y[live], np.ones(live.sum()), 1, 0.5)
        likelihood.penalty[:-1] = np.ldexp(0.5, -2 * exponents)
        ours = np.append(np.ldexp(model.coef_[0], exponents), model.intercept_)
        truth = Oracle(likelihood).minimum(ours[None])[0]
        step = mpmath.mpf(2) ** LATTICE_LOG2
        assert [int(mpmath.nint(x / step)) for x in truth] == (ours / 2.0**LATTICE_LOG2).tolist()


def test_learning_again_restores():
    """The same rows: the same digest."""
    X, y, _ = rows()
    model = LogisticRegression().fit(X, y)
    before = state_digest(model)
    model.partial_forget(np.arange(10, 50))
    assert state_digest(model) != before
    assert state_digest(model.partial_fit(X[10:50], y[10:50], sample_ids=np.arange(10, 50))) == before


def test_double_doubles_publish_the_same(monkeypatch):
    """All reads are made to go through them."""
    X, y, _ = rows(40, 3, 3)
    usual = LogisticRegression().fit(X, y).partial_forget([3]).coef_
    with monkeypatch.context() as patch:
        patch.setattr(optimum, "round_to_lattice", lambda centre, radii: None)
        precise = LogisticRegression().fit(X, y).partial_forget([3]).coef_
    assert precise.tobytes() == usual.tobytes()


def test_a_read_takes_few_passes(monkeypatch):
    """After one deletion, without a Hessian: what was known is enough."""
    X, y, _ = rows(5000, 10)
    model = LogisticRegression().fit(X, y)
    searches = []
    locate = Search.locate
    monkeypatch.setattr(Search, "locate", lambda self, *args: (searches.append(self), locate(self, *args))[1])
    for i in range(20):
        model.partial_forget([i])
        model.flush()
        model.coef_  # noqa: B018
    assert len(searches) == 20
    assert np.mean([search.n_passes for search in searches]) <= 4
    assert sum(search.n_factors for search in searches) <= 2


def test_a_search_that_fails_from_history_starts_again(monkeypatch):
    """Whether a set is refused is not to depend on where the search began."""
    X, y, _ = rows()
    model = LogisticRegression().fit(X, y)
    locate = Search.locate

    def warm_fails(self, v, anchor):
        if anchor is not None or v.any():
            raise optimum.NoMinimumError
        return locate(self, v, anchor)

    monkeypatch.setattr(Search, "locate", warm_fails)
    assert state_digest(model.partial_forget([0])) == state_digest(reference_fit(model))


@pytest.mark.parametrize(
    "environment",
    [{"OPENBLAS_NUM_THREADS": "2"}, {"OPENBLAS_NUM_THREADS": "4"}, {"OPENBLAS_CORETYPE": "Prescott"}],
    ids=str,
)
def test_bits_do_not_depend_on_blas(environment, published_by_default):
    """Threads and processors change what LAPACK says, and nothing that is published."""
    result = run_child(environment)
    assert result["published"] == published_by_default["published"]
    if "OPENBLAS_CORETYPE" in environment:
        if result["cores"] == published_by_default["cores"]:
            pytest.skip("This BLAS does not let its kernels be chosen.")
        assert result["lapack"] != published_by_default["lapack"]


@pytest.fixture(scope="module")
def published_by_default():
    return run_child({"OPENBLAS_NUM_THREADS": "1"})


def run_child(environment):
    result = subprocess.run(
        [sys.executable, str(HERE / "logistic_bits.py")],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(result.stdout)


# --- degenerate sets, and what is refused ----------------------------------------------------------------------------


def test_one_class_or_nothing_left():
    """Forgetting is not refused, reading says what is missing, learning revives."""
    X, y, _ = rows(20)
    model = LogisticRegression().fit(X, y)
    whole = state_digest(model)
    for going in (np.flatnonzero(y == 1), np.flatnonzero(y == 0)):
        with pytest.warns(ClassVanishedWarning):
            model.partial_forget(going)
        with pytest.raises(DegenerateRowsError, match="at least 2"):
            model.predict(X)
        assert state_digest(model) == state_digest(reference_fit(model))
    assert state_digest(model.partial_fit(X, y, sample_ids=np.arange(20))) == whole


def test_declared_class_without_rows():
    """It keeps its column, at probability 0."""
    X, y, _ = rows(40, 3, 3)
    model = LogisticRegression(classes=[0, 1, 2]).fit(X, y)
    model.partial_forget(np.flatnonzero(y == 1))
    assert model.coef_.shape == (3, 3)
    assert model.intercept_[1] == -np.inf
    assert not model.coef_[1].any()
    assert not model.predict_proba(X)[:, 1].any()
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


@pytest.mark.parametrize("C", [1.0, np.inf])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_column_of_zeros_has_no_say(C, n_classes):
    """Its coefficient is 0, and the others are as without it; a value that comes and goes leaves no trace."""
    X, y, _ = rows(60, 3, n_classes)
    with_zeros = np.insert(X, 1, 0.0, axis=1)
    model = LogisticRegression(C=C).fit(with_zeros, y)
    before = state_digest(model)
    assert not model.coef_[:, 1].any()
    without = LogisticRegression(C=C).fit(X, y)
    assert np.delete(model.coef_, 1, axis=1).tobytes() == without.coef_.tobytes()
    assert model.intercept_.tobytes() == without.intercept_.tobytes()

    model.partial_fit(with_zeros[:4] + np.array([0, 1e-3, 0, 0]), [0, 1, 1, 0], sample_ids=[90, 91, 92, 93])
    assert state_digest(model.partial_forget([90, 91, 92, 93])) == before


def test_nothing_but_zeros():
    """Coefficients 0; with an intercept, the log odds."""
    X, y = np.zeros((4, 2)), np.array([0, 0, 0, 1])
    assert not LogisticRegression(fit_intercept=False).fit(X, y).coef_.any()
    assert LogisticRegression().fit(X, y).intercept_ == pytest.approx(-np.log(3), abs=2.0**-21)


def test_separable_rows():
    """They have an optimum with a penalty, and none without."""
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    assert LogisticRegression(C=1e6).fit(X, y).score(X, y) == 1.0
    with pytest.raises(CertificateError, match="separable"):
        LogisticRegression(C=np.inf).fit(X, y)
    model = LogisticRegression(C=np.inf).fit(np.append(X, [[0.5]], axis=0), np.append(y, 1))
    model.partial_forget([4])
    with pytest.raises(CertificateError, match="separable"):
        model.predict(X)
    assert state_digest(model) == state_digest(reference_fit(model))
    assert model.partial_fit([[2.5]], [0], sample_ids=[9]).coef_.shape == (1, 1)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"penalty": "l1"}, "no L1 penalty"),
        ({"l1_ratio": 0.5}, "no L1 penalty"),
        ({"class_weight": {0: -1.0}}, "1 of 1 entries of class_weight"),
        ({"class_weight": {0: np.nan, 1: 1.0}}, "1 of 2 entries of class_weight"),
        ({"C": 0.0}, "'C' parameter"),
    ],
    ids=str,
)
def test_what_cannot_be_exact_is_refused(params, message):
    """At fit, before anything changes."""
    X, y, _ = rows(20)
    model = LogisticRegression().fit(X, y)
    before = state_digest(model)
    model.set_params(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    model.set_params(penalty="deprecated", l1_ratio=0.0, class_weight=None, C=1.0)
    assert state_digest(model) == before


def test_real_table_forgets_row_by_row():
    """Breast cancer: every tenth row goes, one by one."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)
    model = LogisticRegression().fit(X, y)
    for going in range(0, 200, 10):
        model.partial_forget([going])
        model.coef_  # noqa: B018
    assert state_digest(model) == state_digest(reference_fit(model))
    keep = np.setdiff1d(np.arange(len(X)), np.arange(0, 200, 10))
    assert steps_from(model, tight().fit(X[keep], y[keep]), X[keep]) < 0.55
