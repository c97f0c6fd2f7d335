"""The native forest is the function that the oracle evaluates, whatever its history was.

500 tables by default, half of them with a history; SKUNLEARN_ORACLE_TABLES says how many.
"""

import os
from dataclasses import asdict

import numpy as np
import pytest
from _unlearn_native._native import Forest
from hypothesis import given, settings
from hypothesis import strategies as st

from . import oracle

KEY = bytes(range(32))
N_CLASSES = 3
#: Class ranks as the forest counts them: slots are numbered by history.
SLOTS = np.array([4, 0, 2], dtype=np.int32)

#: Two tests, two splitters.
N_TABLES_EACH = -(-int(os.environ.get("SKUNLEARN_ORACLE_TABLES", "500")) // 4)
examples = settings(max_examples=N_TABLES_EACH, derandomize=True, deadline=None, database=None)


@st.composite
def parameters(draw, splitter):
    """Parameters that leave something to split."""
    task = draw(st.sampled_from(["classification", "regression"]))
    is_classifier = task == "classification"
    criterion = draw(st.sampled_from(["gini", "entropy"])) if is_classifier else "squared_error"
    n_features = draw(st.integers(1, 4))
    return oracle.Params(
        key=KEY,
        n_features=n_features,
        task=task,
        splitter=splitter,
        criterion=criterion,
        n_estimators=3,
        max_depth=draw(st.sampled_from([None, None, 1, 3])),
        min_samples_split=draw(st.sampled_from([2, 2, 7])),
        min_samples_leaf=draw(st.sampled_from([1, 1, 2, 5])),
        max_features=draw(st.integers(1, n_features)),
        n_thresholds=draw(st.sampled_from([1, 2, 8])),
        bootstrap=draw(st.booleans()),
        share=draw(st.sampled_from([None, None, 0.5])),
        rows_of_tree=draw(st.sampled_from([None, None, 7, 30])),
        features_of_tree=draw(st.integers(1, n_features)),
        n_classes=N_CLASSES,
        categorical=draw(
            st.sampled_from([None, tuple(draw(st.lists(st.booleans(), min_size=n_features, max_size=n_features)))])
        ),
        class_weight=draw(st.sampled_from([None, None, "balanced", "balanced_subsample"])) if is_classifier else None,
    )


def column(rng, n):
    """Values that are hard in one of several ways: ties, two values, one value, extremes, neighbours, signed zeros."""
    kinds = [
        lambda: rng.integers(0, 4, n),
        lambda: rng.integers(0, 2, n),
        lambda: np.full(n, 2.5),
        lambda: rng.normal(size=n),
        lambda: rng.choice([-3e38, -1e-45, -0.0, 0.0, 1e-45, 3.4e38], n),
        lambda: 1.0 + rng.integers(0, 3, n) * 2.0**-23,
    ]
    x = kinds[rng.integers(len(kinds))]().astype(np.float32)
    if rng.random() < 0.3:
        x[rng.random(n) < rng.choice([0.1, 0.9])] = np.nan
    return x


@st.composite
def tables(draw, params, n_most=45):
    """Rows with tags, weights among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, n_most))
    X = np.column_stack([column(rng, n) for _ in range(params.n_features)])
    if params.n_features > 1 and rng.random() < 0.3:
        X[:, 1] = 1 - X[:, 0]  # the complement ties exactly
    if params.task == "classification":
        y = rng.integers(0, rng.integers(1, N_CLASSES + 1), n).astype(float)
    else:
        y = rng.choice([rng.normal(size=n), rng.integers(-2, 3, n).astype(float), rng.normal(size=n) * 1e100])
    weight = None if rng.random() < 0.6 else np.exp(rng.normal(size=n) * 5)
    tags = rng.integers(0, 2**64, (n, 2), dtype=np.uint64)
    return tags, X, y, weight


def native(params):
    """A native forest without rows."""
    options = {
        name: value
        for name, value in asdict(params).items()
        if name not in ("n_classes", "multipliers", "unit", "features")
    }
    return Forest(**options)


def slots(params):
    return SLOTS if params.task == "classification" else None


def learn(forest, params, table, rows=slice(None)):
    tags, X, y, weight = table
    targets = SLOTS[y.astype(int)].astype(float) if params.task == "classification" else y
    forest.learn(tags[rows], X[rows], targets[rows], None if weight is None else weight[rows])


def as_rows(table, rows=slice(None)):
    tags, X, y, weight = (None if part is None else part[rows] for part in table)
    weight = np.ones(len(y)) if weight is None else weight
    return [
        oracle.Row(low | high << 64, tuple(x), target, w)
        for (low, high), x, target, w in zip(tags.tolist(), X.tolist(), y.tolist(), weight.tolist(), strict=True)
    ]


def check_is_oracle(forest, params, rows, X):
    """The trees have the oracle's nodes, and predictions its bits."""
    scale = oracle.scale_of(rows, params)
    for t, tree in enumerate(oracle.trees(rows, params)):
        found = forest.tree(t, slots(params))
        if tree is None:
            assert found["n_node_samples"].tolist() == [0]
            continue
        expected = oracle.as_arrays(*tree, scale)
        # Impurities are worked out in fixed point or from numbers far from zero: nothing is decided by them.
        size = max(abs(row.y) for row in rows) ** 2 if params.task == "regression" else 1.0
        np.testing.assert_allclose(found.pop("impurity"), expected.pop("impurity"), rtol=1e-3, atol=1e-5 * size)
        if scale.weight is not None:
            expected["weighted_n_node_samples"] = np.ldexp(expected["weighted_n_node_samples"], -scale.weight)
        expected["weighted_n_node_samples"] /= tree[1].unit
        assert found.keys() == expected.keys()
        for name in expected:
            np.testing.assert_array_equal(found[name], expected[name], err_msg=name)
    if rows:
        outputs = forest.predict(X, forest.version, slots(params))
        np.testing.assert_array_equal(outputs.reshape(len(X), -1), oracle.predict(rows, params, X.tolist()))
    if rows and params.rows_of_tree is not None:
        lengths = forest.path_lengths(X, forest.version)
        np.testing.assert_array_equal(lengths, oracle.path_lengths(rows, params, X.tolist()))


@pytest.mark.parametrize("splitter", ["pivot", "uniform"])
def test_a_fit_is_the_oracle(splitter):
    """All rows at once: the trees of the definition, node by node."""

    @examples
    @given(st.data())
    def check(data):
        params = data.draw(parameters(splitter))
        table = data.draw(tables(params))
        forest = native(params)
        learn(forest, params, table)
        check_is_oracle(forest, params, as_rows(table), table[1])

    check()


@pytest.mark.parametrize("splitter", ["pivot", "uniform"])
def test_a_history_is_the_oracle(splitter):
    """Learning, forgetting and predicting in any order: the trees of the rows that are left; then none at all."""

    @examples
    @given(st.data())
    def check(data):
        params = data.draw(parameters(splitter))
        table = data.draw(tables(params, n_most=60))
        n = len(table[0])
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        forest, live = native(params), np.zeros(n, dtype=bool)
        for _ in range(data.draw(st.integers(1, 8))):
            chosen = rng.random(n) < rng.choice([0.05, 0.3, 0.8])
            coming, going = np.flatnonzero(chosen & ~live), np.flatnonzero(chosen & live)
            rng.shuffle(coming)
            if len(coming) and rng.random() < 0.6:
                learn(forest, params, table, coming)
                live[coming] = True
            elif len(going):
                forest.forget(table[0][going])
                live[going] = False
            if live.any() and rng.random() < 0.5:  # what a row reaches is repaired, the rest stays stale
                forest.predict(table[1][:1], forest.version, slots(params))

        check_is_oracle(forest, params, as_rows(table, live), table[1])
        fresh = native(params)
        learn(fresh, params, table, np.flatnonzero(live))
        assert forest.deep_digest(slots(params)) == fresh.deep_digest(slots(params))

        forest.forget(table[0][live])
        assert forest.deep_digest(slots(params)) == native(params).deep_digest(slots(params))

    check()
