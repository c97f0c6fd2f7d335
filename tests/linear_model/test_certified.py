"""`LogisticRegression(guarantee="certified")`: what it hides is near the optimum, and shown once a version."""

import copy
import os
import pickle
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model

from skunlearn import reference_fit, state_digest
from skunlearn.exceptions import (
    CertificateError,
    ClassVanishedWarning,
    DamagedStateError,
    DegenerateRowsError,
    ForeignStepError,
    NoiseWarning,
    ReleaseBudgetError,
    ReleaseBudgetWarning,
)
from skunlearn.linear_model import LogisticRegression
from skunlearn.linear_model import _certified_core as certified_core
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import StandardScaler
from skunlearn.utils.estimator_checks import _claims, _failures, _histories, _identities, _requests, _saved, _sets

HERE = Path(__file__).parent
CERTIFIED = LogisticRegression(guarantee="certified")
HARD = LogisticRegression(
    guarantee="certified", C=100.0, class_weight="balanced", noise_scale=1e-2, n_releases=10, classes=["a", "b", "c"]
)


@pytest.mark.parametrize(
    "check",
    [
        _identities.check_forget_equals_refit,
        _requests.check_bad_input_changes_nothing,
        _requests.check_subjects,
        _saved.check_traces,
        _sets.check_degenerate,
        _sets.check_class_vanishes,
        _sets.check_weight_equals_copies,
        _claims.check_guarantee,
        _claims.check_report_and_errors,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
def test_conforms(check):
    """The checks of conformance that say most for their time; the others run with SKUNLEARN_OPERATIONS."""
    check(CERTIFIED)


@pytest.mark.skipif("SKUNLEARN_OPERATIONS" not in os.environ, reason="long: set SKUNLEARN_OPERATIONS")
@pytest.mark.parametrize("estimator", [CERTIFIED, HARD], ids=["defaults", "hard"])
@pytest.mark.parametrize(
    "check",
    [
        _identities.check_batching,
        _failures.check_threads,
        _sets.check_weights,
        _identities.check_no_history,
        _saved.check_release,
        _requests.check_containers,
        _identities.check_order,
        _identities.check_forget_learn_restores,
        _failures.check_commit,
        _saved.check_persistence,
        _histories.check_histories,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
def test_conforms_at_length(check, estimator):
    check(estimator)


def table(n=400, d=5, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    scores = X @ rng.normal(size=(d, n_classes)) + rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def quietly(**params):
    return LogisticRegression(guarantee="certified", **params)


def distance_of(model, X, y, weight=None):
    """Return how far the secret is from the optimum that an exact model publishes, and half a step of its lattice."""
    names = ("C", "fit_intercept", "class_weight", "solver", "intercept_scaling")
    exact = LogisticRegression(**{name: getattr(model, name) for name in names}).fit(X, y, weight)
    optimum = np.concatenate([exact.coef_.ravel(), exact.intercept_])
    steps = np.ldexp(2.0**-21, -np.frexp(np.abs(X).max(axis=0))[1])
    rounding = np.sqrt(len(exact.coef_) * (np.square(steps).sum() + 2.0**-42))
    return np.linalg.norm(model._secret() - optimum), rounding


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"class_weight": "balanced", "C": 10.0},
        {"fit_intercept": False, "class_weight": {0: 3.0}},
        {"solver": "liblinear", "intercept_scaling": 2.0},
        {"C": np.inf},
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_the_secret_stays_within_its_distance(params, layout):
    """Rows go one by one and in batches, and come; what is hidden is near the optimum at every read."""
    X, y = table()
    wrap = sp.csr_array if layout == "csr" else np.asarray
    weight = np.random.default_rng(1).uniform(0.2, 3.0, len(X))
    live = np.arange(350)
    model = quietly(noise_scale=1e-2, n_releases=10, **params).fit(wrap(X[live]), y[live], weight[live])
    assert model.ledger_.n_releases == 0
    batches = [[0], [5], [7], list(range(20, 60)), [100], [101], list(range(110, 300))]
    for number, going in enumerate(batches):
        model.partial_forget(going)
        live = np.setdiff1d(live, going)
        if number == 2:
            new = np.arange(350, 360)
            model.partial_fit(wrap(X[new]), y[new], sample_weight=weight[new], sample_ids=new)
            live = np.union1d(live, new)
        distance, rounding = distance_of(model, X[live], y[live], weight[live])
        assert distance <= model.max_distance_ + rounding
        assert model._live.core._distance <= model.max_distance_
    model.purge()
    assert distance_of(model, X[live], y[live], weight[live])[0] <= rounding + 1e-9


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.NoiseWarning")
def test_most_reads_look_at_no_row(monkeypatch):
    """Single rows go from a large table at a noise that is not small: the next read takes no pass."""
    X, y = table(n=5000)
    model = quietly(noise_scale=1e-1, n_releases=1).fit(X, y)
    passes = []
    honest = certified_core.Descent.settle
    monkeypatch.setattr(certified_core.Descent, "settle", lambda *a: passes.append(1) or honest(*a))
    for i in range(100):
        model.partial_forget([i]).flush()
    assert len(passes) < 20
    distance, rounding = distance_of(model, X[100:], y[100:])
    assert distance <= model.max_distance_ + rounding


def test_several_classes():
    X, y = table(n_classes=3, n=200)
    model = quietly(noise_scale=1e-2, n_releases=10, class_weight="balanced").fit(X, y)
    for going in ([0], [1, 2, 3], list(range(10, 60))):
        model.partial_forget(going)
        live = model._live.rows.native.ids(np.arange(model.n_live_, dtype=np.uint32))
        distance, rounding = distance_of(model, X[live], y[live])
        assert distance <= model.max_distance_ + rounding
    assert model.coef_.shape == (3, 5)
    assert model.predict_proba(X).shape == (200, 3)


# --- what is shown ---------------------------------------------------------------------------------------------------


def shown(model):
    return np.concatenate([model.coef_.ravel(), model.intercept_]).tobytes()


def test_a_version_shows_one_vector_and_another_version_another():
    """Averaging reads gains nothing: attributes, predictions, copies, pickles and releases repeat what was drawn."""
    X, y = table()
    model = quietly().fit(X, y)
    first = shown(model)
    assert model.ledger_.n_releases == 1
    copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), model.release(), model]
    copies.append(pickle.loads(pickle.dumps(copies[1])))
    for other in copies:
        assert shown(other) == first
        assert (other.decision_function(X) == model.decision_function(X)).all() or other is copies[2]
    model.purge()
    model.partial_forget([])
    assert shown(model) == first
    assert model.ledger_.n_releases == 1
    versions = {first}
    for i in range(3):
        model.partial_forget([i])
        versions.add(shown(model))
    assert len(versions) == 4
    assert model.ledger_.n_releases == 4
    model.partial_fit(X[:1], y[:1], sample_ids=[0])
    assert shown(model) not in versions


def test_a_copy_that_is_made_before_a_read_shows_what_the_original_then_shows():
    X, y = table()
    model = quietly().fit(X, y)
    twin = pickle.loads(pickle.dumps(model.partial_forget([3])))
    assert twin.ledger_.n_releases == 1
    assert shown(twin) == shown(model)
    assert twin.ledger_ == model.ledger_
    assert shown(twin.partial_forget([4])) != shown(model.partial_forget([4]))


def test_versions_that_nobody_reads_cost_nothing():
    X, y = table()
    model = quietly().fit(X, y)
    for i in range(50):
        model.partial_forget([i])
        if i % 10 == 0:
            model.flush()
    assert model.ledger_.n_releases == 0
    model.predict(X)
    assert model.ledger_.n_releases == 1
    assert reference_fit(model).ledger_.n_releases == 0


@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.NoiseWarning")
def test_the_noise_has_the_scale_that_was_asked_for():
    """And lies on the grid: no low bit of a float tells of the secret."""
    X, y = table(n=100, d=40)
    model = quietly(noise_scale=0.5, feature_scale=np.full(40, 4.0)).fit(X, y)
    coef = model._secret()[:-1] / 4.0
    noise = []
    for _ in range(30):
        noise.append(model.coef_.ravel() - coef)
        model._live._mark_stale()
        model._live.stale = False
    assert 0.9 < np.std(noise) * 4.0 / 0.5 < 1.1
    grid = 2.0**-21
    numbers = np.append(model.coef_ * 4.0, model.intercept_) / grid
    assert (numbers == np.rint(numbers)).all()


def test_the_budget_is_kept_or_its_end_is_announced():
    X, y = table()
    model = quietly(n_releases=2).fit(X, y)
    for i in range(2):
        model.partial_forget([i]).predict(X)
    assert model.ledger_.epsilon <= 1.0
    model.partial_forget([2])
    with pytest.warns(ReleaseBudgetWarning, match="jointly"):
        model.predict(X)
    assert model.ledger_.epsilon > 1.0
    model = quietly(n_releases=1, on_budget="raise").fit(X, y)
    before = shown(model)
    assert shown(model.partial_forget([])) == before
    model.partial_forget([0])
    for _ in range(2):
        with pytest.raises(ReleaseBudgetError, match="still come and go"):
            model.predict(X)
    twin = pickle.loads(pickle.dumps(model))
    with pytest.raises(ReleaseBudgetError):
        twin.predict(X)
    assert model.partial_forget([1]).n_live_ == len(X) - 2


def test_the_guarantee_says_what_it_is():
    X, y = table()
    model = quietly(epsilon=0.5, delta=1e-5, n_releases=7).fit(X, y)
    claim = model.guarantee_
    assert (claim.kind, claim.epsilon, claim.delta, claim.n_releases) == ("certified", 0.5, 1e-5, 7)
    assert claim.max_distance == model.max_distance_ == model.ledger_.max_distance
    with pytest.warns(NoiseWarning, match="predictable"):
        seeded = quietly(noise_random_state=0).fit(X, y)
    assert seeded.guarantee_.kind == "none"
    exact = LogisticRegression().fit(X, y)
    assert exact.guarantee_.kind == "exact"
    for name in ("max_distance_", "ledger_"):
        assert not hasattr(exact, name)
    assert exact.purge() is exact


def test_noise_that_is_too_loud_for_a_column_is_announced():
    X, y = table()
    X[:, 2] *= 1e3
    with pytest.warns(NoiseWarning, match="In 1 of 5 columns"):
        quietly().fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quietly(feature_scale=[1, 1, 1e3, 1, 1]).fit(X, y)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"feature_scale": [1.0, 2.0]}, "feature_scale"),
        ({"feature_scale": [1.0, 1.0, 1.0, 1.0, 0.0]}, "feature_scale"),
        ({"feature_scale": "wide"}, "feature_scale"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"delta": 1.0}, "delta"),
        ({"noise_scale": 0.0}, "noise_scale"),
        ({"noise_scale": 1e300}, "noise_scale"),
        ({"n_releases": 0}, "n_releases"),
        ({"on_budget": "ignore"}, "on_budget"),
        ({"noise_random_state": -1}, "noise_random_state"),
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(params, message):
    X, y = table()
    model = quietly().fit(X, y)
    digest = state_digest(model)
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(X, y)
    assert state_digest(model) == digest


