"""`skunlearn.ensemble`: scikit-learn's forests from outside, one function of the rows from inside."""

import importlib.util
import os
import pickle
import struct
import threading
from inspect import signature
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn.ensemble
from _unlearn_native._native import forest_copies
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, r2_score, roc_auc_score
from sklearn.preprocessing import OrdinalEncoder
from sklearn.utils.class_weight import compute_sample_weight

from skunlearn import Key, persistence, reference_fit, state_digest
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from skunlearn.exceptions import DamagedStateError

CLASSIFIERS = [RandomForestClassifier, ExtraTreesClassifier]
REGRESSORS = [RandomForestRegressor, ExtraTreesRegressor]
FORESTS = [*CLASSIFIERS, *REGRESSORS]
each = pytest.mark.parametrize("Forest", FORESTS)
each_classifier = pytest.mark.parametrize("Forest", CLASSIFIERS)


def table(n=80, d=4, seed=0, missing=0.1):
    """Rows with ties and missing values; targets that are class labels and numbers alike."""
    rng = np.random.default_rng(seed)
    X = np.round(rng.normal(size=(n, d)), 1)
    y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
    X[rng.random(X.shape) < missing] = np.nan
    return X, y


def outputs(model, X):
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


# --- parameters ------------------------------------------------------------------------------------------------------


@each
def test_parameters_are_those_of_scikit_learn(Forest):
    """Names, order and defaults are scikit-learn's; what is new comes behind them."""
    theirs = signature(getattr(sklearn.ensemble, Forest.__name__)).parameters
    ours = signature(Forest).parameters

    assert list(ours)[: len(theirs)] == list(theirs)
    assert all(ours[name].default == theirs[name].default for name in theirs)
    assert set(list(ours)[len(theirs) :]) <= {"n_thresholds", "categorical_features", "classes"}


REFUSED = [
    ({"min_samples_split": 0.1}, "share of the rows"),
    ({"min_samples_leaf": 0.1}, "share of the rows"),
    ({"min_weight_fraction_leaf": 0.1}, "every node with the weight of all rows"),
    ({"min_impurity_decrease": 0.1}, "every node with the weight of all rows"),
    ({"max_leaf_nodes": 5}, "one order"),
    ({"ccp_alpha": 0.1}, "one order"),
    ({"max_samples": 10}, "pass the share"),
    ({"monotonic_cst": [0, 1, 0, 0]}, "monotonic_cst"),
    ({"max_samples": 0.5, "warm_start": True}, "rows would leave"),
    ({"bootstrap": False, "oob_score": True}, "every tree"),
]


