"""Approximate forgetting says that it is, and is as near to a refit as its method can be."""

import pickle
import warnings

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from sklearn.base import clone, is_classifier, is_regressor

import skunlearn.linear_model
from skunlearn import can_forget, forget
from skunlearn.approximate import FineTuneForget, GradientAscentForget, InfluenceForget, NewtonForget
from skunlearn.exceptions import ApproximateForgettingWarning, ForeignModelError, NotFittedError, UnknownSampleError

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ApproximateForgettingWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 3))
NUMBERS = np.exp(0.3 * X[:, 0]) + RNG.random(200)
TWO, THREE = (X[:, 0] + RNG.logistic(size=200) > 0).astype(int), np.digitize(X[:, 1] + RNG.logistic(size=200), [-1, 1])
GONE = np.arange(0, 24, 2)

CASES = [
    (sklearn.linear_model.LogisticRegression(tol=1e-9), np.array(["no", "yes"])[TWO]),
    (skunlearn.linear_model.LogisticRegression(C=0.5, class_weight={0: 2.0}), THREE),
    (sklearn.linear_model.Ridge(alpha=2.0), NUMBERS),
    (skunlearn.linear_model.LinearRegression(), np.column_stack([NUMBERS, TWO])),
    (sklearn.linear_model.PoissonRegressor(alpha=0.5, tol=1e-9), NUMBERS),
    (skunlearn.linear_model.RidgeClassifier(), THREE),
]
METHODS = [InfluenceForget, NewtonForget, FineTuneForget, GradientAscentForget]


@pytest.mark.parametrize(("estimator", "y"), CASES, ids=lambda case: type(case).__name__)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array], ids=["dense", "csr"])
def test_steps_go_towards_a_refit_and_newtons_goes_furthest(estimator, y, layout):
    residuals = {}
    for Method in METHODS:
        model = Method(estimator).fit(layout(X), y)
        assert model.residuals().model == model.residuals().nothing_done
        model.partial_forget(GONE)
        residuals[Method] = model.residuals()
        assert residuals[Method].refit < residuals[Method].model + 1e-9 < residuals[Method].nothing_done
    assert residuals[NewtonForget].model < residuals[InfluenceForget].model < residuals[FineTuneForget].model
    assert residuals[NewtonForget].model < 0.1 * residuals[NewtonForget].nothing_done


@pytest.mark.parametrize("estimator", [sklearn.linear_model.Ridge(), skunlearn.linear_model.LinearRegression()])
def test_for_least_squares_newtons_step_is_a_refit(estimator):
    model = NewtonForget(estimator).fit(X, NUMBERS).partial_forget(GONE)
    refit = clone(estimator).fit(np.delete(X, GONE, axis=0), np.delete(NUMBERS, GONE))
    np.testing.assert_allclose(model.coef_, refit.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, refit.intercept_, rtol=1e-9)


@pytest.mark.parametrize("Method", METHODS)
def test_every_call_warns_and_the_guarantee_says_approximate(Method):
    model = Method(sklearn.linear_model.LogisticRegression()).fit(X, TWO, sample_ids=np.arange(200))
    for sample_id in (3, 4):
        with pytest.warns(ApproximateForgettingWarning, match="forgets approximately"):
            model.partial_forget([sample_id])
    assert model.guarantee_.kind == "approximate"
    assert model.guarantee_.epsilon is None
    assert model.n_live_ == 198
    before = model.coef_
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnknownSampleError):
            model.partial_forget([3])
    np.testing.assert_array_equal(model.coef_, before)


@pytest.mark.parametrize("Method", [InfluenceForget, GradientAscentForget])
def test_a_step_can_be_taken_back(Method):
    model = Method(sklearn.linear_model.Ridge()).fit(X, NUMBERS, sample_ids=np.arange(200))
    before = model.coef_
    model.partial_forget([7]).partial_fit(X[[7]], NUMBERS[[7]], sample_ids=[7])
    moved = np.abs(Method(sklearn.linear_model.Ridge()).fit(X, NUMBERS).partial_forget([7]).coef_ - before).max()
    assert np.abs(model.coef_ - before).max() < 0.2 * moved


