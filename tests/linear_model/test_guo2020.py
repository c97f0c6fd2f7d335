"""The published certified removal: its residual is what it says, and it trains anew when its budget is spent."""

import copy
import pickle

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from skunlearn.linear_model import LogisticRegression


def table(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * rng.uniform(0.2, 2.0, size=d)
    y = (X @ rng.normal(size=d) + rng.normal(size=n) > 0).astype(int)
    y[:2] = [0, 1]
    return X, y, rng.choice([0.5, 1.0, 3.0], size=n)


def fitted(X, y, weight=None, **params):
    settings = {"epsilon": 1.0, "delta": 1e-4, "noise_scale": 1.0, "C": 1.0, "noise_random_state": 3, **params}
    return LogisticRegression(guarantee="guo2020", **settings).fit(X, y, weight)


def core_of(model):
    return model._require_live().core


def gradient(X, y, weight, core, C, clip, b):
    """That of the perturbed objective at the core's coefficients, written down once more."""
    norms = np.linalg.norm(X, axis=1)
    rows = np.hstack([X * np.minimum(1.0, clip / np.maximum(norms, 1e-300))[:, None], np.ones((len(X), 1))])
    w = core._trained.w
    return rows.T @ (weight * (1 / (1 + np.exp(-rows @ w)) - y)) + w / C + b


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("one_by_one", [True, False])
def test_the_gradient_is_within_what_was_spent(seed, one_by_one):
    """After any removals, the true gradient of F on the rows that are left is at most `spent`, which is not nothing."""
    X, y, weight = table(seed=seed, d=1 + seed)
    clip, C = [0.5, 1.0, 4.0][seed % 3], [0.2, 5.0][seed % 2]
    model = fitted(X, y, weight, clip_norm=clip, C=C, epsilon=1e5)
    core, order = core_of(model), np.random.default_rng(seed).permutation(np.arange(2, 60))[:25]

    for removed in np.split(order, 25 if one_by_one else 5):
        model.partial_forget(removed).coef_  # noqa: B018
        left = np.setdiff1d(np.arange(60), order[: list(order).index(removed[-1]) + 1])
        found = np.linalg.norm(gradient(X[left], y[left], weight[left], core, C, clip, core._trained.b))
        assert found <= core.spent

    assert core.n_trainings == 1
    assert found > 1e-6 * core.spent


def test_a_step_that_is_not_taken_breaks_the_bound():
    """The test above would notice a removal that changes nothing."""
    X, y, weight = table()
    model = fitted(X, y, weight, epsilon=1e5)
    core = core_of(model)
    before = core._trained.w.copy()

    model.partial_forget([5, 6]).coef_  # noqa: B018
    core._trained.w = before

    left = np.setdiff1d(np.arange(60), [5, 6])
    assert np.linalg.norm(gradient(X[left], y[left], weight[left], core, 1.0, 1.0, core._trained.b)) > core.spent


def test_a_fit_is_the_minimum_with_its_linear_term():
    """Coefficients are those that another minimiser of the same objective finds."""
    X, y, _ = table()
    X = X / np.linalg.norm(X, axis=1).max()
    model = fitted(X, y, fit_intercept=False)
    b = core_of(model)._trained.b

    def objective(w):
        return np.logaddexp(0.0, -(2 * y - 1) * (X @ w)).sum() + w @ w / 2 + b @ w

    expected = scipy.optimize.minimize(objective, np.zeros(3), tol=1e-12)
    np.testing.assert_allclose(model.coef_[0], expected.x, atol=1e-5)
    assert model.intercept_.tolist() == [0.0]


def test_the_budget_is_the_published_one_and_a_spent_one_is_followed_by_a_training():
    """noise_scale epsilon / sqrt(2 ln(1.5 / delta)); beyond it the linear term is drawn again."""
    X, y, _ = table(n=300)
    model = fitted(X, y, noise_scale=0.5)
    core = core_of(model)
    assert core.budget == pytest.approx(0.5 / np.sqrt(2 * np.log(1.5e4)), rel=1e-12)
    first = core._trained.b

    for row in range(2, 250):
        model.partial_forget([row]).coef_  # noqa: B018
        assert core.spent <= core.budget

    assert 1 < core.n_trainings < 240
    assert (core._trained.b != first).all()


def test_without_a_seed_the_linear_term_is_drawn_anew():
    """Two fits on the same rows publish different coefficients; one that is read twice does not."""
    X, y, _ = table()
    first, second = (fitted(X, y, noise_random_state=None) for _ in range(2))

    assert (first.coef_ != second.coef_).all()
    assert (first.coef_ == first.coef_).all()


def test_rows_are_clipped_to_the_given_norm():
    """A row beyond the norm counts as the row of that norm in its direction."""
    X, y, _ = table()
    longer = X.copy()
    longer[4] *= 2.0 / np.linalg.norm(X[4])
    longest = X.copy()
    longest[4] *= 2.0**10 * 2.0 / np.linalg.norm(X[4])

    np.testing.assert_allclose(fitted(longer, y).coef_, fitted(longest, y).coef_, rtol=1e-12)


def test_sparse_rows_and_weights_are_dense_rows_and_copies():
    """Containers make no difference but for rounding, nor does weight 2 instead of two rows."""
    X, y, _ = table()
    X[X < 0.3] = 0.0
    dense, sparse = fitted(X, y), fitted(sp.csr_array(X), y)
    twice = fitted(np.vstack([X, X]), np.append(y, y))
    double = fitted(X, y, np.full(60, 2.0))

    for model in (dense, sparse, double):
        model.partial_forget([7, 9])
    twice.partial_forget([7, 9, 67, 69])

    np.testing.assert_allclose(dense.coef_, sparse.coef_, rtol=1e-9)
    np.testing.assert_allclose(double.coef_, twice.coef_, rtol=1e-7)


def test_copies_publish_what_the_model_published_and_hold_no_linear_term():
    """Pickles and copies repeat the coefficients; the next change of rows is a training."""
    X, y, _ = table()
    model = fitted(X, y)
    coef = model.partial_forget([3]).coef_

    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (other.coef_ == coef).all()
        assert core_of(other)._trained is None
        assert (other.partial_forget([8]).coef_ != coef).any()
        assert core_of(other).n_trainings == 2


def test_what_is_left_of_too_few_classes_says_so_and_revives():
    """A class that is gone leaves a model that predicts nothing, until rows of it come back."""
    X, y, _ = table()
    model = fitted(X, y, classes=[0, 1])

    model.partial_forget(np.flatnonzero(y == 1))

    with pytest.raises(NotFittedError, match="needs rows of exactly 2"):
        model.predict(X)
    model.partial_fit(X[y == 1], y[y == 1], sample_ids=np.flatnonzero(y == 1))
    assert model.score(X, y) > 0.6


@pytest.mark.parametrize("params", [{"C": np.inf}, {"class_weight": "balanced"}])
def test_what_the_method_has_not_is_refused(params):
    """No penalty, or weights that move with other rows."""
    X, y, _ = table()
    with pytest.raises(ValueError, match="Nothing was changed"):
        fitted(X, y, **params)


def test_three_classes_are_refused():
    """The published method takes two."""
    X, y, _ = table()
    y[5] = 2
    with pytest.raises(ValueError, match="exactly 2"):
        fitted(X, y)


def test_the_guarantee_claims_no_more_than_was_published():
    """It is "approximate": for one release, and requests that do not depend on it; nothing, where b is predictable."""
    X, y, _ = table()
    guarantee = fitted(X, y, noise_random_state=None).guarantee_

    assert (guarantee.kind, guarantee.epsilon, guarantee.delta, guarantee.n_releases) == ("approximate", 1.0, 1e-4, 1)
    assert fitted(X, y).guarantee_.kind == "none"
