"""Somebody who chooses ids, and which rows to forget: without the key it is chance, and work is bounded by a refit.

Counts only. The attack is checked against a model whose key is known, where it must succeed.
"""

import numpy as np
import pytest
from scipy import stats

from skunlearn import Key
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from . import oracle

FORESTS = [RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor]
each = pytest.mark.parametrize("Forest", FORESTS)
GUESS = bytes(range(32))
N_HONEST, N_POISONED, N_CANDIDATES = 160, 40, 4000


def honest(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.random((n, 3))
    return X, (X[:, 0] + 0.2 * rng.normal(size=n) > 0.5).astype(int)


def poisoned_table():
    """Honest rows, and as many poisoned ones as an adversary may add: far to one side, with the wrong label."""
    X, y = honest(N_HONEST, 0)
    rng = np.random.default_rng(1)
    bad = np.column_stack([0.9 + 0.1 * rng.random(N_POISONED), rng.random((N_POISONED, 2))])
    return np.vstack([X, bad]), np.r_[y, np.zeros(N_POISONED, dtype=int)]


def ground_ids():
    """Ids whose rows come first among the pivots of the root of the first tree, under the guessed key."""
    candidates = np.arange(10_000, 10_000 + N_CANDIDATES)
    finder = RandomForestClassifier(n_estimators=1, max_depth=1, random_state=Key(GUESS))
    finder.fit(np.zeros((N_CANDIDATES, 1)), candidates % 2, sample_ids=candidates)
    rows = finder._live.rows.native
    slots = np.arange(N_CANDIDATES, dtype=np.uint32)
    root = oracle.tree_tags(GUESS, 0).root
    priorities = [oracle.row_priority(root, int(low)) for low in rows.tags(slots)[:, 0]]
    return np.asarray(rows.ids(slots))[np.argsort(np.array(priorities, dtype=np.uint64))[:N_POISONED]]


def forest_of(key, ids):
    """Fit one tree to honest and poisoned rows; the ids of the latter are given.

    Pivots are so few that the adversary may fill them all: one honest threshold among many would be chosen.
    """
    X, y = poisoned_table()
    model = RandomForestClassifier(
        n_estimators=1, bootstrap=False, max_depth=1, max_features=None, n_thresholds=8, random_state=Key(key)
    )
    return model.fit(X, y, sample_ids=np.r_[np.arange(N_HONEST), ids])


def is_poisoned_root(model):
    tree = model.estimators_[0].tree_
    values = poisoned_table()[0][N_HONEST:, tree.feature[0]].astype(np.float32)
    return bool(np.isin(np.float32(tree.threshold[0]), values))


def test_chosen_ids_steer_nothing_without_the_key():
    """Ids ground against a guessed key make every root's threshold under that key, and no more than any others else."""
    ids = ground_ids()
    keys = [np.random.default_rng(k).bytes(32) for k in range(60)]
    X_new, y_new = honest(500, 2)

    known = forest_of(GUESS, ids)
    chosen = [forest_of(key, ids) for key in keys]
    others = [
        forest_of(key, np.random.default_rng(k).permutation(10**6)[:N_POISONED] + N_HONEST)
        for k, key in enumerate(keys)
    ]

    assert is_poisoned_root(known), "the attack does not work where the key is known: this test proves nothing"
    n_steered = [sum(map(is_poisoned_root, models)) for models in (chosen, others)]
    unsteered = [len(keys) - n for n in n_steered]
    assert stats.fisher_exact([n_steered, unsteered]).pvalue > 1e-3
    accuracies = np.array([[model.score(X_new, y_new) for model in models] for models in (chosen, others)])
    lost = accuracies[1] - accuracies[0]
    assert lost.mean() < 3 * lost.std(ddof=1) / np.sqrt(len(keys))
    assert known.score(X_new, y_new) < np.quantile(accuracies, 0.05), "the attack does no harm where the key is known"


def counted(model):
    return model._live.core._forest.report()


def rows_of_refit(Forest, X, y, left, params):
    """Rows that growing all trees reads, summed over levels."""
    return counted(Forest(**params).fit(X[left], y[left], sample_ids=left))["rows_grown"]


@each
@pytest.mark.parametrize("n_at_once", [1, 10])
def test_a_release_after_chosen_deletions_costs_no_more_than_a_refit(Forest, n_at_once):
    """Who reads every release, and takes the rows whose values stand in the most roots, makes at most a refit a release.

    Rows read to grow what is stale; `flush` is what a release does.
    """
    params = {"n_estimators": 30, "random_state": Key(b"k" * 32)}
    X, y = honest(300, 3)
    X = X.astype(np.float32)
    model = Forest(**params).fit(X, y)
    left = np.arange(len(X))
    cost = []
    for _ in range(12):
        going = rows_of_thresholds(model, X, left)[:n_at_once]
        before = counted(model)["rows_grown"]
        model.partial_forget(going).flush()
        left = np.setdiff1d(left, going)
        cost.append(counted(model)["rows_grown"] - before)
        assert cost[-1] <= rows_of_refit(Forest, X, y, left, params)

    assert max(cost) > 0


@each
def test_chosen_deletions_between_two_releases_cost_no_more_than_a_refit(Forest):
    """One by one, without a read: what is stale stays so, and is grown once."""
    params = {"n_estimators": 30, "random_state": Key(b"k" * 32)}
    X, y = honest(300, 4)
    X = X.astype(np.float32)
    model = Forest(**params).fit(X, y)
    going = rows_of_thresholds(model, X, np.arange(len(X)))[:60]
    before = counted(model)["rows_grown"]

    for row in going:
        model.partial_forget([row])
    model.flush()

    left = np.setdiff1d(np.arange(len(X)), going)
    assert counted(model)["rows_grown"] - before <= rows_of_refit(Forest, X, y, left, params)


def rows_of_thresholds(model, X, left):
    """Live rows, those first whose values are thresholds nearest to the roots of a release; then the extreme ones."""
    score = np.zeros(len(X))
    for estimator in model.release().estimators_:
        tree = estimator.tree_
        for node in range(min(tree.node_count, 7)):
            if tree.children_left[node] >= 0:
                score[np.float32(tree.threshold[node]) == X[:, tree.feature[node]]] += tree.n_node_samples[node]
    extreme = np.zeros(len(X))
    for x in X[left].T:
        extreme[left[[x.argmin(), x.argmax()]]] += 1
    order = np.lexsort((-extreme, -score))
    return order[np.isin(order, left)]