def test_what_cannot_be_proved_is_not_published():
    """Separable classes without a penalty have no optimum; rows go all the same, and come back."""
    X, y = table()
    model = quietly(C=np.inf).fit(X, y)
    scores = X @ np.ones(5)
    wrong = np.flatnonzero((scores > 0) != (y == 1))
    model.partial_forget(wrong)
    with pytest.raises(CertificateError, match="separable"):
        model.predict(X)
    with pytest.raises(CertificateError):
        model.release()
    model.partial_fit(X[wrong], y[wrong], sample_ids=wrong)
    distance, rounding = distance_of(model, X, y)
    assert distance <= model.max_distance_ + rounding
    with pytest.warns(ClassVanishedWarning):
        model.partial_forget(np.flatnonzero(y == 1))
    with pytest.raises(DegenerateRowsError, match="1 classes"):
        model.predict(X)


def test_a_damaged_ledger_is_refused():
    X, y = table(n=20)
    saved = quietly().fit(X, y).__getstate__()
    for damage in (None, {}, {"ledger": None}, {"ledger": {"n_releases": -1}}, {"ledger": {}, "more": 1}):
        state = {**saved, "_live": {**saved["_live"], "remembered": damage}}
        with pytest.raises(DamagedStateError):
            quietly().__setstate__(state)


