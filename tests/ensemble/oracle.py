"""A forest by its definition: slow, plain and without a single shortcut.

`grow` evaluates the function that a model must be: of the rows of a tree, the node's tag and the parameters alone. What
is random is mixed from tags exactly as `unlearn_native/src/forest/mix.rs` says, thresholds of the "uniform" splitter as
`cells.rs` says; the vectors at the end of this file are those of the Rust tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from _unlearn_native._native import ln, prf

_WORD = (1 << 64) - 1
_SPREAD = 0x9E3779B97F4A7C15
_FOLD = 0xE7037ED1A0B428DB
_FEATURE = 0xA0761D6478BD642F
_CELLS = 0x8EBC6AF09C88C6E3
_LEVELS = 0x589965CC75374CC3


def _poisson_cut_points() -> list[int]:
    with localcontext() as context:
        context.prec = 60
        mass = 1 / Decimal(1).exp()
        cumulated, points = Decimal(0), []
        for n in range(21):
            mass = mass / n if n else mass
            cumulated += mass
            points.append(int(cumulated * 2**64))
        return points


_POISSON = _poisson_cut_points()


# --- randomness ------------------------------------------------------------------------------------------------------


def h(a: int, b: int) -> int:
    x = (a + b * _SPREAD) & _WORD
    product = x * (x ^ _FOLD)
    return (product & _WORD) ^ (product >> 64)


def poisson(u: int) -> int:
    return sum(point <= u for point in _POISSON)


class TreeTags(NamedTuple):
    root: int
    draw: int


def tree_tags(key: bytes, tree: int) -> TreeTags:
    words = prf(key, "forest tree", tree.to_bytes(8, "little"))
    return TreeTags(int.from_bytes(words[:8], "little"), int.from_bytes(words[8:16], "little"))


def row_priority(tag: int, row: int) -> int:
    return h(tag, row & _WORD)


def feature_priority(tag: int, feature: int) -> int:
    return h(tag ^ _FEATURE, feature)


def level_priority(tag: int, feature: int, level: float) -> int:
    return h(h(tag ^ _LEVELS, feature), int(np.float32(level + 0.0).view(np.uint32)))


def uniform_thresholds(tag: int, feature: int, lo: float, hi: float, k: int) -> list[float]:
    """The k earliest arrivals in [lo, hi) of the process of a node and a feature."""
    cells = h(tag ^ _CELLS, feature)
    exponent = math.frexp(hi - lo)[1]
    found: list[float] = []
    for b in range(exponent + 4, exponent - 8 - k.bit_length(), -1):
        band = []
        for j in range(math.floor(math.ldexp(lo, -b)), math.floor(math.ldexp(hi, -b)) + 1):
            content = h(cells, ((b & 0xFFFF) << 48) ^ (j & (1 << 48) - 1))
            for i in range(poisson(content)):
                u, time = h(content, 2 * i + 1) >> 11, h(content, 2 * i + 2) >> 11
                value = math.ldexp(j, b) + math.ldexp(u, b - 53)
                if lo <= value < hi:
                    band.append((time, j, i, _rounded_down(value)))
        found += [value for *_, value in sorted(band)]
        if len(found) >= k:
            break
    return found[:k] or [lo]


def _rounded_down(value: float) -> float:
    nearest = np.float32(value)
    return float(nearest if float(nearest) <= value else np.nextafter(nearest, np.float32(-np.inf)))


def n_chosen(share: float, n_trees: int) -> int:
    """The share of the trees, rounded up: as a decimal number, so that 0.07 of 100 trees is 7."""
    return max(1, math.ceil(Fraction(repr(share)) * n_trees))


# --- rows and parameters ---------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row: its tag, its values (float32 numbers, NaN where missing), its class rank or target, its weight."""

    tag: int
    x: tuple[float, ...]
    y: float
    weight: float = 1.0


