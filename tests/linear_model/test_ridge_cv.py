"""`RidgeCV`: folds that no other row moves, scores that are rational numbers, and scikit-learn's choice on such folds."""

import pickle
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.linear_model
from _unlearn_native._native import row_tags
from sklearn.datasets import load_diabetes
from sklearn.model_selection import PredefinedSplit

from skunlearn import Key, reference_fit, state_digest
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.linear_model import Ridge, RidgeCV
from skunlearn.linear_model._ridge_cv import folds_of

ALPHAS = [1e-3, 0.1, 1.0, 10.0, 1e3]
KEY = Key(bytes(range(32)))
scorings = pytest.mark.parametrize("scoring", [None, "r2", "neg_mean_squared_error"])


def numbers(n=60, d=3, n_targets=1, seed=0):
    """Rows of float64 with 53 bits at work, a noisy target, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.integers(-2, 3, d)
    y = X @ rng.normal(size=(d, n_targets)) + 3 * rng.normal(size=(n, n_targets))
    return X, y if n_targets > 1 else y[:, 0], rng.random(n)


def folds(ids, n_folds, key=KEY):
    return folds_of(row_tags(key._secret, ids), n_folds)


@scorings
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_the_choice_is_scikit_learns_on_the_same_folds(scoring, fit_intercept, n_targets):
    """Attributes at rtol 1e-9 of a RidgeCV that is told the folds, in its shapes, before and after a deletion."""
    X, y = load_diabetes(return_X_y=True)
    y = y if n_targets == 1 else np.column_stack([y, y**2, X[:, 2] - y])
    params = {"alphas": ALPHAS, "fit_intercept": fit_intercept, "scoring": scoring}
    ids = np.arange(len(X)) * 7 - 100
    ours = RidgeCV(**params, cv=4, random_state=KEY).fit(X, y, sample_ids=ids)
    going = np.arange(0, len(X), 9)

    for kept in (np.arange(len(X)), np.delete(np.arange(len(X)), going)):
        theirs = sklearn.linear_model.RidgeCV(**params, cv=PredefinedSplit(folds(ids[kept], 4))).fit(X[kept], y[kept])
        assert ours.alpha_ == theirs.alpha_
        np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-9)
        assert ours.coef_.shape == theirs.coef_.shape
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9)
        assert type(ours.intercept_) is type(theirs.intercept_)
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-9)
        released = ours.release()
        assert type(released) is type(theirs)
        assert (released.alpha_, released.best_score_) == (ours.alpha_, ours.best_score_)
        assert released.coef_.tobytes() == ours.coef_.tobytes()
        np.testing.assert_allclose(released.predict(X), ours.predict(X), rtol=1e-9)
        ours.partial_forget(ids[going], on_unknown="ignore")


@scorings
@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_rational_numbers_rounded_once(scoring, weighted):
    """best_score_ is the exact mean over folds of the scores of Ridge's coefficients: Fractions, row by row."""
    X, y, weight = numbers()
    X, y = X.astype(np.float32).astype(float), y.astype(np.float32).astype(float)  # exact at any scale here
    weight = np.random.default_rng(1).choice([0.25, 1.0, 4.0], len(X)) if weighted else np.ones(len(X))
    at = folds(np.arange(len(X)), 3)
    model = RidgeCV([0.5], cv=3, scoring=scoring, random_state=KEY).fit(X, y, weight)

    scores = []
    for fold in range(3):
        train, test = at != fold, at == fold
        ridge = Ridge(0.5).fit(X[train], y[train], weight[train])
        coef, b = [Fraction(w) for w in ridge.coef_], Fraction(float(ridge.intercept_))
        rows = list(zip(X[test].tolist(), y[test].tolist(), map(Fraction, weight[test].tolist()), strict=True))
        error = sum(
            s * (Fraction(t) - b - sum(w * Fraction(v) for w, v in zip(coef, x, strict=True))) ** 2 for x, t, s in rows
        )
        total = sum(s for _, _, s in rows)
        mean = sum(s * Fraction(t) for _, t, s in rows) / total
        spread = sum(s * (Fraction(t) - mean) ** 2 for _, t, s in rows)
        scores.append(-error / total if scoring == "neg_mean_squared_error" else 1 - error / spread)
    assert model.best_score_ == float(sum(scores) / 3)


def test_the_choice_is_made_anew():
    """Rows that speak for another penalty come and go, and the choice with them: bits and digest are a refit's."""
    X, y, _ = numbers(n=200)
    model = RidgeCV(ALPHAS, cv=5, random_state=KEY).fit(X, y)
    chosen = [model.alpha_]
    for noise, at in ((3000.0, np.arange(200, 400)), (0.0, np.arange(400, 500))):
        rows = np.random.default_rng(int(noise)).normal(size=(len(at), X.shape[1]))
        targets = noise * np.random.default_rng(5).normal(size=len(at))
        model.partial_fit(rows, targets, sample_ids=at)
        chosen.append(model.alpha_)
        assert_is_refit(model)
    model.partial_forget(np.arange(200, 500))
    assert_is_refit(model)
    assert model.alpha_ == chosen[0]
    assert len(set(chosen)) > 1


