"""Whether training an estimator is a function at all: the same rows, the same seed, the same bits."""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.base import is_classifier
from sklearn.utils import check_array

from skunlearn.key import Key
from skunlearn.sharded._training import (
    Lesson,
    ShardRows,
    check_seedable,
    fingerprint,
    in_canonical_order,
    seeded,
    train,
)

__all__ = ["SelfTest", "brief_self_test", "check_exactness", "other_global_generator"]

#: Rows that the brief test is about.
_FEW_ROWS = 300


@dataclass(frozen=True, slots=True)
class SelfTest:
    """What training an estimator several times has shown.

    Parameters
    ----------
    arms : dict of {str: bool}
        What was varied, and whether the fitted estimator stayed the same bit for bit.
    n_rows : int
        Rows that it was trained on.
    """

    arms: dict[str, bool]
    n_rows: int

    @property
    def passed(self) -> bool:
        """Whether all arms did."""
        return all(self.arms.values())

    @property
    def failures(self) -> list[str]:
        """The arms that did not."""
        return [arm for arm, same in self.arms.items() if not same]

    def __str__(self) -> str:
        arms = ", ".join(f"{arm}: {'same' if same else 'DIFFERENT'}" for arm, same in self.arms.items())
        return f"{arms} ({self.n_rows} rows)"


def check_exactness(estimator: Any, X: Any, y: Any, *, sample_weight: Any = None, random_state: int = 0) -> SelfTest:
    """Train an estimator as a shard is trained, again and again, and compare the results bit for bit.

    Parameters
    ----------
    estimator : estimator
        Any estimator of scikit-learn's interface; it is not changed.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights.
    random_state : int, default=0
        Seeds every ``random_state`` inside `estimator`, and the order of the rows.

    Returns
    -------
    result : SelfTest
        "repeated": the same input twice, under two states of NumPy's global generator; "order of arrival": rows handed
        over in another order; "pickled": the fitted estimator written and read; "fresh process": trained in another
        process; and for an estimator with `partial_fit`, "resumed": trained in two pieces with a checkpoint between.
    """
    check_seedable(estimator, "check_exactness")
    X = check_array(X, accept_sparse="csr", dtype=(np.float64, np.float32), ensure_all_finite=False)
    y = np.unique(np.asarray(y), return_inverse=True)[1] if is_classifier(estimator) else np.asarray(y, np.float64)
    weight = None if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    rng = np.random.RandomState(random_state)
    tags = rng.randint(0, 2**63, (len(y), 2), dtype=np.int64).astype(np.uint64)
    permuted = rng.permutation(len(y))

    def lesson(order: np.ndarray) -> Lesson:
        rows = in_canonical_order([X[order]], tags[order], y[order], None if weight is None else weight[order])
        n_classes = int(y.max()) + 1 if is_classifier(estimator) else None
        return Lesson(seeded(estimator, Key(bytes(32)), 0), (rows,), n_classes, None, in_slices=False)

    arrived = lesson(np.arange(len(y)))
    reference = _fingerprint(arrived)
    arms = _repeated(arrived, reference)
    arms["order of arrival"] = _fingerprint(lesson(permuted)) == reference
    (elsewhere,) = Parallel(n_jobs=2, max_nbytes=None)(delayed(_fingerprint)(arrived) for _ in range(1))
    arms["fresh process"] = elsewhere == reference
    if hasattr(estimator, "partial_fit"):
        arms["resumed"] = _resumes(arrived)
    return SelfTest(arms, len(y))


def brief_self_test(lesson: Lesson) -> SelfTest:
    """Train twice on a few rows of a lesson that starts afresh."""
    few = replace(lesson, slices=(_few(lesson),), in_slices=False)
    (rows,) = few.slices
    assert rows is not None
    try:
        arms = _repeated(few, _fingerprint(few))
        if lesson.in_slices:
            arms["resumed"] = _resumes(few)
    except ValueError:
        return SelfTest({"trained on few rows": False}, len(rows.y))
    return SelfTest(arms, len(rows.y))


def _repeated(lesson: Lesson, reference: str) -> dict[str, bool]:
    with other_global_generator():
        again = train(lesson)
    read = pickle.loads(pickle.dumps(again.model))
    return {"repeated": again.fingerprint == reference, "pickled": fingerprint(read) == again.fingerprint}


def _resumes(lesson: Lesson) -> bool:
    """Whether training in two pieces gives the same with a checkpoint between them."""
    (rows,) = lesson.slices
    assert rows is not None
    first = np.arange(len(rows.y)) < len(rows.y) // 2
    halves = tuple(_taken(rows, half) for half in (np.flatnonzero(first), np.flatnonzero(~first)))
    in_slices = replace(lesson, slices=halves, in_slices=True)
    at_once = train(in_slices)
    resumed = train(replace(in_slices, slices=halves[1:], checkpoint=at_once.checkpoints[0]))
    return at_once.fingerprint == resumed.fingerprint


def _fingerprint(lesson: Lesson) -> str:
    return train(lesson).fingerprint


@contextmanager
def other_global_generator() -> Iterator[None]:
    """Put NumPy's global generator into another state for a while."""
    state = np.random.get_state()  # noqa: NPY002 - what an estimator without a seed would draw from
    np.random.random_sample(1)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _few(lesson: Lesson) -> ShardRows:
    """Return the first rows of a lesson; of every class as many as there is room for."""
    there = [rows for rows in lesson.slices if rows is not None]
    X = there[0].X if len(there) == 1 else _stacked([rows.X for rows in there])
    y = np.concatenate([rows.y for rows in there])
    chosen = np.arange(min(_FEW_ROWS, len(y)))
    if lesson.n_classes is not None:
        of_each = -(-_FEW_ROWS // lesson.n_classes)
        chosen = np.sort(np.concatenate([np.flatnonzero(y == c)[:of_each] for c in range(lesson.n_classes)]))
    return _taken(ShardRows(X, y, None), chosen)


def _stacked(parts: list[Any]) -> Any:
    return sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)


def _taken(rows: ShardRows, chosen: np.ndarray) -> ShardRows:
    return ShardRows(rows.X[chosen], rows.y[chosen], None if rows.weight is None else rows.weight[chosen])