@pytest.mark.parametrize(("estimator", "y"), CASES, ids=lambda case: type(case).__name__)
def test_a_release_answers_like_the_model_and_is_scikit_learns(estimator, y):
    model = InfluenceForget(estimator).fit(X, y).partial_forget(GONE)
    released = model.release()
    assert type(released).__module__.startswith("sklearn.linear_model")
    np.testing.assert_array_equal(released.coef_, model.coef_)
    np.testing.assert_allclose(released.predict(X[:20]), model.predict(X[:20])) if y.dtype.kind == "f" else (
        np.testing.assert_array_equal(released.predict(X), model.predict(X))
    )
    assert is_classifier(model) == is_classifier(estimator)
    assert is_regressor(model) == is_regressor(estimator)
    if hasattr(released, "predict_proba"):
        np.testing.assert_allclose(model.predict_proba(X), released.predict_proba(X), rtol=1e-12, atol=1e-15)
    else:
        assert not hasattr(model, "predict_proba")


def test_the_coefficients_of_the_fit_are_in_no_release():
    model = InfluenceForget(sklearn.linear_model.Ridge()).fit(X, NUMBERS)
    before = model.coef_.tobytes()
    assert before not in pickle.dumps(model.partial_forget(GONE).release())


def test_a_loaded_model_is_fitted_again():
    model = GradientAscentForget(sklearn.linear_model.Ridge()).fit(X, NUMBERS).partial_forget(GONE)
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.residuals().model == loaded.residuals().refit < model.residuals().model


def test_forget_refuses_unless_it_may_be_approximate():
    model = NewtonForget(sklearn.linear_model.Ridge()).fit(X, NUMBERS, sample_ids=np.arange(200))
    before = model.coef_
    with pytest.raises(ForeignModelError, match=r"1 of 1 parts .* without a bound"):
        forget(model, [3])
    np.testing.assert_array_equal(model.coef_, before)
    assert can_forget(model).kind == "approximate"
    receipt = forget(model, [3], allow_approximate=True)
    assert receipt.guarantee.kind == "approximate"
    assert receipt.rows_removed == 1


def test_a_class_that_leaves_or_comes_leads_to_a_fit():
    y = np.where(np.arange(200) < 2, 9, TWO)
    for Method in METHODS:
        model = Method(sklearn.linear_model.LogisticRegression()).fit(X, y, sample_ids=np.arange(200))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.partial_forget([0, 1])
        assert model.classes_.tolist() == [0, 1]
        assert model.residuals().model == model.residuals().refit
        model.partial_fit(X[:2], y[:2], sample_ids=[0, 1])
        assert model.classes_.tolist() == [0, 1, 9]


def test_what_has_no_known_objective_is_refused():
    with pytest.raises(TypeError, match="objective of a Lasso is not known"):
        NewtonForget(sklearn.linear_model.Lasso()).fit(X, NUMBERS)
    with pytest.raises(TypeError, match="without averages"):
        NewtonForget(sklearn.linear_model.SGDClassifier()).fit(X, TWO)
    with pytest.raises(TypeError, match="positive=True has no gradient"):
        NewtonForget(sklearn.linear_model.LinearRegression(positive=True)).fit(X, NUMBERS)
    with pytest.raises(TypeError, match="L1 penalty has no gradient"):
        NewtonForget(sklearn.linear_model.LogisticRegression(l1_ratio=1.0, solver="saga")).fit(X, TWO)
    with pytest.raises(ValueError, match="weighs all rows anew"):
        NewtonForget(sklearn.linear_model.LogisticRegression(class_weight="balanced")).fit(X, TWO)
    with pytest.raises(ValueError, match="learning_rate"):
        FineTuneForget(sklearn.linear_model.Ridge(), learning_rate=-1).fit(X, NUMBERS)
    with pytest.raises(NotFittedError):
        InfluenceForget(sklearn.linear_model.Ridge()).predict(X)