class Member(NamedTuple):
    """A row in a tree, in integers.

    `y` is a class rank or a fixed-point target, `weight` is fixed-point too, and `product` is weight times target in
    units of the target; both count all copies of the row.
    """

    tag: int
    x: tuple[float, ...]
    y: int
    weight: int
    product: int
    #: Whether weights are in fixed point.
    is_scaled: bool = False


@dataclass(frozen=True)
class Params:
    """Everything beside the rows that a forest is a function of."""

    key: bytes
    n_features: int
    task: str = "classification"
    splitter: str = "pivot"
    criterion: str = "gini"
    n_estimators: int = 3
    max_depth: int | None = None
    min_samples_split: int = 2
    min_samples_leaf: int = 1
    max_features: int = 1
    n_thresholds: int = 8
    bootstrap: bool = True
    share: float | None = None
    rows_of_tree: int | None = None
    features_of_tree: int | None = None
    n_classes: int = 2
    class_weight: str | None = None
    categorical: tuple[bool, ...] | None = None
    #: Of balanced classes, in one tree: see `multipliers`.
    multipliers: tuple[int, ...] = ()
    unit: int = 1
    #: Of one tree; none of them for all.
    features: tuple[int, ...] = ()


def exponent_of_largest(values: Sequence[float]) -> int:
    """The least e with every value below 2^e in size."""
    largest = max((abs(v) for v in values), default=0.0)
    return math.frexp(largest)[1]


class Scale(NamedTuple):
    """Powers of two of the fixed point: functions of the largest live weight and target."""

    target: int
    weight: int | None


def scale_of(rows: Sequence[Row], params: Params) -> Scale:
    weighted = any(row.weight != 1.0 for row in rows)
    of_numbers = 40 - exponent_of_largest([row.y for row in rows])
    return Scale(
        of_numbers if params.task == "regression" else 0,
        24 - exponent_of_largest([row.weight for row in rows]) if weighted else None,
    )


def in_integers(rows: Sequence[Row], params: Params) -> list[Member]:
    scale = scale_of(rows, params)
    members = []
    for row in rows:
        y = round(math.ldexp(row.y, scale.target))  # half to even, as rint
        if scale.weight is None:
            weight, product = 1, y
        else:
            weight = max(1, round(math.ldexp(row.weight, scale.weight)))
            product = math.floor(Fraction(y * weight, 2**24) + Fraction(1, 2))
        members.append(Member(row.tag, row.x, y, weight, product, scale.weight is not None))
    return members


def drawn_by_tree(members: Sequence[Member], params: Params, tree: int) -> list[tuple[Member, int]]:
    """The rows that are in a tree, and how often."""
    tags = [tree_tags(params.key, t) for t in range(params.n_estimators)]

    def copies(row: Member) -> int:
        draws = [h(tag.draw, row.tag & _WORD) for tag in tags]
        if params.share is not None:
            first = sorted((draw, t) for t, draw in enumerate(draws))[: n_chosen(params.share, params.n_estimators)]
            return int(tree in [t for _, t in first])
        return poisson(draws[tree]) if params.bootstrap else 1

    if params.rows_of_tree is not None:
        first = sorted(members, key=lambda row: (row_priority(tags[tree].draw, row.tag), row.tag))
        return [(row, 1) for row in first[: params.rows_of_tree]]
    drawn = [(row, copies(row)) for row in members]
    return [(row, n) for row, n in drawn if n]


def members_of_tree(members: Sequence[Member], params: Params, tree: int) -> list[Member]:
    """The rows that are in a tree, weighted by how often."""
    drawn = drawn_by_tree(members, params, tree)
    return [row._replace(weight=row.weight * n, product=row.product * n) for row, n in drawn]


