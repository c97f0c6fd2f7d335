"""Histories that force every change of scale, and the point where sums widen, through the estimators themselves."""

import copy

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.utils import get_tags

from skunlearn import reference_fit, state_digest
from skunlearn._faults import inject
from skunlearn._linalg import moments as moments_module
from skunlearn._linalg.gram import Gram

from .estimators import MOMENT_ESTIMATORS

each = pytest.mark.parametrize("name", MOMENT_ESTIMATORS)


def target_of(estimator, rng, n):
    return rng.integers(0, 3, n) if get_tags(estimator).estimator_type == "classifier" else rng.normal(size=n)


def assert_is_refit(model):
    want = reference_fit(model)
    assert state_digest(model) == state_digest(want)
    if hasattr(want, "coef_"):
        assert model.coef_.tobytes() == want.coef_.tobytes()


@each
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("weighted", [False, True])
def test_histories_with_forced_changes_of_scale(name, layout, weighted, monkeypatch):
    """Every call brings or takes the largest values of some columns; integers shift, and other columns are recomputed."""
    estimator = MOMENT_ESTIMATORS[name]
    rng = np.random.default_rng(3)
    n, d = 240, 18
    X = rng.normal(size=(n, d)) * (rng.random((n, d)) < 0.8)
    X[:, 3:5] = rng.integers(-99, 99, (n, 2))
    X[:, 5:7] *= 2.0 ** np.array([30, -30])
    X[:, [0, 3]] *= 2.0 ** rng.integers(0, 25, (n, 2))  # of other columns the scale seldom changes
    X[n // 2] *= 2.0**60
    y, weight = target_of(estimator, rng, n), 2.0 ** rng.integers(-30, 30, n) * 1.5 if weighted else None
    changes = count_calls(monkeypatch, moments_module.Moments, "_change_shifts")
    recomputed = count_calls(monkeypatch, moments_module.Moments, "_recompute_broken")

    def beside(at):
        return {"sample_ids": at, "sample_weight": None if weight is None else weight[at]}

    by_size = np.argsort(np.abs(X).max(axis=1))
    live = np.zeros(n, dtype=bool)
    live[by_size[:60]] = True
    model = copy.deepcopy(estimator).fit(layout(X[live]), y[live], **beside(np.flatnonzero(live)))
    for step in range(40):
        coming = [i for i in by_size[::-1] if not live[i]][step % 5 : step % 5 + 1 + step % 2]
        model.partial_fit(layout(X[coming]), y[coming], **beside(np.array(coming)))
        live[coming] = True
        if step % 4 == 0:
            assert_is_refit(model)
        going = [i for i in by_size[::-1] if live[i]][: 1 + step % 3]
        model.partial_forget(going).flush()
        live[going] = False
        if step % 4 == 2:
            assert_is_refit(model)
    assert_is_refit(model)
    assert len(changes) >= 40
    assert weighted or len(recomputed) >= 10


def count_calls(monkeypatch, owner, name):
    calls, method = [], getattr(owner, name)

    def counted(*args, **kwargs):
        calls.append(name)
        return method(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


@each
def test_sums_widen_while_a_model_learns_and_forgets(name, monkeypatch):
    """Beyond 2**125 entries take 192 bits: here at the 40th row, and what is published and hashed does not show it."""
    estimator = MOMENT_ESTIMATORS[name]
    rng = np.random.default_rng(5)
    n = 100
    X = (2 - rng.random((n, 4)) * 2.0**-20) * rng.choice([-1, 1], (n, 4))
    y = target_of(estimator, rng, n)
    want = copy.deepcopy(estimator).fit(X[10:], y[10:], sample_ids=np.arange(10, n))
    want_bits = state_digest(want), want.coef_.tobytes()
    monkeypatch.setattr(
        moments_module.Moments.__init__,
        "__kwdefaults__",
        {**moments_module.Moments.__init__.__kwdefaults__, "widen_bits": 111},
    )
    widened = count_calls(monkeypatch, Gram, "widen")

    model = copy.deepcopy(estimator).fit(X[:10], y[:10])
    _ = model.coef_
    assert not widened
    for i in range(10, n):
        model.partial_fit(X[i : i + 1], y[i : i + 1], sample_ids=[i])
    _ = model.coef_
    assert widened
    model.partial_forget(np.arange(10))

    assert (state_digest(model), model.coef_.tobytes()) == want_bits
    assert_is_refit(model)


@each
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("point", ["settle.stale", "settle.settled", "flush.stale", "flush.rebuilt"])
def test_an_error_while_scales_are_settled_is_made_good(name, point, error):
    """The row of the largest values has gone when a read is interrupted: the next one starts afresh from the rows."""
    estimator = MOMENT_ESTIMATORS[name]
    rng = np.random.default_rng(1)
    X = rng.normal(size=(90, 12))
    X[4] *= 1e5
    y = target_of(estimator, rng, len(X))
    model = copy.deepcopy(estimator).fit(X, y).partial_forget([4])
    want = reference_fit(model).flush()
    passed = []

    def fail(reached):
        passed.append(reached)
        if reached == point:
            raise error

    if point.startswith("flush."):
        model._live.stale = True
    assert not model._live.core.is_settled() or model._live.stale
    with pytest.raises(error), inject(fail):
        state_digest(model)

    assert passed[-1] == point
    assert state_digest(model) == state_digest(want)
    assert_is_refit(model.partial_forget([7, 8]))
