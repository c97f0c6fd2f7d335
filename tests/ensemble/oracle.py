"""A forest by its definition: slow, plain and without a single shortcut.

`grow` evaluates the function that a model must be: of the rows of a tree, the node's tag and the parameters alone. What
is random is mixed from tags exactly as `unlearn_native/src/forest/mix.rs` says, thresholds of the "uniform" splitter as
`cells.rs` says; the vectors at the end of this file are those of the Rust tests.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
    n_classes: int = 2


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
        members.append(Member(row.tag, row.x, y, weight, product))
    return members


def members_of_tree(members: Sequence[Member], params: Params, tree: int) -> list[Member]:
    """The rows that are in a tree, weighted by how often."""
    tags = [tree_tags(params.key, t) for t in range(params.n_estimators)]

    def copies(row: Member) -> int:
        draws = [h(tag.draw, row.tag & _WORD) for tag in tags]
        if params.share is not None:
            first = sorted((draw, t) for t, draw in enumerate(draws))[: n_chosen(params.share, params.n_estimators)]
            return int(tree in [t for _, t in first])
        return poisson(draws[tree]) if params.bootstrap else 1

    drawn = [(row, copies(row)) for row in members]
    return [row._replace(weight=row.weight * n, product=row.product * n) for row, n in drawn if n]


# --- nodes -----------------------------------------------------------------------------------------------------------


class Candidate(NamedTuple):
    """A test of a node: left where x <= threshold; `missing_left` says where missing values go."""

    threshold: float
    missing_left: bool

    def goes_left(self, x: float) -> bool:
        return self.missing_left if math.isnan(x) else x <= self.threshold


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
    for feature in sorted(range(params.n_features), key=lambda f: (feature_priority(tag, f), f)):
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
    if params.splitter == "pivot":
        thresholds = {math.inf if math.isnan(row.x[feature]) else row.x[feature] for row in pivots}
    else:
        lo, hi = min(present, default=0.0), max(present, default=0.0)
        drawn = uniform_thresholds(tag, feature, lo, hi, params.n_thresholds) if lo < hi else []
        thresholds = {*drawn, math.inf} if any_missing else set(drawn)
    return [Candidate(t, side) for t in sorted(thresholds) for side in ((False, True) if any_missing else (False,))]


def parted(members: list[Member], feature: int, test: Candidate) -> tuple[list[Member], list[Member]]:
    left = [row for row in members if test.goes_left(row.x[feature])]
    right = [row for row in members if not test.goes_left(row.x[feature])]
    return left, right


# --- scores ----------------------------------------------------------------------------------------------------------


def class_weights(members: list[Member], n_classes: int) -> list[int]:
    weights = [0] * n_classes
    for row in members:
        weights[row.y] += row.weight
    return weights


def score(left: list[Member], right: list[Member], params: Params) -> float:
    if params.task == "regression":
        return _squared_error_score(left, right)
    of_left, of_right = class_weights(left, params.n_classes), class_weights(right, params.n_classes)
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


def trees(rows: Sequence[Row], params: Params) -> list[Node | None]:
    """The trees of a forest; None where no row is in one."""
    members = in_integers(rows, params)
    grown: list[Node | None] = []
    for t in range(params.n_estimators):
        of_tree = members_of_tree(members, params, t)
        grown.append(grow(of_tree, params, tree_tags(params.key, t).root) if of_tree else None)
    return grown


def preorder(node: Node) -> list[Node]:
    if node.left is None or node.right is None:
        return [node]
    return [node, *preorder(node.left), *preorder(node.right)]


def value(members: list[Member], scale: Scale, params: Params) -> list[float]:
    """Shares of the classes, or the mean target."""
    weight = sum(row.weight for row in members)
    if params.task == "regression":
        units = 0 if scale.weight is None else 24
        return [math.ldexp(float(sum(row.product for row in members)) / float(weight), units - scale.target)]
    return [float(w) / float(weight) for w in class_weights(members, params.n_classes)]


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


def as_arrays(node: Node, scale: Scale, params: Params) -> dict[str, np.ndarray]:
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
        "weighted_n_node_samples": np.array([float(n.weight) for n in nodes]),
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
    out = []
    for x in X:
        leaves = [leaf_of(tree, x).members for tree in forest] or [in_integers(rows, params)]
        total = np.zeros(params.n_classes if params.task == "classification" else 1)
        for members in leaves:
            total += value(members, scale, params)
        out.append(total / len(leaves))
    return np.array(out)
