"""Hostile tables: small data on which an algorithm that is nearly a function of its rows gives itself away.

Nothing here is random in itself: a generator with a fixed seed arranges hand-picked values, so that a failure is the
same failure tomorrow.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from skunlearn.exceptions import CertificateError, DegenerateRowsError

__all__ = [
    "Table",
    "deletions",
    "determining_table",
    "hostile_tables",
    "label_pool",
    "least_rows",
    "ordinary_table",
    "proves_extremes",
    "takes_weights",
    "tamed",
    "value_pool",
    "weight_pool",
]

Ids = np.ndarray | list[str]

_INT_IDS = (0, -1, 2**63 - 1, -(2**63), 2**53 + 1, 2**53, 2**31, 7, 3, 5)
#: A fixed-width array would drop the trailing NULs; two of these look alike and are different code points.
_STR_IDS = ("", "\0", "a\0", "a", "\u00e9", "e\u0301", "\u96ea", "\U00010348", " ", "10", "9")
_WEIGHTS = (1.0, 0.0, 5e-324, 1e300, 0.1, 3.0, 1e-308, 1.0)
#: No -1e308: beside 1e308 it makes scikit-learn's own validation add infinities of both signs.
_ANY_VALUES = (0.0, -0.0, 5e-324, -5e-324, 1e-308, 1e308, -1e16, 1.0, 1.0 + 2**-52, 1e16, 2.0**53, 2.0**53 + 2)
#: Largest values, of which the first is used that an estimator takes under the largest weight: sums of squares weight
#: a row by the root of its weight, and sums of values by the weight itself; both refuse what that makes infinite.
_LARGEST_VALUES = (1e308, 1e150, 1e75, 1e6)
#: Clusterers weight the squares of distances between rows.
_LARGEST_WEIGHT_OF_SQUARES = 1e60
#: Where the largest magnitudes are too much for a proof in float64: these, and their inverses for the smallest.
_TAME = 2.0**10
_LABELS: dict[str, list[Any]] = {"str": ["no", "yes", "\u00e4rger"], "int": [3, -1, 10], "bool": [True, False]}


@dataclass(frozen=True)
class Table:
    """Rows with all that may stand beside them.

    Parameters
    ----------
    name : str
        Named in failures.
    X : ndarray of shape (n_rows, n_features)
        Values.
    y : ndarray of shape (n_rows,) or None
        Targets; None for estimators that take none.
    sample_ids : ndarray of int64 or list of str
        One a row.
    subject_ids : ndarray of int64, list of str, or None
        Whose row it is.
    weight : ndarray of shape (n_rows,) or None
        Weights; None stands for ones.
    implicit_ids : bool
        Whether `fit` is to number the rows itself: `sample_ids` are 0 to n_rows - 1.
    """

    name: str
    X: np.ndarray
    y: np.ndarray | None
    sample_ids: Ids
    subject_ids: Ids | None = None
    weight: np.ndarray | None = None
    implicit_ids: bool = False

    def __len__(self) -> int:
        return len(self.X)

    @property
    def n_effective(self) -> int:
        """Rows of a weight above 0."""
        return len(self) if self.weight is None else int(np.count_nonzero(self.weight))

    def rows(self, at: Any) -> "Table":
        """Return the rows at the places `at`, in that order, under their own ids."""
        at = np.asarray(at, dtype=np.intp)
        return replace(
            self,
            X=self.X[at],
            y=None if self.y is None else self.y[at],
            sample_ids=take(self.sample_ids, at),
            subject_ids=None if self.subject_ids is None else take(self.subject_ids, at),
            weight=None if self.weight is None else self.weight[at],
            implicit_ids=False,
        )

    def without(self, at: Any) -> "Table":
        """Return all rows but those at the places `at`."""
        return self.rows(np.setdiff1d(np.arange(len(self)), at))

    def ids(self, at: Any) -> Ids:
        """Return the ids of the rows at the places `at`."""
        return take(self.sample_ids, np.asarray(at, dtype=np.intp))


def take(ids: Ids, at: np.ndarray) -> Ids:
    """Return ids at places; a list of str stays one."""
    return [ids[i] for i in at] if isinstance(ids, list) else ids[at]


def takes_weights(estimator: Any) -> bool:
    """Return whether `fit` takes `sample_weight`."""
    return bool(has_fit_parameter(estimator, "sample_weight"))


def proves_extremes(estimator: Any) -> bool:
    """Return whether `fit` takes magnitudes from 1e-308 to 1e308 side by side.

    An estimator that publishes only what it can prove in float64 may refuse them, by CertificateError. It is then put
    to the same checks, all of them, on magnitudes that are tamed.
    """
    if get_tags(estimator).input_tags.categorical:
        return True
    X = np.array([[0.0, 1e308], [1e-308, 1e16], [1.0, 1e16], [1e16, 0.0]])
    try:
        with warnings.catch_warnings(action="ignore"):
            clone(estimator).fit(X, _targets(estimator, len(X), np.random.default_rng(0), "int"))
    except CertificateError:
        return False
    except ValueError:  # it refuses them for another reason, and says so by its tags
        return True
    return True


def tamed(values: np.ndarray) -> np.ndarray:
    """Return values with magnitudes other than 0 brought between 2**-10 and 2**10."""
    return np.where(values == 0, values, np.copysign(np.clip(np.abs(values), 1 / _TAME, _TAME), values))


def value_pool(estimator: Any, style: str) -> list[float]:
    """Return the values that the tags of an estimator allow: a grid of 3 for ties, or all that are "hostile"."""
    tags = get_tags(estimator).input_tags
    if tags.categorical:
        return [0.0, 1.0, 2.0] if style == "grid" else [0.0, 1.0, 2.0, 5.0]
    if style == "grid":
        return [0.0, 1.0, 2.0] if tags.positive_only else [-1.0, 0.0, 1.0]
    largest = _largest_value(estimator)
    pool = [min(value, largest) for value in _ANY_VALUES if value >= 0 or not tags.positive_only]
    if not proves_extremes(estimator):
        pool = tamed(np.array(pool)).tolist()
    return [*pool, np.nan] if tags.allow_nan else pool


def _largest_value(estimator: Any) -> float:
    """Return the largest of the hostile values that the estimator takes under the largest of the weights."""
    for largest in _LARGEST_VALUES[:-1]:
        X = np.resize([[0.0], [largest]], (40, 1))
        y = _targets(estimator, len(X), np.random.default_rng(0), "int")
        weights = weight_pool(estimator)
        beside = {} if weights is None else {"sample_weight": np.full(len(X), max(weights))}
        try:
            with warnings.catch_warnings(action="ignore"):
                clone(estimator).fit(*((X,) if y is None else (X, y)), **beside)
        except ValueError:
            continue
        return largest
    return _LARGEST_VALUES[-1]


def weight_pool(estimator: Any) -> list[float] | None:
    """Return the weights that an estimator may be given, or None where it takes none."""
    if not takes_weights(estimator):
        return None
    if not proves_extremes(estimator):
        return tamed(np.array(_WEIGHTS)).tolist()
    if get_tags(estimator).estimator_type != "clusterer":
        return list(_WEIGHTS)
    return [min(weight, _LARGEST_WEIGHT_OF_SQUARES) for weight in _WEIGHTS]


def least_rows(estimator: Any) -> int:
    """Return how many rows a fit takes at least: one for each cluster."""
    return max(2, estimator.get_params(deep=False).get("n_clusters", 1))


def label_pool(estimator: Any, kind: str = "int") -> list[Any]:
    """Return class labels: the declared ones where there are any, else some of a kind ("int", "str" or "bool")."""
    declared = estimator.get_params(deep=False).get("classes")
    labels = list(_LABELS[kind]) if declared is None else np.asarray(declared).tolist()
    tags = get_tags(estimator).classifier_tags
    return labels if tags is None or tags.multi_class else labels[:2]


def int_ids(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return unsorted integers, negative and huge ones among them."""
    others = rng.choice(10_000, size=n, replace=False) * 3 + 11
    ids = np.array([*_INT_IDS, *others][:n], dtype=np.int64)
    return rng.permutation(ids)