def test_two_threads_read_one_vector():
    X, y = table()
    model = quietly().fit(X, y)
    for i in range(10):
        model.partial_forget([i])
        seen, barrier = [], threading.Barrier(4)

        def read(seen=seen, barrier=barrier):
            barrier.wait()
            seen.append(shown(model))

        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(seen)) == 1
    assert model.ledger_.n_releases == 10


def test_a_release_is_scikit_learns():
    X, y = table()
    model = quietly(C=0.5, solver="lbfgs").fit(X, y)
    released = model.release()
    assert type(released) is sklearn.linear_model.LogisticRegression
    assert shown(released) == shown(model)
    assert (released.predict(X) == model.predict(X)).all()
    assert not {"epsilon", "guarantee", "noise_scale"} & set(vars(released))


def test_a_composite_takes_no_certified_step():
    """Saved and loaded it would draw again for the same version, and reads could be averaged."""
    X, y = table()
    with pytest.raises(ForeignStepError, match="several draws"):
        make_pipeline(StandardScaler(), quietly()).fit(X, y)


# --- sabotage --------------------------------------------------------------------------------------------------------


def drifts(model, X, y):
    """Forget rows one by one; return whether the secret was ever farther from the optimum than it may be."""
    live = np.arange(len(X))
    for i in range(0, 60, 3):
        model.partial_forget([i, i + 1, i + 2])
        live = live[~np.isin(live, [i, i + 1, i + 2])]
        model.flush()
    distance, rounding = distance_of(model, X[live], y[live])
    return distance > model.max_distance_ + rounding


