"""Over keys a forest is drawn from the distribution that its definition says: against forests of another generator.

The twin below is written from the definition alone and draws from NumPy's generator: no tags, no hashes, no cells. Keys
and seeds are fixed, so a verdict is the same every time; the bound on p-values is 1e-4. Each comparison is repeated
with a forest that is biased on purpose, and must then fail.
"""

from functools import cache

import numpy as np
import pytest
from scipy import stats

from skunlearn import Key
from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

P_LEAST = 1e-4
N_KEYS, N_TREES = 20, 100
FORESTS = [RandomForestClassifier, RandomForestRegressor, ExtraTreesClassifier, ExtraTreesRegressor]
#: Features: two that carry the target, one with ties, one with two values, one without any.
N_FEATURES, N_ROWS = 5, 24


def table():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [
            rng.permutation(N_ROWS),
            rng.permutation(N_ROWS) / 2,
            rng.integers(0, 4, N_ROWS),
            np.arange(N_ROWS) % 2,
            rng.permutation(N_ROWS) * 3,
        ]
    ).astype(float)
    return X, (X[:, 0] + X[:, 1] > np.median(X[:, 0] + X[:, 1])).astype(int)


# --- the twin --------------------------------------------------------------------------------------------------------


def gain(y, weight, left):
    """Decrease of the sum of squares, which for two classes is half that of the Gini impurity, times the weight."""
    total, L = weight.sum(), weight[left].sum()
    R = total - L
    apart = (weight * y)[left].sum() * total - (weight * y).sum() * L
    return round(apart * apart / (L * R), 9)


def naive_split(rng, X, y, weight, max_features, n_thresholds, *, is_uniform, drift=0.0):
    """Return feature and threshold of the split of a node, or None; a drift prefers large pivots or thresholds."""
    if is_uniform:
        pivots = None
    else:
        odds = np.exp(4 * drift * X.argsort(axis=0).argsort(axis=0)[:, 0] / len(X))
        pivots = rng.choice(len(X), min(n_thresholds, len(X)), replace=False, p=odds / odds.sum())
    best, n_usable = None, 0
    for feature in rng.permutation(X.shape[1]):
        x = X[:, feature]
        if is_uniform:
            u = rng.random(n_thresholds) ** (1 / (1 + drift))
            thresholds = np.unique(x.min() + u * np.ptp(x)) if np.ptp(x) else []
        else:
            thresholds = np.unique(x[pivots])
        usable = False
        for threshold in thresholds:
            left = x <= threshold
            if left.all() or not left.any():
                continue
            usable = True
            found = gain(y, weight, left)
            if best is None or found > best[0]:
                best = found, int(feature), float(threshold)
        n_usable += usable
        if n_usable == max_features:
            break
    return None if best is None else best[1:]


def naive_tree(rng, X, y, params, depth=0, weight=None):
    """Return (depth, feature, threshold) of every inner node of a tree of at most two levels."""
    if weight is None:
        weight = rng.poisson(1.0, len(y)) if params["bootstrap"] else np.ones(len(y), dtype=int)
    X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
    if len(y) < 2 or depth == 2 or len(np.unique(y)) == 1:
        return []
    split = naive_split(
        rng,
        X,
        y,
        weight,
        params["max_features"],
        params["n_thresholds"],
        is_uniform=params["is_uniform"],
        drift=params["drift"],
    )
    if split is None:
        return []
    left = X[:, split[0]] <= split[1]
    return [
        (depth, *split),
        *(n for side in (left, ~left) for n in naive_tree(rng, X[side], y[side], params, depth + 1, weight[side])),
    ]


@cache
def naive_nodes(drift, n_trees, *, is_uniform, **params):
    X, y = table()
    rng = np.random.default_rng(1)
    trees = [naive_tree(rng, X, y, {**params, "is_uniform": is_uniform, "drift": drift}) for _ in range(n_trees)]
    return one_node_each(trees)


def one_node_each(trees):
    """The root, the first inner node below it or the second, of every third tree: what is compared is independent."""
    return [nodes[i % 3] for i, nodes in enumerate(trees) if i % 3 < len(nodes)]


# --- ours ------------------------------------------------------------------------------------------------------------


def nodes_of(Forest, params):
    """The same of our forests, under keys that are secret to nobody."""
    X, y = table()
    trees = []
    for k in range(N_KEYS):
        model = Forest(n_estimators=N_TREES, max_depth=2, random_state=Key(bytes([k]) * 32), **params).fit(X, y)
        trees += [inner_nodes(estimator.tree_) for estimator in model.estimators_]
    return one_node_each(trees)