def str_ids(n: int, rng: np.random.Generator) -> list[str]:
    """Return strings in no order: empty, with trailing NUL, not ASCII."""
    ids = [*_STR_IDS, *(f"id-{i}" for i in range(n))][:n]
    return [ids[i] for i in rng.permutation(n)]


def ordinary_table(estimator: Any, n: int = 24, n_features: int = 3, *, seed: int = 0, labels: str = "int") -> Table:
    """Return rows that are hostile in nothing but their ties."""
    rng = np.random.default_rng(seed)
    X = rng.choice(value_pool(estimator, "grid"), size=(n, n_features))
    y = _targets(estimator, n, rng, labels)
    sample_ids = rng.permutation(n).astype(np.int64) * 10
    if y is not None and not _fits(estimator, X, y):  # it asks for more than one row a class
        y = rng.permutation(np.resize(label_pool(estimator, labels), n))
    return Table("ordinary", X, y, sample_ids)


def determining_table(estimator: Any, like: Table) -> Table:
    """Return rows in general position, of the kinds of `like`, which determine a model of any kind."""
    n, d = 12 * (like.X.shape[1] + 1), like.X.shape[1]
    X = np.abs(np.random.default_rng(0).normal(size=(n, d)))
    y = like.y
    if y is not None and y.dtype.kind in "Uib":
        y = np.resize(label_pool(estimator, {"U": "str", "i": "int", "b": "bool"}[y.dtype.kind]), n)
    elif y is not None:
        y = np.resize([0.5, 1.0, 2.0] if get_tags(estimator).target_tags.positive_only else [0.0, 1.0, -1.0], n)
    ids: Ids = [f"other-{i}" for i in range(n)] if isinstance(like.sample_ids, list) else np.arange(n, dtype=np.int64)
    subjects: Ids | None = None if like.subject_ids is None else np.arange(n, dtype=np.int64)
    if isinstance(like.subject_ids, list):
        subjects = [f"other-{i}" for i in range(n)]
    return Table("rows in general position", X, y, ids, subjects)


