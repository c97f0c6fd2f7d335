"""`IsolationForest`: scikit-learn's from outside, the first rows of every tree by a keyed order from inside."""

import math
import pickle
import threading
from inspect import signature

import numpy as np
import pytest
import scipy.sparse as sp
import sklearn.ensemble
from scipy import stats
from sklearn.metrics import roc_auc_score

from skunlearn import Key, reference_fit, state_digest
from skunlearn.ensemble import IsolationForest

from . import oracle


def table(n=400, d=4, seed=0, missing=0.05):
    """Rows of one cloud with ties and missing values, the last twentieth far off."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(n, d)), 1)
    n_far = n // 20 + 1
    X[-n_far:] += rng.choice([-6, 6], (n_far, d))
    X[rng.random(X.shape) < missing] = np.nan
    return X


def test_parameters_are_those_of_scikit_learn():
    """Names and defaults are scikit-learn's."""
    theirs = signature(sklearn.ensemble.IsolationForest).parameters
    ours = signature(IsolationForest).parameters
    assert {name: p.default for name, p in ours.items()} == {name: p.default for name, p in theirs.items()}


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"max_samples": 20, "contamination": 0.1},
        {"max_samples": 64, "max_features": 2, "contamination": 0.03},
        {"max_features": 0.5},
    ],
)
def test_forgetting_is_a_refit_and_learning_its_inverse(params):
    """One by one, in batches, down to a few rows, where trees get shallower, and back: always what a fit makes."""
    X = table(300)
    model = IsolationForest(n_estimators=9, random_state=0, **params).fit(X)
    start, scores = state_digest(model), model.decision_function(X)
    order = np.random.default_rng(1).permutation(300)
    for going in np.split(order, [1, 2, 3, 20, 40, 45, 60, 172, 200, 240, 283, 284, 290, 297, 299])[:-1]:
        model.partial_forget(going)
        model.score_samples(X[:1])
        fresh = reference_fit(model)
        assert state_digest(model) == state_digest(fresh)
        np.testing.assert_array_equal(model.decision_function(X), fresh.decision_function(X))
        assert model.offset_ == fresh.offset_
    assert model.max_samples_ == 1
    for coming in np.split(order[:299], [1, 3, 17, 120, 290]):
        model.partial_fit(X[coming], sample_ids=coming)
        assert state_digest(model) == state_digest(reference_fit(model))
    assert state_digest(model) == start
    np.testing.assert_array_equal(model.decision_function(X), scores)


@pytest.mark.parametrize(
    ("n", "params"), [(50, {"max_samples": 12}), (9, {}), (40, {"max_samples": 20, "max_features": 2})]
)
def test_scores_are_those_of_the_oracle(n, params):
    """Rows of trees, their features, thresholds, depths and path lengths: the definition, evaluated in slow Python."""
    X = table(n, 3).astype(np.float32)
    key = Key(b"k" * 32)
    model = IsolationForest(n_estimators=4, random_state=key, **params).fit(X).partial_forget([2, 5])
    left = np.setdiff1d(np.arange(n), [2, 5])
    block = model._live.rows.take(model._live.rows.native.order("insertion"), with_tags=True)
    rows = [
        oracle.Row(low | high << 64, tuple(x), 0.5 + (low >> 12) * 2.0**-53)
        for (low, high), x in zip(block.tags.tolist(), X[left].tolist(), strict=True)
    ]
    n_rows = min(params.get("max_samples", 256), n - 2)
    of_definition = oracle.Params(
        key=model._live.key._secret,
        n_features=3,
        task="regression",
        splitter="uniform",
        criterion="squared_error",
        n_estimators=4,
        max_depth=math.ceil(math.log2(n_rows)),
        n_thresholds=1,
        bootstrap=False,
        rows_of_tree=n_rows,
        features_of_tree=params.get("max_features", 3),
    )
    lengths = oracle.path_lengths(rows, of_definition, X.tolist())
    expected = -(2.0 ** -(lengths / (4 * oracle.average_path_length(n_rows))))
    np.testing.assert_allclose(model.score_samples(X), expected, rtol=1e-14)


@pytest.mark.parametrize("params", [{}, {"max_samples": 50, "contamination": 0.1}, {"max_features": 2}])
def test_a_release_is_scikit_learns_forest(params):
    """Scores agree to the last bit of a power, labels where scores are no closer to the offset; no target is left."""
    X = table()
    model = IsolationForest(n_estimators=20, random_state=0, **params).fit(X).partial_forget(np.arange(0, 300, 7))
    new = np.random.default_rng(1).normal(size=(500, 4)) * 2
    new[np.random.default_rng(2).random(new.shape) < 0.1] = np.nan

    released = pickle.loads(pickle.dumps(model.release()))

    assert type(released) is sklearn.ensemble.IsolationForest
    np.testing.assert_allclose(released.score_samples(new), model.score_samples(new), rtol=4e-16)
    decision = model.decision_function(new)
    clear = np.abs(decision) > 1e-15
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(released.predict(new)[clear], model.predict(new)[clear])
    assert released.offset_ == model.offset_
    assert released.max_samples_ == model.max_samples_
    for tree, ours in zip(released.estimators_, model.estimators_, strict=True):
        assert not tree.tree_.value.any()
        assert not tree.tree_.impurity.any()
        assert tree.tree_.n_node_samples[0] == model.max_samples_ == ours.tree_.n_node_samples[0]
    assert [len(features) for features in released.estimators_features_] == [params.get("max_features", 4)] * 20