def inner_nodes(tree):
    depth = np.zeros(tree.node_count, dtype=int)
    inner = np.flatnonzero(tree.children_left >= 0)
    for node in inner:  # in preorder: parents first
        depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
    return [(int(depth[node]), int(tree.feature[node]), float(tree.threshold[node])) for node in inner]


# --- comparing -------------------------------------------------------------------------------------------------------


def cell(node):
    """Depth, feature, and between which of eight even cuts of the feature's range the threshold lies."""
    depth, feature, threshold = node
    x = table()[0][:, feature]
    return depth, feature, int(np.clip(8 * (threshold - x.min()) / np.ptp(x), 0, 7))


def p_value(ours, theirs):
    """Chi-square of two samples of nodes over their cells; cells that hardly ever occur count as one."""
    cells = sorted({cell(node) for node in (*ours, *theirs)})
    counts = np.zeros((2, len(cells)))
    at = {c: i for i, c in enumerate(cells)}
    for which, nodes in enumerate((ours, theirs)):
        np.add.at(counts[which], [at[cell(node)] for node in nodes], 1)
    rare = counts.sum(axis=0) < 20
    if rare.any():
        counts = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
        counts = counts[:, counts.sum(axis=0) > 0]
    return stats.chi2_contingency(counts).pvalue


SETTINGS = [
    {"bootstrap": False, "max_features": 2, "n_thresholds": 2},
    {"bootstrap": True, "max_features": 1, "n_thresholds": 1},
]


@pytest.mark.parametrize("params", SETTINGS, ids=["two of each", "bootstrap, one of each"])
@pytest.mark.parametrize("Forest", FORESTS[::2])
def test_features_and_thresholds_are_used_as_by_a_naive_forest(Forest, params):
    """Depth, feature and threshold of splits, as often as in the twin; a twin that prefers large values is told apart."""
    is_uniform = Forest in (ExtraTreesClassifier, ExtraTreesRegressor)

    ours = nodes_of(Forest, params)

    assert p_value(ours, naive_nodes(0.0, N_KEYS * N_TREES, is_uniform=is_uniform, **params)) > P_LEAST
    assert p_value(ours, naive_nodes(1.0, 600, is_uniform=is_uniform, **params)) < P_LEAST, "a drift is not seen"


@pytest.mark.parametrize(("Classifier", "Regressor"), [FORESTS[:2], FORESTS[2:]])
def test_two_classes_and_their_numbers_make_the_same_trees(Classifier, Regressor):
    """Of targets 0 and 1 the Gini impurity is twice the variance: what holds of one kind of forest holds of the other."""
    assert nodes_of(Classifier, SETTINGS[0]) == nodes_of(Regressor, SETTINGS[0])


@pytest.mark.parametrize("n_thresholds", [1, 3])
@pytest.mark.parametrize("Forest", FORESTS[2:3])
def test_thresholds_of_extra_trees_are_uniform_on_the_range(Forest, n_thresholds):
    """In [min, max), whatever the rows between: Kolmogorov-Smirnov, and a drift is seen.

    Nearly all thresholds cut one row off and have one score, so that of three the smallest is taken.
    """
    X, y = np.concatenate([[-2.0], np.full(30, 5.5), [6.0]])[:, None], np.r_[0, np.tile([0, 1], 15), 1]
    X[1:-1] += np.arange(30)[:, None] * 2.0**-20  # the rows between lie together, at one end
    found = []
    for k in range(N_KEYS):
        model = Forest(
            n_estimators=N_TREES, max_depth=1, random_state=Key(bytes([k]) * 32), n_thresholds=n_thresholds
        ).fit(X, y)
        found += [tree.tree_.threshold[0] for tree in model.estimators_]
    found = np.array(found)

    assert found.min() >= -2.0
    assert found.max() < 6.0
    below = found[found < 5.5]
    share = (below + 2) / 7.5
    assert stats.kstest(share, _least_of(n_thresholds)).pvalue > P_LEAST
    assert stats.kstest(share**1.2, _least_of(n_thresholds)).pvalue < P_LEAST, "a drift to small values is not seen"


def _least_of(k):
    """Distribution of the smallest of k uniform numbers on the whole range, of those below the cluster of rows."""
    top = 7.5 / 8
    whole = 1 - (1 - top) ** k
    return lambda share: (1 - (1 - np.asarray(share) * top) ** k) / whole