def _fits(estimator: Any, X: np.ndarray, y: np.ndarray | None) -> bool:
    try:
        clone(estimator).fit(X, *(() if y is None else (y,)))
    except DegenerateRowsError:
        return False
    return True


def hostile_tables(estimator: Any, *, tall: bool = False) -> Iterator[Table]:
    """Yield tables that take turns in what is wrong with them; `tall` adds one of 300 rows."""
    for seed, (name, n, n_features, style, kind, ids) in enumerate(
        [
            ("a grid of three values", 24, 3, "grid", "int", "int"),
            ("subnormal and huge values", 30, 4, "hostile", "str", "str"),
            ("constant and repeated columns, repeated rows", 20, 4, "grid", "bool", "str"),
            ("numbered rows", 16, 2, "hostile", "str", "range"),
            ("as few rows as there may be", 2, 1, "grid", "int", "int"),
            *([("300 rows", 300, 5, "hostile", "int", "int")] if tall else []),
        ]
    ):
        rng = np.random.default_rng(seed)
        n = max(n, least_rows(estimator))
        X = rng.choice(value_pool(estimator, style), size=(n, n_features))
        y = _targets(estimator, n, rng, kind)
        if name.startswith("constant"):
            X[:, 1], X[:, 2], X[n // 2 :] = X[0, 1], X[:, 0], X[: n // 2]
        if n == 2:  # equal rows alone are no model of distances
            X[:, 0] = value_pool(estimator, style)[:2]
        sample_ids: Ids = str_ids(n, rng) if ids == "str" else int_ids(n, rng)
        if ids == "range":
            sample_ids = np.arange(n, dtype=np.int64)
        subjects = [f"subject-{i}" for i in rng.integers(0, max(n // 3, 1), n)] if ids == "int" else None
        weights = weight_pool(estimator) if ids == "str" else None
        weight = None if weights is None else rng.choice(weights, size=n)
        yield Table(name, X, y, sample_ids, subjects, weight, implicit_ids=ids == "range")


def deletions(table: Table, seed: int = 0) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (what goes, places of the rows in the order in which they go)."""
    n = len(table)
    rng = np.random.default_rng(seed)
    yield "a random third", rng.permutation(n)[: max(n // 3, 1)]
    yield "one row", rng.integers(0, n, 1)
    yield "the oldest half", np.arange(max(n // 2, 1))
    yield "the row of the largest values", np.argsort(-np.abs(np.nan_to_num(table.X)).max(axis=1), kind="stable")[:1]
    if table.y is not None:
        yield "one class", np.flatnonzero(table.y == table.y[0])
    yield "everything but one", rng.permutation(n)[1:]
    yield "everything", rng.permutation(n)


def _targets(estimator: Any, n: int, rng: np.random.Generator, kind: str) -> np.ndarray | None:
    tags = get_tags(estimator)
    if tags.estimator_type == "classifier":
        labels = label_pool(estimator, kind)
        y = rng.integers(0, max(len(labels) - 1, 1), n)
        y[: min(n, len(labels))] = np.arange(min(n, len(labels)))  # the last class has one row
        return np.array(labels)[rng.permutation(y)]
    if tags.estimator_type == "regressor" or tags.target_tags.required:
        return rng.choice([0.3, 1.0, 0.1, 1e6] if tags.target_tags.positive_only else [-1.5, 0.0, 0.1, 1e6], size=n)
    return None
