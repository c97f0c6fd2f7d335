"""Generalised linear models and Huber's regression: the optimum on its lattice after every history, and parity."""

import sys
from pathlib import Path

import mpmath
import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.datasets import load_diabetes

from skunlearn import reference_fit, state_digest
from skunlearn._linalg.losses import SQUARED, huber, tweedie
from skunlearn._linalg.optimum import LATTICE_LOG2
from skunlearn.exceptions import CertificateError, DegenerateRowsError
from skunlearn.linear_model import GammaRegressor, HuberRegressor, PoissonRegressor, TweedieRegressor

sys.path.insert(0, str(Path(__file__).parents[1] / "linalg"))
from loss_oracle import LossOracle, objective_of, targets_for

MODELS = {
    "poisson": PoissonRegressor(alpha=0.1),
    "gamma": GammaRegressor(alpha=1e-3),
    "tweedie": TweedieRegressor(power=1.5, alpha=0.0),
    "squared": TweedieRegressor(alpha=0.1, fit_intercept=False),
    "huber": HuberRegressor(scale=0.4, alpha=0.01),
}
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def loss_of(model):
    return huber(1.0) if isinstance(model, HuberRegressor) else tweedie(power_of(model))


def power_of(model):
    return {PoissonRegressor: 1.0, GammaRegressor: 2.0}.get(type(model)) or model.power


def rows(model, n=60, d=3, seed=0):
    """Rows of columns that differ in scale, targets that lean on them, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-2, 3, d)
    scores = X / np.abs(X).max(axis=0) @ rng.normal(size=d) + 0.3
    is_plain = isinstance(model, HuberRegressor) or power_of(model) == 0
    y = targets_for(huber(1.0) if is_plain else loss_of(model), scores, rng)
    return X, y, rng.uniform(0.2, 3.0, n)


def steps_from(model, theirs, X, exponent=0):
    """Return how far scikit-learn's coefficients are from ours, in steps of the lattice; half a step is rounding."""
    exponents = np.frexp(np.abs(X).max(axis=0))[1]
    coef = np.ldexp(model.coef_ - theirs.coef_, exponents - LATTICE_LOG2 - exponent)
    return max(np.abs(coef).max(), abs(model.intercept_ - theirs.intercept_) / 2.0 ** (LATTICE_LOG2 + exponent))


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("name", ["poisson", "gamma", "tweedie"])
def test_coefficients_are_those_of_scikit_learn_to_half_a_step(name, fit_intercept):
    """With weights, a penalty or none."""
    model = MODELS[name]
    X, y, weight = rows(model, 200)
    params = model.get_params() | {"fit_intercept": fit_intercept}
    model = type(model)(**params).fit(X, y, weight)
    twin = getattr(sklearn.linear_model, type(model).__name__)
    theirs = twin(**params | {"tol": 1e-12, "solver": "newton-cholesky", "max_iter": 1000}).fit(X, y, weight)
    assert steps_from(model, theirs, X) < 0.55
    assert model.score(X, y, weight) == pytest.approx(theirs.score(X, y, weight), rel=1e-5)


def test_power_0_is_ridge():
    """With a penalty of alpha times the weight of all rows."""
    X, y = load_diabetes(return_X_y=True)
    model = TweedieRegressor(alpha=1e-3).fit(X, y)
    theirs = sklearn.linear_model.Ridge(alpha=1e-3 * len(X)).fit(X, y)
    assert steps_from(model, theirs, X, exponent=9) < 0.55
    assert model.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-5)


def test_huber_is_scikit_learns_at_its_scale():
    """Which has the same optimum in the coefficients, to its tolerance, and no lower loss; and the same outliers."""
    X, y = load_diabetes(return_X_y=True)
    y = y / 100
    theirs = sklearn.linear_model.HuberRegressor(tol=1e-10, max_iter=10_000, alpha=0.01).fit(X, y)
    model = HuberRegressor(scale=theirs.scale_, alpha=0.01).fit(X, y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=0.01)

    def loss(fitted):
        ratio = np.abs(y - fitted.predict(X)) / theirs.scale_
        costs = np.where(ratio <= 1.35, np.square(ratio), 2.7 * ratio - 1.35**2)
        return theirs.scale_ * costs.sum() + 0.01 * np.square(fitted.coef_).sum()

    assert loss(model) < loss(theirs)
    assert (model.outliers_ == theirs.outliers_).all()
    released = model.release()
    assert released.scale_ == theirs.scale_
    assert type(released) is sklearn.linear_model.HuberRegressor
    np.testing.assert_allclose(released.predict(X), model.predict(X), rtol=1e-12)