def test_skipped_updates_of_the_anchor_are_caught(monkeypatch):
    X, y = table(n=2000)
    params = {"noise_scale": 1e-2, "n_releases": 1}
    assert not drifts(quietly(**params).fit(X, y), X, y)
    monkeypatch.setattr(certified_core.RemovalAnchor, "change", lambda *args: None)
    assert drifts(quietly(**params).fit(X, y), X, y)


def test_a_model_that_forgets_nothing_is_caught(monkeypatch):
    X, y = table(n=2000)
    model = quietly(noise_scale=1e-2, n_releases=1).fit(X, y)
    monkeypatch.setattr(certified_core.CertifiedCore, "_change", lambda *args: None)
    assert drifts(model, X, y)


# --- half of a real table --------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    "SKUNLEARN_DATA" not in os.environ or "SKUNLEARN_OPERATIONS" not in os.environ,
    reason="long, on a real table: set SKUNLEARN_DATA and SKUNLEARN_OPERATIONS",
)
def test_half_of_adult_one_by_one():
    """No refit: the secret is within its distance throughout, and at 1e-9 after a purge; the model is as good as one."""
    sys.path.insert(0, os.environ["SKUNLEARN_DATA"])
    sys.path.insert(0, str(HERE.parent / "acceptance"))
    from data import adult_one_hot

    X, y = adult_one_hot()
    model = quietly().fit(X, y)
    order = np.random.default_rng(0).permutation(len(X))
    for number, i in enumerate(order[: len(X) // 2]):
        model.partial_forget([i])
        model.flush()
        if number % 4000 == 0:
            live = order[number + 1 :]
            distance, rounding = distance_of(model, X[live], y[live])
            assert distance <= model.max_distance_ + rounding
    live = order[len(X) // 2 :]
    model.purge()
    assert model._live.core._distance <= 1e-9
    exact = LogisticRegression().fit(X[live], y[live])
    assert abs(model.score(X[live], y[live]) - exact.score(X[live], y[live])) < 2e-3