def test_a_row_free_model_scores_the_same():
    """`forgettable=False` keeps trees and offset."""
    X = table()
    kept, free = (
        IsolationForest(n_estimators=10, contamination=0.1, max_features=2, random_state=0).fit(
            X, forgettable=forgettable
        )
        for forgettable in (True, False)
    )
    np.testing.assert_array_equal(kept.decision_function(X), free.decision_function(X))
    np.testing.assert_array_equal(kept.predict(X), pickle.loads(pickle.dumps(free)).predict(X))


def test_contamination_is_the_share_of_outliers():
    """A tenth of the live rows have a negative decision, before and after a deletion."""
    X = np.random.default_rng(0).normal(size=(1000, 5))
    model = IsolationForest(n_estimators=30, contamination=0.1, random_state=0)
    assert (model.fit_predict(X) == -1).sum() == 100
    model.partial_forget(np.arange(500))
    assert (model.predict(X[500:]) == -1).sum() == 50


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"bootstrap": True}, "with replacement"),
        ({"max_samples": 0.5}, "pass an integer"),
        ({"max_features": 5}, "from 1 to the number of features"),
        ({"max_features": 0}, "from 1 to the number of features"),
    ],
)
def test_what_cannot_be_exact_is_refused_with_its_reason(params, reason):
    """Refused at fit, and a fitted model stays as it was."""
    X = table()
    model = IsolationForest(n_estimators=2, random_state=0).fit(X)
    before = state_digest(model)
    with pytest.raises(ValueError, match=reason) as caught:
        model.set_params(**params).fit(X)
    assert "Nothing was changed." in str(caught.value)
    assert state_digest(model) == before


def test_weights_and_forms_of_rows():
    """A weight above 0 is a row, 0 is none; sparse, dense and float32 rows are the same rows; more rows than there are."""
    X = np.where(np.random.default_rng(0).random((60, 4)) < 0.5, 0.0, table(60, missing=0.0))

    def fit(X, weight=None, **params):
        return IsolationForest(n_estimators=5, random_state=0, **params).fit(X, None, weight)

    expected = fit(X).score_samples(X)
    for same in (sp.csr_array(X), sp.csc_array(X), X.astype(np.float32)):
        np.testing.assert_array_equal(fit(same).score_samples(sp.csr_array(X)), expected)
    weight = np.linspace(0.5, 9, 60)
    np.testing.assert_array_equal(fit(X, weight).score_samples(X), expected)
    weight[:10] = 0
    without = IsolationForest(n_estimators=5, random_state=0).fit(X[10:], sample_ids=np.arange(10, 60))
    np.testing.assert_array_equal(fit(X, weight).score_samples(X), without.score_samples(X))
    assert fit(X, max_samples=100).max_samples_ == 60


def test_no_result_depends_on_threads_and_readers_see_one_state():
    """Eight threads give the bits of one; every decision of a reader is that before or after some deletion."""
    X = table(120)
    models = [IsolationForest(n_estimators=6, contamination=0.2, random_state=0, n_jobs=n).fit(X) for n in (1, 8)]
    model, twin = models
    expected = {twin.decision_function(X).tobytes()}
    for row in range(15):
        expected.add(twin.partial_forget([row]).decision_function(X).tobytes())
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(model.decision_function(X).tobytes())

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for row in range(15):
        model.partial_forget([row])
    stop.set()
    for reader in readers:
        reader.join()
    assert set(seen) <= expected
    assert state_digest(model) == state_digest(twin)


def test_rows_of_trees_are_drawn_evenly():
    """Each of 40 rows is in as many of 3,000 trees of 10 as another: chi-square at 0.1 %; so are 3 of 6 features."""
    X = np.tile(np.arange(40.0)[:, None], 6)
    model = IsolationForest(n_estimators=3000, max_samples=1, max_features=3, random_state=0).fit(X)
    grown = model._published().grown()
    features = np.bincount(np.concatenate(grown.features), minlength=6)
    assert stats.chisquare(features).pvalue > 1e-3
    rows = np.random.default_rng(0).integers(0, 2**64, 40, dtype=np.uint64).tolist()
    draws = [oracle.tree_tags(b"k" * 32, t).draw for t in range(3000)]
    first = [np.argsort([oracle.h(draw, row) for row in rows])[:10] for draw in draws]
    assert stats.chisquare(np.bincount(np.concatenate(first), minlength=40)).pvalue > 1e-3


def test_outliers_are_found_as_well_as_by_scikit_learn():
    """AUC on a cloud with far rows, over seeds, is within .005 of scikit-learn's, or better."""
    gaps = []
    for seed in range(4):
        X = table(1500, 6, seed, missing=0.0)
        X[-75:] *= 0.5
        is_far = np.arange(1500) >= 1425
        scores = [
            roc_auc_score(is_far, -Forest(random_state=seed).fit(X).score_samples(X))
            for Forest in (IsolationForest, sklearn.ensemble.IsolationForest)
        ]
        gaps.append(scores[0] - scores[1])
    assert np.mean(gaps) > -0.005


def test_most_deletions_touch_few_trees():
    """Of 20,000 rows one is in a hundredth of the trees: a deletion visits nodes of about one in 100, and no more."""
    X = np.random.default_rng(0).normal(size=(20_000, 3))
    model = IsolationForest(n_estimators=100, random_state=0).fit(X)
    before = model._live.core._forest.report()["visited"]
    model.partial_forget(np.arange(50))
    visited = model._live.core._forest.report()["visited"] - before
    assert visited < 50 * 100 * 256 / 20_000 * 2 * 9


def test_memory_is_estimated():
    """Before anything is allocated the size is known to a factor of two."""
    X = np.random.default_rng(0).normal(size=(20_000, 8))
    model = IsolationForest(n_estimators=50)
    assert 0.5 < model.estimate_memory(X).core / model.fit(X)._live.core.nbytes() < 2