def multipliers(members: Sequence[Member], copies: Sequence[int], scope: int, params: Params) -> tuple[list[int], int]:
    """What the weights of balanced classes are multiplied with, and what a weight of one has become.

    n / n_c is taken to the middle of its interval, six of which make an octave; their ends hang on a keyed phase.
    """
    counts = [0] * params.n_classes
    for row, n in zip(members, copies, strict=True):
        counts[row.y] += n
    phase = Fraction(int.from_bytes(prf(params.key, "forest class weight", scope.to_bytes(8, "little"))[:4], "little"))
    phase /= 2**32
    n, k = sum(counts), sum(count > 0 for count in counts)
    bits = 24 * any(row.is_scaled for row in members)
    bits = min(max(57 - bits - n.bit_length() - k.bit_length(), 1), 16)
    found = []
    for count in counts:
        if count == 0:
            found.append(0)
            continue
        octave = (n // count).bit_length() - 1
        place = 6 * octave + math.floor(2**32 * 6 * (Fraction(n, count * 2**octave) - 1)) * Fraction(1, 2**32)
        middle = math.floor(place + phase) + Fraction(1, 2) - phase
        octave, rest = divmod(middle / 6, 1)
        found.append(max(1, math.floor(Fraction(2) ** (octave + bits) * (1 + rest))))
    return found, max(k, 1) * 2**bits


def with_multipliers(members: list[Member], drawn: list[tuple[Member, int]], tree: int, params: Params) -> Params:
    """The parameters of a tree: with the multipliers of its own rows where these are drawn, else of all."""
    if params.class_weight is None:
        return params
    is_drawn = params.rows_of_tree is None and (params.bootstrap or params.share is not None)
    by_tree = params.class_weight == "balanced_subsample" and is_drawn
    if by_tree:
        found, unit = multipliers([row for row, _ in drawn], [n for _, n in drawn], tree + 1, params)
    else:
        found, unit = multipliers(members, [1] * len(members), 0, params)
    return replace(params, multipliers=tuple(found), unit=unit)


def features_of_tree(params: Params, tree: int) -> tuple[int, ...]:
    draw = tree_tags(params.key, tree).draw
    by_priority = sorted(range(params.n_features), key=lambda f: (feature_priority(draw, f), f))
    return tuple(sorted(by_priority[: params.features_of_tree]))


# --- nodes -----------------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A test of a node: left where x <= threshold, or is that level; `missing_left` says where missing values go."""

    threshold: float
    missing_left: bool
    is_level: bool = False

    def goes_left(self, x: float) -> bool:
        if math.isnan(x):
            return self.missing_left
        return x == self.threshold if self.is_level else x <= self.threshold


@dataclass
class Node:
    """A node, with everything that was found out about it."""

    members: list[Member]
    depth: int
    feature: int = -1
    test: Candidate | None = None
    left: "Node | None" = None
    right: "Node | None" = None

    @property
    def weight(self) -> int:
        return sum(row.weight for row in self.members)


def grow(members: list[Member], params: Params, tag: int, depth: int = 0) -> Node:
    """The function that a forest is, at one node."""
    node = Node(members, depth)
    one_target = len({row.y for row in members}) <= 1
    if len(members) < params.min_samples_split or one_target or depth == params.max_depth:
        return node
    by_priority = sorted(members, key=lambda row: (row_priority(tag, row.tag), row.tag))
    pivots = by_priority[: params.n_thresholds]
    best: tuple[float, int, Candidate] | None = None
    n_usable = 0
    for feature in sorted(params.features or range(params.n_features), key=lambda f: (feature_priority(tag, f), f)):
        usable = False
        for test in candidates(members, pivots, feature, params, tag):
            left, right = parted(members, feature, test)
            if min(len(left), len(right)) < max(params.min_samples_leaf, 1):
                continue
            usable = True
            found = score(left, right, params)
            if best is None or found > best[0]:  # of equal ones the first: they come in the order that breaks ties
                best = (found, feature, test)
        n_usable += usable
        if n_usable == params.max_features:
            break
    if best is None:
        return node
    _, node.feature, node.test = best
    left, right = parted(members, node.feature, node.test)
    if not any(math.isnan(row.x[node.feature]) for row in members):
        node.test = node.test._replace(missing_left=len(left) > len(right))
    node.left = grow(left, params, h(tag, 1), depth + 1)
    node.right = grow(right, params, h(tag, 2), depth + 1)
    return node


def candidates(members: list[Member], pivots: list[Member], feature: int, params: Params, tag: int) -> list[Candidate]:
    """The tests of a feature in the order in which ties are broken: by threshold, missing values to the right first."""
    values = [row.x[feature] for row in members]
    present = [x for x in values if not math.isnan(x)]
    any_missing = len(present) < len(values)
    is_categorical = params.categorical is not None and params.categorical[feature]
    if params.splitter == "pivot":
        thresholds = {math.inf if math.isnan(row.x[feature]) else row.x[feature] for row in pivots}
    elif is_categorical:
        first = sorted({(level_priority(tag, feature, x), x) for x in present})[: params.n_thresholds]
        thresholds = {x for _, x in first} | ({math.inf} if any_missing else set())
    else:
        lo, hi = min(present, default=0.0), max(present, default=0.0)
        drawn = uniform_thresholds(tag, feature, lo, hi, params.n_thresholds) if lo < hi else []
        thresholds = {*drawn, math.inf} if any_missing else set(drawn)
    sides = (False, True) if any_missing else (False,)
    return [Candidate(t, side, is_categorical and t < math.inf) for t in sorted(thresholds) for side in sides]


def parted(members: list[Member], feature: int, test: Candidate) -> tuple[list[Member], list[Member]]:
    left = [row for row in members if test.goes_left(row.x[feature])]
    right = [row for row in members if not test.goes_left(row.x[feature])]
    return left, right


# --- scores ----------------------------------------------------------------------------------------------------------


def class_weights(members: list[Member], params: Params) -> list[int]:
    weights = [0] * params.n_classes
    for row in members:
        weights[row.y] += row.weight
    if params.multipliers:
        return [m * w for m, w in zip(params.multipliers, weights, strict=True)]
    return weights


def score(left: list[Member], right: list[Member], params: Params) -> float:
    if params.task == "regression":
        return _squared_error_score(left, right)
    of_left, of_right = class_weights(left, params), class_weights(right, params)
    return (_entropy_score if params.criterion == "entropy" else _gini_score)(of_left, of_right)


def _gini_score(left: list[int], right: list[int]) -> float:
    """Sum over classes of D^2, over L R: an integer, and one division."""
    L, R = sum(left), sum(right)
    squares = sum(
        (on_left * (L + R) - (on_left + on_right) * L) ** 2 for on_left, on_right in zip(left, right, strict=True)
    )
    return float(squares) / float(L * R)


def _squared_error_score(left: list[Member], right: list[Member]) -> float:
    L, R = sum(row.weight for row in left), sum(row.weight for row in right)
    of_left, of_right = (sum(row.product for row in side) for side in (left, right))
    return float((of_left * (L + R) - (of_left + of_right) * L) ** 2) / float(L * R)


def _entropy_score(left: list[int], right: list[int]) -> float:
    """Weight times information that the children have of the class; constants of the node are left out."""
    return float(sum(sum(map(_x_ln_x, side)) - _x_ln_x(sum(side)) for side in (left, right)))


def _x_ln_x(x: int) -> int:
    return round(x * float(ln(np.array([float(x)]))[0]) * 2**20) if x > 1 else 0


# --- what is read off a forest ---------------------------------------------------------------------------------------


def trees(rows: Sequence[Row], params: Params) -> list[tuple[Node, Params] | None]:
    """The trees of a forest with the parameters of each; None where no row is in one."""
    members = in_integers(rows, params)
    grown: list[tuple[Node, Params] | None] = []
    for t in range(params.n_estimators):
        of_tree = members_of_tree(members, params, t)
        params_of_tree = with_multipliers(members, drawn_by_tree(members, params, t), t, params)
        params_of_tree = replace(params_of_tree, features=features_of_tree(params, t))
        grown.append(
            (grow(of_tree, params_of_tree, tree_tags(params.key, t).root), params_of_tree) if of_tree else None
        )
    return grown


def preorder(node: Node) -> list[Node]:
    if node.left is None or node.right is None:
        return [node]
    return [node, *preorder(node.left), *preorder(node.right)]


def value(members: list[Member], scale: Scale, params: Params) -> list[float]:
    """Shares of the classes, or the mean target."""
    if params.task == "regression":
        weight = sum(row.weight for row in members)
        units = 0 if scale.weight is None else 24
        return [math.ldexp(float(sum(row.product for row in members)) / float(weight), units - scale.target)]
    weights = class_weights(members, params)
    return [float(w) / float(sum(weights)) for w in weights]


def total_weight(members: list[Member], params: Params) -> int:
    return sum(class_weights(members, params) if params.multipliers else (row.weight for row in members))


def impurity(members: list[Member], scale: Scale, params: Params) -> float:
    """Gini impurity, entropy in bits or variance: to rounding, as nothing is decided by it."""
    if params.task == "regression":
        y = np.array([math.ldexp(row.y, -scale.target) for row in members])
        weight = [row.weight for row in members]
        return float(np.average((y - np.average(y, weights=weight)) ** 2, weights=weight))
    shares = value(members, scale, params)
    if params.criterion == "entropy":
        return -sum(p * math.log2(p) for p in shares if p)
    return 1.0 - sum(p * p for p in shares)


def as_arrays(node: Node, params: Params, scale: Scale) -> dict[str, np.ndarray]:
    """A tree as scikit-learn writes one: its nodes in preorder."""
    nodes = preorder(node)
    number = {id(n): i for i, n in enumerate(nodes)}
    is_leaf = [n.left is None for n in nodes]
    return {
        "children_left": np.array([number.get(id(n.left), -1) for n in nodes]),
        "children_right": np.array([number.get(id(n.right), -1) for n in nodes]),
        "feature": np.array([-2 if leaf else n.feature for n, leaf in zip(nodes, is_leaf, strict=True)]),
        "threshold": np.array([n.test.threshold if n.test else -2.0 for n in nodes]),
        "missing_go_to_left": np.array([bool(n.test and n.test.missing_left) for n in nodes]),
        "impurity": np.array([impurity(n.members, scale, params) for n in nodes]),
        "n_node_samples": np.array([len(n.members) for n in nodes]),
        "weighted_n_node_samples": np.array([float(total_weight(n.members, params)) for n in nodes]),
        "value": np.array([value(n.members, scale, params) for n in nodes]),
    }


def leaf_of(node: Node, x: Sequence[float]) -> Node:
    while node.test is not None:
        assert node.left is not None
        assert node.right is not None
        node = node.left if node.test.goes_left(x[node.feature]) else node.right
    return node


def predict(rows: Sequence[Row], params: Params, X: Sequence[Sequence[float]]) -> np.ndarray:
    """Sum over trees in their order, divided once; without a tree that has rows, the share or mean of all rows."""
    scale = scale_of(rows, params)
    forest = [tree for tree in trees(rows, params) if tree is not None]
    members = in_integers(rows, params)
    of_all = with_multipliers(members, [], 0, replace(params, class_weight=params.class_weight and "balanced"))
    out = []
    for x in X:
        leaves = [(leaf_of(tree, x).members, of_tree) for tree, of_tree in forest] or [(members, of_all)]
        total = np.zeros(params.n_classes if params.task == "classification" else 1)
        for leaf, of_tree in leaves:
            total += value(leaf, scale, of_tree)
        out.append(total / len(leaves))
    return np.array(out)


def path_lengths(rows: Sequence[Row], params: Params, X: Sequence[Sequence[float]]) -> np.ndarray:
    """Edges to the leaf, and those that would part its rows on average: summed over trees, in scikit-learn's order."""
    total = np.zeros(len(X))
    for grown in trees(rows, params):
        assert grown is not None
        for i, x in enumerate(X):
            leaf = leaf_of(grown[0], x)
            total[i] += (leaf.depth + 1) + average_path_length(len(leaf.members)) - 1.0
    return total


def average_path_length(n: int) -> float:
    if n <= 2:
        return float(n == 2)
    return 2.0 * (float(ln(np.array([n - 1.0]))[0]) + np.euler_gamma) - 2.0 * (n - 1.0) / n