@every_model
def test_containers_agree(model):
    """Dense and sparse, float32 and float64 of the same values; a row alone as in bulk; the release."""
    X, y, _ = rows(model)
    X = (X * (np.abs(X) > np.median(np.abs(X), axis=0))).astype(np.float32)
    fitted = [type(model)(**model.get_params()).fit(table, y) for table in (X, X.astype(float), sp.csr_array(X))]
    for each in fitted:
        assert each.coef_.tobytes() == fitted[0].coef_.tobytes()
        assert each.intercept_ == fitted[0].intercept_
        assert each.predict(sp.csr_array(X)).tobytes() == fitted[0].predict(X).tobytes()
        assert each.predict(X[7:8]).tobytes() == fitted[0].predict(X)[7:8].tobytes()
        assert each.release().coef_.tobytes() == each.coef_.tobytes()
    np.testing.assert_allclose(fitted[1].release().predict(X.astype(float)), fitted[1].predict(X), rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@every_model
def test_a_history_equals_a_refit_and_the_optimum_in_60_digits(model, weighted):
    """Learning, forgetting and reading, alone and in batches; the optimum shares no code with ours."""
    X, y, weight = rows(model, 60)
    weight = weight if weighted else np.ones(60)
    rng = np.random.default_rng(1)
    live = list(range(40))
    model = type(model)(**model.get_params())
    model.fit(X[live], y[live], weight[live] if weighted else None, sample_ids=np.array(live))
    for step in range(12):
        going = rng.choice(live, int(rng.choice([1, 1, 4])), replace=False).tolist()
        gone = sorted(set(range(60)) - set(live))
        coming = rng.choice(gone, int(rng.choice([0, 1, 5])), replace=False).tolist()
        model.partial_forget(going)
        if coming:
            model.partial_fit(X[coming], y[coming], weight[coming] if weighted else None, sample_ids=np.array(coming))
        live = [i for i in live if i not in going] + coming
        if step % 4 == 3:
            assert state_digest(model) == state_digest(reference_fit(model))
            assert_is_optimum(model, X[live], y[live], weight[live])
        elif step % 2:
            model.coef_  # noqa: B018


def assert_is_optimum(model, X, y, weight):
    """Compare coefficients with an independent optimum, rounded to the same lattice."""
    exponents = np.frexp(np.abs(X).max(axis=0))[1].astype(np.int32)
    if isinstance(model, HuberRegressor):
        threshold = model.epsilon * model.scale
        shift = int(np.frexp(threshold)[1])
        loss, alpha = huber(float(np.ldexp(threshold, -shift))), model.alpha * model.scale
    else:
        shift = int(np.frexp(np.abs(y).max())[1]) if power_of(model) == 0 else 0
        loss = SQUARED if power_of(model) == 0 else tweedie(power_of(model))
        alpha = model.alpha * float(np.sum(np.array([mpmath.mpf(w) for w in weight])))
    objective = objective_of(
        X, np.ldexp(y, -shift), weight, loss, 0.0, has_intercept=model.fit_intercept, exponents=exponents
    )
    objective.penalty[:-1] = np.ldexp(alpha, -2 * exponents)
    ours = np.append(np.ldexp(model.coef_, exponents - shift), np.ldexp(model.intercept_, -shift))
    truth = LossOracle(objective).minimum(ours[None])[0]
    step = mpmath.mpf(2) ** LATTICE_LOG2
    assert [int(mpmath.nint(x / step)) for x in truth] == (ours / 2.0**LATTICE_LOG2).tolist()


def test_outliers_follow_the_rows():
    """They are told in the order in which rows were learned."""
    X, y, _ = rows(MODELS["huber"])
    model = HuberRegressor(scale=0.4).fit(X, y)
    model.partial_forget([0, 5]).partial_fit(X[:1], [1e6], sample_ids=[0])
    assert model.outliers_.shape == (59,)
    assert model.outliers_[-1]
    residuals = np.abs(np.delete(y, [0, 5]) - model.predict(np.delete(X, [0, 5], axis=0)))
    assert (model.outliers_[:-1] == (residuals > 0.4 * 1.35)).all()


# --- degenerate sets, and what is refused ----------------------------------------------------------------------------


@every_model
def test_nothing_left(model):
    """Forgetting is not refused, reading says what is missing, learning revives."""
    X, y, _ = rows(model)
    model = type(model)(**model.get_params()).fit(X, y)
    whole = state_digest(model)
    model.partial_forget(np.arange(60))
    with pytest.raises(DegenerateRowsError, match="no row"):
        model.predict(X)
    assert state_digest(model) == state_digest(reference_fit(model))
    assert state_digest(model.partial_fit(X, y, sample_ids=np.arange(60))) == whole


def test_counts_of_nothing_but_zeros():
    """With an intercept the optimum is at infinity; without one there is an optimum."""
    X = np.array([[1.0], [2.0], [3.0]])
    model = PoissonRegressor().fit(X, [0, 0, 5])
    model.partial_forget([2])
    with pytest.raises(CertificateError, match="at infinity"):
        model.predict(X)
    assert state_digest(model) == state_digest(reference_fit(model))
    assert PoissonRegressor(fit_intercept=False).fit(X, [0, 0, 0]).coef_ < 0


def test_a_column_of_zeros_and_dependent_columns():
    """Coefficient 0; unique with a penalty alone."""
    X, y, _ = rows(MODELS["poisson"])
    assert PoissonRegressor().fit(np.insert(X, 1, 0.0, axis=1), y).coef_[1] == 0
    twice = np.hstack([X, X])
    coef = PoissonRegressor(alpha=0.5).fit(twice, y).coef_
    assert (coef[:3] == coef[3:]).all()
    with pytest.raises(CertificateError, match="depend on each other"):
        PoissonRegressor(alpha=0).fit(twice, y)


@pytest.mark.parametrize(
    ("model", "y", "message"),
    [
        (PoissonRegressor(), [1.0, -1.0, 0.0], "1 of 3 are not at least 0"),
        (GammaRegressor(), [1.0, 0.0, 0.0], "2 of 3 are not above 0"),
        (TweedieRegressor(power=1.5), [1.0, -1.0, -2.0], "2 of 3 are not at least 0"),
        (TweedieRegressor(power=0.5), [1.0, 1.0, 2.0], "no distribution has one"),
        (TweedieRegressor(power=3), [1.0, 1.0, 2.0], "not convex in the score"),
        (TweedieRegressor(power=-1), [1.0, 1.0, 2.0], "not convex in the score"),
        (TweedieRegressor(power=1, link="identity"), [1.0, 1.0, 2.0], "not defined for scores below 0"),
        (TweedieRegressor(link="log"), [1.0, 1.0, 2.0], "not convex, so no optimum"),
        (HuberRegressor(), [1.0, 1.0, 2.0], "needs a fixed scale"),
        (HuberRegressor(scale=0.0), [1.0, 1.0, 2.0], "'scale' parameter"),
    ],
    ids=str,
)
def test_what_cannot_be_exact_is_refused(model, y, message):
    """At fit."""
    with pytest.raises(ValueError, match=message):
        model.fit(np.array([[1.0], [2.0], [4.0]]), y)


def test_targets_out_of_range_change_nothing():
    """Where they are to be learned, too."""
    X, y, _ = rows(MODELS["poisson"])
    model = PoissonRegressor().fit(X, y)
    before = state_digest(model)
    with pytest.raises(ValueError, match=r"1 of 2 .* Nothing was changed"):
        model.partial_fit(X[:2], [1.0, -1.0], sample_ids=[100, 101])
    assert state_digest(model) == before