def assert_is_refit(model):
    want = reference_fit(model)
    assert state_digest(model) == state_digest(want)
    assert model.coef_.tobytes() == want.coef_.tobytes()
    assert (model.alpha_, repr(model.best_score_)) == (want.alpha_, repr(want.best_score_))


def test_the_coefficients_are_those_of_ridge():
    """For the chosen penalty, bit for bit."""
    X, y, weight = numbers(n_targets=2)
    model = RidgeCV(ALPHAS, cv=3).fit(X, y, weight)
    ridge = Ridge(model.alpha_).fit(X, y, weight)
    assert model.coef_.tobytes() == ridge.coef_.tobytes()
    assert model.intercept_.tobytes() == ridge.intercept_.tobytes()


def test_equal_scores_choose_the_first_penalty():
    """A target of zeros is predicted without an error under any penalty."""
    X, _, _ = numbers()
    for alphas in ([3.0, 1.0, 2.0], [1.0, 3.0]):
        model = RidgeCV(alphas, cv=3).fit(X, np.zeros(len(X)))
        assert (model.alpha_, model.best_score_) == (alphas[0], 1.0)


def test_fewer_than_two_folds_with_rows_choose_the_first_penalty():
    """There is nothing to compare: NaN says so. No row is left: an error says so. Rows revive the model."""
    X, y, _ = numbers(n=40)
    at = folds(np.arange(40), 2)
    model = RidgeCV([5.0, 1.0], cv=2, random_state=KEY).fit(X, y).partial_forget(np.flatnonzero(at == 0))
    assert model.alpha_ == 5.0
    assert np.isnan(model.best_score_)
    assert model.coef_.tobytes() == Ridge(5.0).fit(X[at == 1], y[at == 1]).coef_.tobytes()
    assert_is_refit(model)
    model.partial_forget(np.flatnonzero(at == 1))
    with pytest.raises(DegenerateRowsError, match="no row"):
        _ = model.alpha_
    assert_is_refit(model.partial_fit(X, y, sample_ids=np.arange(40)))


def test_a_fold_is_a_keyed_hash_of_the_id():
    """It depends on the key, on the id and on nothing else; folds are of about one size."""
    ids = np.arange(6000)
    first = folds(ids, 5)
    assert folds(ids[::-1].copy(), 5).tolist() == first[::-1].tolist()
    assert (first != folds(ids, 5, Key(bytes(32)))).mean() > 0.7
    assert (abs(np.bincount(first) - 1200) < 5 * np.sqrt(1200 * 0.8)).all()


def test_a_new_key_deals_new_folds():
    """After reseed the model is a function of the new key, and copies and pickles keep it."""
    X, y, _ = numbers(n=90)
    model = RidgeCV(ALPHAS, cv=3, random_state=0).fit(X, y)
    before = state_digest(model), model.best_score_
    assert state_digest(RidgeCV(ALPHAS, cv=3, random_state=0).fit(X, y)) == before[0]
    model.reseed()
    assert state_digest(model) != before[0]
    assert model.best_score_ != before[1]
    assert_is_refit(model)
    assert_is_refit(model.partial_forget([1, 2]))
    loaded = pickle.loads(pickle.dumps(model))
    assert state_digest(loaded) == state_digest(model)
    assert_is_refit(loaded.partial_forget([7]))


def test_layouts_dtypes_and_kinds_of_target():
    """Equal values as float32, float64 or CSR give the same bits; a column of targets is one target."""
    X, y, weight = numbers()
    X = X.astype(np.float32)
    X[X < 0] = 0
    models = [
        RidgeCV(ALPHAS, cv=3, random_state=KEY).fit(rows, y, weight)
        for rows in (X, X.astype(np.float64), sp.csr_array(X))
    ]
    assert (
        len({m.coef_.tobytes() + m.predict(X).tobytes() + repr((m.alpha_, m.best_score_)).encode() for m in models})
        == 1
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "leave-one-out.*use cv=5"),
        ({"cv": 1}, "no number of folds"),
        ({"cv": True}, "no number of folds"),
        ({"cv": PredefinedSplit([0, 1, 0])}, "PredefinedSplit is no number of folds"),
        ({"cv": 61}, "n_samples=60"),
        ({"cv": 3, "alphas": [-1.0, 1.0]}, "1 of 2 alphas"),
        ({"cv": 3, "alphas": []}, "at least one"),
        ({"cv": 3, "scoring": "max_error"}, "does not offer this scoring"),
        ({"cv": 3, "scoring": lambda *_: 0.0}, "does not offer this scoring"),
        ({"cv": 3, "store_cv_results": True}, "store_cv_results"),
        ({"cv": 3, "alpha_per_target": True}, "alpha_per_target"),
    ],
)
def test_what_is_not_offered_is_refused_with_its_reason(params, message):
    """At fit, and a model fitted before is unchanged."""
    X, y, _ = numbers()
    model = RidgeCV(cv=2, random_state=0).fit(X, y)
    before = state_digest(model)
    with pytest.raises(ValueError, match=message):
        model.set_params(**{"cv": None, **params}).fit(X, y)
    assert state_digest(model) == before