@each
@pytest.mark.parametrize(("params", "reason"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_exact_is_refused_with_its_reason(Forest, params, reason):
    """A parameter that is no function of a few rows is refused at fit, and a fitted model stays as it was."""
    X, y = table()
    model = Forest(n_estimators=2, random_state=0).fit(X, y)
    before = state_digest(model)

    with pytest.raises(ValueError, match=reason) as caught:
        model.set_params(**params).fit(X, y)

    assert "Nothing was changed." in str(caught.value)
    assert state_digest(model) == before


def test_criteria_and_class_weights_are_refused_with_their_reasons():
    """As above, for what not every forest has."""
    X, y = table()
    for criterion in ("absolute_error", "poisson"):
        with pytest.raises(ValueError, match="no integers"):
            RandomForestRegressor(criterion=criterion).fit(X, y)
    for class_weight, reason in [
        ({0: 0.0}, "1 of 1 class weights"),
        ({0: 1.0, 1: np.inf}, "1 of 2 class weights"),
    ]:
        with pytest.raises(ValueError, match=reason):
            RandomForestClassifier(class_weight=class_weight).fit(X, y)


@pytest.mark.parametrize(
    ("ours", "same"),
    [
        ({"criterion": "log_loss"}, {"criterion": "entropy"}),
        ({"max_features": "sqrt"}, {"max_features": 2}),
        ({"max_features": None}, {"max_features": 1.0}),
        ({"max_features": 100}, {"max_features": 4}),
        ({"max_features": 1e-9}, {"max_features": 1}),
        ({"max_depth": 10**6}, {"max_depth": None}),
    ],
)
def test_parameters_that_say_the_same(ours, same):
    """Two ways to write a parameter make the same trees."""
    X, y = table()
    models = [RandomForestClassifier(n_estimators=5, random_state=0, **params).fit(X, y) for params in (ours, same)]
    assert (outputs(models[0], X) == outputs(models[1], X)).all()


@each_classifier
def test_class_weight_multiplies_the_weights_of_rows(Forest):
    """Factors by label are what sample_weight would be, and stay so as rows come and go."""
    X, y = table()
    factors = {0: 2.0, 2: 0.5}
    of_rows = np.array([2.0, 1.0, 0.5])[y]
    by_class = Forest(n_estimators=5, random_state=0, class_weight=factors).fit(X, y, np.full(80, 3.0))
    by_row = Forest(n_estimators=5, random_state=0).fit(X, y, 3.0 * of_rows)
    np.testing.assert_array_equal(outputs(by_class, X), outputs(by_row, X))

    going = np.arange(30)
    by_class.partial_forget(going).partial_fit(X[:5], y[:5], sample_weight=np.full(5, 3.0), sample_ids=going[:5])
    by_row.partial_forget(going).partial_fit(X[:5], y[:5], sample_weight=3.0 * of_rows[:5], sample_ids=going[:5])

    np.testing.assert_array_equal(outputs(by_class, X), outputs(by_row, X))
    assert state_digest(by_class) == state_digest(reference_fit(by_class))


@each_classifier
@pytest.mark.filterwarnings("ignore:.*no out-of-bag output")
@pytest.mark.parametrize("class_weight", ["balanced", "balanced_subsample"])
@pytest.mark.parametrize("params", [{"bootstrap": True, "oob_score": True}, {"bootstrap": False}, {"max_samples": 0.4}])
def test_balanced_classes_weigh_about_alike(Forest, class_weight, params):
    """Roots weigh their classes alike, as scikit-learn's weights do to 1 / 11; that is so after rows came and went."""
    X, y = table(400, missing=0.0)
    y = (y > 1).astype(int)
    model = Forest(n_estimators=6, random_state=0, class_weight=class_weight, **params).fit(X, y)
    for going in (np.arange(0, 200, 7), np.flatnonzero(y)[3::2], [1]):
        model.partial_forget(going, on_unknown="ignore")
        if class_weight == "balanced_subsample" or params == {"bootstrap": False}:  # else a tree's shares are drawn
            roots = np.array([tree.tree_.value[0, 0] for tree in model.estimators_])
            np.testing.assert_allclose(roots, 0.5, atol=0.05)
        assert state_digest(model) == state_digest(reference_fit(model))
    np.testing.assert_array_equal(outputs(model, X), outputs(model.release(), X))
    if "oob_score" in params:
        assert 0.5 < model.oob_score_ <= 1


@each_classifier
def test_balanced_weights_are_those_of_scikit_learn(Forest):
    """Without a draw of rows the weight of a root is that of all rows, which balancing keeps, to 1 / 11."""
    X, y = table(400, missing=0.0)
    model = Forest(n_estimators=2, bootstrap=False, class_weight="balanced", random_state=0).fit(X, y)
    weights = compute_sample_weight("balanced", y)
    for tree in model.estimators_:
        shares = tree.tree_.weighted_n_node_samples[0] * tree.tree_.value[0, 0]
        np.testing.assert_allclose(shares, np.bincount(y, weights), rtol=1 / 11)


# --- categorical features --------------------------------------------------------------------------------------------


def table_of_levels(n=120, seed=0):
    """A level of three that alone matters, numbers that do not, levels that vanish, and missing values."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([rng.integers(0, 7, n), rng.normal(size=n), rng.integers(0, 3, n)]).astype(float)
    y = np.isin(X[:, 0], [1, 4]) + (X[:, 2] == 1)
    X[rng.random(X.shape) < 0.05] = np.nan
    X[:4, 0] = 9.0
    return X, y.astype(int)


@each
@pytest.mark.parametrize(
    "params", [{}, {"bootstrap": True, "oob_score": True}, {"n_thresholds": 3, "max_samples": 0.5}]
)
def test_categorical_forests_forget_and_release_with_the_same_bits(Forest, params):
    """Rows, levels among them, come and go as in a refit; the released subclass of scikit-learn's forest agrees."""
    X, y = table_of_levels()
    new = np.vstack([X, [[77.0, 0.0, 1.0], [np.nan, np.nan, np.nan]]])  # a level never seen
    model = Forest(n_estimators=7, random_state=0, categorical_features=[0, 2], **params).fit(X, y)
    for going in ([0, 1, 2, 3], np.arange(4, 60, 3), [5]):
        model.partial_forget(going, on_unknown="ignore")
        model.predict(X[:1])
        assert state_digest(model) == state_digest(reference_fit(model))
    model.partial_fit(X[:5], y[:5], sample_ids=np.arange(5))
    assert state_digest(model) == state_digest(reference_fit(model))

    released = pickle.loads(pickle.dumps(model.release()))

    assert isinstance(released, getattr(sklearn.ensemble, Forest.__name__))
    np.testing.assert_array_equal(outputs(model, new), outputs(released, new))
    np.testing.assert_array_equal(model.apply(new), released.apply(new))
    np.testing.assert_array_equal(model.feature_importances_, released.feature_importances_)
    assert released.feature_importances_.shape == (3,)
    np.testing.assert_allclose(released.feature_importances_.sum(), 1)
    with pytest.raises(ValueError, match="cannot be fitted"):
        released.fit(X, y)
    row_free = Forest(n_estimators=7, random_state=0, categorical_features=[0, 2]).fit(X, y, forgettable=False)
    again = Forest(n_estimators=7, random_state=0, categorical_features=[0, 2]).fit(X, y)
    np.testing.assert_array_equal(outputs(row_free, new), outputs(again, new))


@each
def test_levels_have_no_order(Forest):
    """Other numbers for the same levels, in the same order of values or not, never part levels that one split joined."""
    X, y = table_of_levels()
    model = Forest(n_estimators=3, max_depth=1, random_state=0, categorical_features=[True, False, True]).fit(X, y)
    levels = np.column_stack([np.arange(7.0), np.zeros(7), np.ones(7)])
    for tree in model.apply(levels).T:
        assert min(np.bincount(tree, minlength=3)[1:]) <= 1


def test_categorical_features_are_spelled_as_in_histogram_boosting():
    """A mask, indices and names say the same; what names no feature is refused, and nothing changes."""
    X, y = table_of_levels()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    fit = lambda spec, X=X: RandomForestClassifier(  # noqa: E731
        n_estimators=3, random_state=0, categorical_features=spec
    ).fit(X, y)
    expected = outputs(fit([0, 2]), X)
    for same in (np.array([True, False, True]), (2, 0)):
        np.testing.assert_array_equal(outputs(fit(same), X), expected)
    np.testing.assert_array_equal(outputs(fit(["c", "a"], frame), frame), expected)
    np.testing.assert_array_equal(outputs(fit([]), X), outputs(fit(None), X))
    model = fit([0])
    before = state_digest(model)
    for wrong, reason in [
        ([3], "1 of 1 categorical_features"),
        ([-1, 0], "1 of 2 categorical_features"),
        ([True, False], "mask of 2 features"),
        (["a"], "X has no names"),
        ([0.5], "must be a mask"),
        ([[0]], "must be a mask"),
    ]:
        with pytest.raises(ValueError, match=reason) as caught:
            model.set_params(categorical_features=wrong).fit(X, y)
        assert "Nothing was changed." in str(caught.value)
    with pytest.raises(ValueError, match="1 of 2 categorical_features"):
        model.set_params(categorical_features=["a", "z"]).fit(frame, y)
    assert state_digest(model) == before


# --- release ---------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("params", [{}, {"bootstrap": True}, {"max_samples": 0.3, "max_depth": 3}])
def test_a_release_is_scikit_learns_forest_and_answers_with_the_same_bits(Forest, params):
    """Predictions, leaves, paths and importances of the released object are the model's, NaN and float64 included."""
    X, y = table()
    model = Forest(n_estimators=7, random_state=0, **params).fit(X, y).partial_forget(np.arange(0, 80, 3))
    new = np.random.default_rng(1).normal(size=(200, 4))  # of 53 bits: float32 thresholds must not care
    new[np.random.default_rng(2).random(new.shape) < 0.2] = np.nan

    released = model.release()

    assert type(released) is getattr(sklearn.ensemble, Forest.__name__)
    np.testing.assert_array_equal(outputs(model, new), outputs(released, new))
    np.testing.assert_array_equal(model.predict(new), released.predict(new))
    np.testing.assert_array_equal(model.apply(new), released.apply(new))
    np.testing.assert_array_equal(model.feature_importances_, released.feature_importances_)
    paths, edges = model.decision_path(new)
    expected_paths, expected_edges = released.decision_path(new)
    assert (paths != expected_paths).nnz == 0
    np.testing.assert_array_equal(edges, expected_edges)
    for theirs, ours in zip(released.estimators_, model.estimators_, strict=True):
        assert theirs.get_depth() == ours.get_depth()


@each
def test_importances_of_next_to_no_weight_are_zero(Forest):
    """Weights whose product with the impurity is no float64: no feature is important."""
    model = Forest(n_estimators=3, bootstrap=False).fit([[0.0], [8.0]], [0, 1], [5e-324, 5e-324])
    assert model.feature_importances_.tolist() in ([0.0], [1.0])


@each
def test_trees_without_rows_are_left_out(Forest):
    """One row in a few trees of many: the others do not count; in none at all: the prior of all rows answers."""
    with_rows = Forest(n_estimators=30, max_samples=0.1, random_state=0).fit([[0.0], [1.0]], [3, 5])
    with_rows.partial_forget([1]) if Forest in REGRESSORS else None
    assert 1 <= len(with_rows.estimators_) <= 6
    np.testing.assert_array_equal(outputs(with_rows, [[0.5]]), outputs(with_rows.release(), [[0.5]]))

    for seed in range(20):
        model = Forest(n_estimators=1, bootstrap=True, random_state=seed).fit([[0.0], [1.0]], [3, 5])
        if not forest_copies(
            model._live.key._secret, model._live.rows.native.tags(np.arange(2, dtype=np.uint32)), n_trees=1, share=None
        ).any():
            break
    assert outputs(model, [[0.5]]).ravel().tolist() in ([0.5, 0.5], [4.0])
    np.testing.assert_array_equal(outputs(model, [[0.5]]), outputs(model.release(), [[0.5]]))


# --- rows ------------------------------------------------------------------------------------------------------------


@each
def test_rows_are_compared_as_float32(Forest):
    """Values that are one float32 are one value, both zeros too, and dense, sparse and float32 rows are the same rows."""
    X, y = table(missing=0.0)
    X[::7, 1] = -0.0
    fit = lambda X: Forest(n_estimators=5, random_state=0).fit(X, y)  # noqa: E731
    expected = outputs(fit(X), X)

    for same in (np.where(X == 0, 0.0, X), X.astype(np.float32), X + 1e-12, sp.csr_array(X), sp.csc_array(X)):
        np.testing.assert_array_equal(outputs(fit(same), X), expected)
    np.testing.assert_array_equal(outputs(fit(X), sp.csr_array(X)), expected)


@each
def test_rows_given_are_left_alone(Forest, tmp_path):
    """Copies are wiped, and only copies: neither arrays nor mapped files of the caller change."""
    X, y = table()
    mapped = np.memmap(tmp_path / "X", dtype=np.float32, mode="w+", shape=X.shape)
    mapped[:] = X
    for rows in (X.copy(), X.astype(np.float32), np.asfortranarray(X), mapped):
        before = np.array(rows)
        model = Forest(n_estimators=2).fit(rows, y).partial_forget([1])
        model.partial_fit(rows[1:2], y[1:2], sample_ids=[1])
        for read in (model.predict, model.apply, model.decision_path):
            read(rows)
        np.testing.assert_array_equal(rows, before)


@each
def test_values_that_are_no_float32_are_refused(Forest):
    """Too large, or missing in sparse rows: refused by fit and by predict."""
    X, y = table(missing=0.0)
    model = Forest(n_estimators=2).fit(X, y)
    X[3, 1] = 3.41e38
    for call in (lambda: Forest().fit(X, y), lambda: model.predict(X)):
        with pytest.raises(ValueError, match="1 of 320 values of X are infinity or a value too large"):
            call()
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.predict(sp.csr_array(X))


@each
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
def test_saved_values_that_are_no_float32_are_refused(Forest, layout):
    """A damaged file may hold what `fit` refuses: loading it says so, and not the first reading."""
    X, y = table(missing=0.0)
    X[3, 1] = mark = 1.2345678
    model = Forest(n_estimators=2).fit(layout(X), y)
    saved = model.__getstate__()["_live"]
    (header_length,) = struct.unpack_from("<I", saved["blob"], 10)
    head, body = saved["blob"][: 14 + header_length], saved["blob"][14 + header_length : -4]
    damaged = body.replace(struct.pack("<d", mark), struct.pack("<d", 1e300))[:-4]

    sealed = persistence.seal(head + persistence.seal(damaged))

    assert persistence.load(model, {**saved, "blob": persistence.seal(head + body)}) is not None
    with pytest.raises(DamagedStateError, match="too large for float32"):
        persistence.load(model, {**saved, "blob": sealed})


def test_several_targets_are_refused():
    """A forest has one target."""
    X, y = table()
    with pytest.raises(ValueError, match="1d array"):
        RandomForestRegressor().fit(X, np.column_stack([y, y]))


@each
@pytest.mark.parametrize("params", [{}, {"max_depth": 5}, {"max_samples": 0.2}, {"min_samples_leaf": 10}])
def test_memory_is_estimated(Forest, params):
    """Before anything is allocated the size is known to a factor of two."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 8))
    y = (X[:, 0] + X[:, 1] + rng.normal(size=3000) > 0).astype(int)
    model = Forest(n_estimators=4, **params)

    estimate = model.estimate_memory(X).core

    assert 0.5 < estimate / model.fit(X, y)._live.core.nbytes() < 2


# --- keys ------------------------------------------------------------------------------------------------------------


def _release(model):
    return model.release()


def _learn_a_row(model):
    return model.partial_fit([[0.0, 1.0, 2.0, 3.0]], [0], sample_ids=[1000])


@each
@pytest.mark.parametrize("read", [lambda model: model.flush(), pickle.dumps, state_digest, _release, _learn_a_row])
def test_a_forgotten_row_waits_for_a_read_and_is_gone_then(Forest, read):
    """A deletion looks at no node; all that reads or writes the whole forest lets nothing of the row stay."""
    X, y = table()
    model = Forest(n_estimators=20, random_state=0).fit(X, y)
    forest = model._live.core._forest
    before = forest.report()

    model.partial_forget([3]).partial_forget([40, 41])

    assert forest.report() == before | {"waiting": 3}
    read(model)
    assert forest.report()["waiting"] == 0
    assert forest.report()["visited"] > before["visited"]
    assert state_digest(model) == state_digest(reference_fit(model))


@each
@pytest.mark.parametrize("params", [{}, {"min_samples_leaf": 80}, {"n_estimators": 1, "max_samples": 0.1}])
def test_what_a_model_without_rows_says_is_what_the_live_one_said(Forest, params):
    """Leaves, paths and importances are worked out natively, or by scikit-learn's trees once the rows are dropped."""
    X, y = table()
    params = {"n_estimators": 5, "random_state": 0, **params}
    live, frozen = (Forest(**params).fit(X, y, forgettable=keep) for keep in (True, False))

    np.testing.assert_array_equal(live.apply(X), frozen.apply(X))
    np.testing.assert_array_equal(live.feature_importances_, frozen.feature_importances_)
    (paths, edges), (expected, expected_edges) = live.decision_path(X), frozen.decision_path(X)
    assert paths.dtype == expected.dtype
    assert (paths != expected).nnz == 0
    np.testing.assert_array_equal(edges, expected_edges)


@each
def test_reseeding_makes_the_forest_of_the_new_key(Forest):
    """`reseed` gives other trees: those of a fit with the new key."""
    X, y = table()
    model = Forest(n_estimators=5, random_state=0).fit(X, y)
    new = X[::-1] + 0.3  # of its own rows a tree without bootstrap says the same under every key
    before = outputs(model, new)

    model.reseed()

    assert (outputs(model, new) != before).any()
    again = Forest(n_estimators=5, random_state=model._live.key).fit(X, y)
    assert state_digest(model) == state_digest(again)


@each
def test_warm_start_keeps_the_key_and_adds_trees(Forest):
    """More trees on the same rows: the first are the old ones, and all those of a fit with as many."""
    X, y = table()
    model = Forest(n_estimators=3, warm_start=True).fit(X, y)
    key, first = model._live.key, model.apply(X)

    model.set_params(n_estimators=8).fit(X, y)

    np.testing.assert_array_equal(model.apply(X)[:, : first.shape[1]], first)
    assert (outputs(model, X) == outputs(Forest(n_estimators=8, random_state=key).fit(X, y), X)).all()
    with pytest.raises(ValueError, match="n_estimators=2 must be larger"):
        model.set_params(n_estimators=2).fit(X, y)
    model.set_params(n_estimators=8, warm_start=False).fit(X, y)
    assert model._live.key != key


# --- out of bag ------------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize("params", [{"bootstrap": True}, {"max_samples": 0.5}])
def test_out_of_bag_rows_are_judged_by_the_trees_without_them(Forest, params):
    """The mean over released trees whose draw left a row out, one row and one tree at a time; forgetting keeps it so."""
    X, y = table(40, missing=0.0)
    model = Forest(n_estimators=12, random_state=0, oob_score=True, **params).fit(X, y).partial_forget([1, 4])
    left = np.setdiff1d(np.arange(40), [1, 4])
    block = model._live.rows.take(model._live.rows.native.order("insertion"), with_tags=True)
    copies = forest_copies(model._live.key._secret, block.tags, n_trees=12, share=params.get("max_samples"))
    is_classifier = Forest in CLASSIFIERS

    found = model.oob_decision_function_ if is_classifier else model.oob_prediction_

    for at, row in enumerate(left):
        judges = [tree for tree, n in zip(model.estimators_, copies[at], strict=True) if n == 0]
        answers = [outputs(tree, X[[row]])[0] for tree in judges]
        np.testing.assert_allclose(found[at], np.mean(answers, axis=0), rtol=1e-12)
    if is_classifier:
        assert model.oob_score_ == accuracy_score(y[left], found.argmax(axis=1))
        model = Forest(
            n_estimators=12, random_state=0, oob_score=lambda a, b: f1_score(a, b, average="macro"), **params
        )
        assert model.fit(X, y).partial_forget([1, 4]).oob_score_ == f1_score(
            y[left], found.argmax(axis=1), average="macro"
        )
    else:
        assert model.oob_score_ == r2_score(y[left], found)


def test_out_of_bag_attributes_exist_where_they_were_asked_for():
    """Without oob_score there are none; rows that are kept nowhere cannot be judged later."""
    X, y = table()
    assert not hasattr(RandomForestClassifier(n_estimators=2).fit(X, y), "oob_score_")
    with pytest.raises(ValueError, match="forgettable=False"):
        RandomForestClassifier(oob_score=True).fit(X, y, forgettable=False)
    few = RandomForestClassifier(n_estimators=1, oob_score=True, random_state=0).fit(X, y)
    with pytest.warns(UserWarning, match="no out-of-bag output"):
        assert 0 <= few.oob_score_ <= 1


# --- laziness and threads --------------------------------------------------------------------------------------------


@each
@pytest.mark.filterwarnings("ignore::skunlearn.exceptions.ClassVanishedWarning")
def test_reading_early_or_late_is_the_same(Forest):
    """Predicting after every deletion, flushing after every deletion, or neither: the same forest."""
    X, y = table(120)
    rows = np.random.default_rng(3).permutation(120)[:90].reshape(30, 3)
    models = [Forest(n_estimators=5, random_state=0).fit(X, y) for _ in range(3)]
    for going in rows.tolist():
        for model in models:
            model.partial_forget(going)
        models[0].predict(X[:1])
        models[1].flush()

    digests = {state_digest(model) for model in models}

    assert digests == {state_digest(reference_fit(models[0]))}
    assert len({model._live.core._forest.deep_digest(*_slots(model)) for model in models}) == 1


def _slots(model):
    state = model._published()
    return () if state.class_slots is None else (state.class_slots,)


@each
def test_no_result_depends_on_threads(Forest):
    """Grown, repaired and asked on eight threads, a forest has the bits of one thread."""
    X, y = table(400, 6)
    models = [Forest(n_estimators=20, random_state=0, n_jobs=n_jobs).fit(X, y) for n_jobs in (1, 8)]
    for model in models:
        model.partial_forget(np.arange(0, 400, 9))

    first, second = (outputs(model, X) for model in models)

    np.testing.assert_array_equal(first, second)
    assert state_digest(models[0]) == state_digest(models[1])


def test_readers_see_one_state_while_rows_go():
    """Each answer of eight threads is that of the forest before or after some deletion, never of half of one."""
    X, y = table(60)
    going = np.arange(20)
    model = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, y)
    expected = {outputs(model, X).tobytes()}
    twin = RandomForestClassifier(n_estimators=5, random_state=0).fit(X, y)
    for row in going.tolist():
        expected.add(outputs(twin.partial_forget([row]), X).tobytes())
    seen, stop = [], threading.Event()

    def read():
        while not stop.is_set():
            seen.append(outputs(model, X).tobytes())

    readers = [threading.Thread(target=read) for _ in range(8)]
    for reader in readers:
        reader.start()
    for row in going.tolist():
        model.partial_forget([row])
    stop.set()
    for reader in readers:
        reader.join()

    assert set(seen) <= expected
    assert outputs(model, X).tobytes() == outputs(twin, X).tobytes()


# --- what chance does ------------------------------------------------------------------------------------------------


def roots(Forest, X, y, n_trees, **params):
    """Features and thresholds at the roots of many trees."""
    model = Forest(n_estimators=n_trees, max_depth=1, bootstrap=False, random_state=Key(b"k" * 32), **params).fit(X, y)
    return np.array([(tree.tree_.feature[0], tree.tree_.threshold[0]) for tree in model.estimators_]).T


@pytest.mark.parametrize("Forest", CLASSIFIERS)
def test_features_are_drawn_evenly(Forest):
    """With one feature a node, each of six equals is the root's as often as another: chi-square at 0.1 %."""
    X, y = np.tile(np.arange(40.0)[:, None], 6), np.arange(40) % 2
    features, _ = roots(Forest, X, y, 3000, max_features=1)
    assert stats.chisquare(np.bincount(features.astype(int), minlength=6)).pvalue > 1e-3


def test_pivots_are_drawn_evenly_among_rows():
    """With one pivot the threshold is the value of each row but the largest equally often: chi-square at 0.1 %."""
    X, y = np.arange(20.0)[:, None], np.arange(20) % 2
    _, thresholds = roots(RandomForestClassifier, X, y, 4000, n_thresholds=1)
    counts = np.bincount(thresholds[thresholds >= 0].astype(int), minlength=19)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.chisquare(counts + np.arange(19) * 4).pvalue < 1e-3, "a drift towards large values is not seen"


def test_uniform_thresholds_are_uniform_between_the_ends():
    """Thresholds of extremely randomised trees do not lean on the rows between: Kolmogorov-Smirnov at 0.1 %."""
    X, y = np.concatenate([[-1.0, 3.0], np.full(18, 2.9)])[:, None], np.arange(20) % 2
    _, thresholds = roots(ExtraTreesClassifier, X, y, 3000)
    assert stats.kstest((thresholds + 1) / 4, "uniform").pvalue > 1e-3
    assert stats.kstest(((thresholds + 1) / 4) ** 1.1, "uniform").pvalue < 1e-3, "a drift to small values is not seen"


# --- accuracy --------------------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("SKUNLEARN_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
needs_data = pytest.mark.skipif(not (DATA / "load.py").exists(), reason="the folder of shared tables is not here")


def shared_table(name):
    """A table of the shared folder, categories as ordered integers."""
    spec = importlib.util.spec_from_file_location("load", DATA / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    frame, y, _ = module.load(name)
    texts = [column for column in frame.columns if frame[column].dtype.kind not in "iufb"]
    frame = frame.copy()
    frame[texts] = OrdinalEncoder().fit_transform(frame[texts].astype(str))
    return frame.to_numpy(dtype=np.float64), np.asarray(y)


@needs_data
@pytest.mark.parametrize("name", ["online_shoppers", "ccpp"])
def test_accuracy_is_that_of_scikit_learn(name):
    """AUC or R^2 on held-out rows, averaged over seeds and folds, is within .004 of scikit-learn's forest, or better."""
    X, y = shared_table(name)
    classes = name == "online_shoppers"
    Ours = RandomForestClassifier if classes else RandomForestRegressor
    Theirs = getattr(sklearn.ensemble, Ours.__name__)
    gaps = []
    for seed in range(6 if classes else 2):  # areas of single splits differ by more than the bound
        order = np.random.default_rng(seed).permutation(len(y))
        train, test = order[: len(y) * 4 // 5], order[len(y) * 4 // 5 :]
        ours, theirs = (
            Forest(n_estimators=40, min_samples_leaf=3, random_state=seed).fit(X[train], y[train])
            for Forest in (Ours, Theirs)
        )
        if classes:
            scores = [roc_auc_score(y[test], model.predict_proba(X[test])[:, 1]) for model in (ours, theirs)]
        else:
            scores = [model.score(X[test], y[test]) for model in (ours, theirs)]
        gaps.append(scores[0] - scores[1])
    assert np.mean(gaps) > -0.004
