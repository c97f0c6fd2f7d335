"""How a shard is trained: an estimator that knows nothing of forgetting, made a function of a set of rows and a key.

Three things make it one. Rows are handed over in an order that depends on their ids and the key alone, as a fresh array
in C order: most estimators give other bits for another order. Every ``random_state`` inside is an integer derived from
the key. And BLAS keeps to one thread, since its results depend on how many there are.
"""

import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skunlearn.base import ForgetMixin
from skunlearn.key import Key

__all__ = ["Lesson", "ShardRows", "Trained", "check_seedable", "fingerprint", "in_canonical_order", "seeded", "train"]


class ShardRows(NamedTuple):
    """The rows of a shard, or of a slice of one, in canonical order."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a shard has to learn, from which state.

    Parameters
    ----------
    estimator : estimator
        Seeded and unfitted.
    slices : tuple of ShardRows or None
        What it has not learned yet, None being a slice without rows; one for an estimator that learns in one piece.
    n_classes : int or None
        Classes in the shard, coded 0, 1, ...; None in regression.
    checkpoint : bytes or None
        State to resume from, pickled; None to start afresh.
    in_slices : bool
        Whether it learns by `partial_fit`, and a checkpoint is wanted after every slice.
    """

    estimator: Any
    slices: tuple[ShardRows | None, ...]
    n_classes: int | None
    checkpoint: bytes | None
    in_slices: bool

    @property
    def n_rows(self) -> int:
        """Rows that it has not learned yet."""
        return sum(len(rows.y) for rows in self.slices if rows is not None)


class Trained(NamedTuple):
    """A fitted estimator; its checkpoints, one after every slice; and its fingerprint.

    The fingerprint is taken at once: some estimators count in themselves how often they were asked.
    """

    model: Any
    checkpoints: list[bytes]
    fingerprint: str


def train(lesson: Lesson) -> Trained:
    """Do what a lesson says."""
    model, checkpoints = _train(lesson)
    return Trained(model, checkpoints, fingerprint(model))


def fingerprint(model: Any) -> str:
    """Return a hash of all that an estimator holds; of a copy by pickle, which is the same wherever it was made."""
    return str(joblib.hash(pickle.loads(pickle.dumps(model)), "sha1"))


def _train(lesson: Lesson) -> tuple[Any, list[bytes]]:
    with threadpool_limits(limits=1):
        model = clone(lesson.estimator) if lesson.checkpoint is None else pickle.loads(lesson.checkpoint)
        if not lesson.in_slices:
            (rows,) = lesson.slices
            assert rows is not None
            # What this library would keep of the rows, the sharded model has already.
            keeps_none = {"forgettable": False} if isinstance(model, ForgetMixin) else {}
            return model.fit(rows.X, rows.y, **_weights(rows), **keeps_none), []
        classes = {} if lesson.n_classes is None else {"classes": np.arange(lesson.n_classes)}
        checkpoints = []
        for rows in lesson.slices:
            if rows is not None:
                model.partial_fit(rows.X, rows.y, **classes, **_weights(rows))
            checkpoints.append(pickle.dumps(model))
        return model, checkpoints


def _weights(rows: ShardRows) -> dict[str, np.ndarray]:
    return {} if rows.weight is None else {"sample_weight": rows.weight}


def seeded(estimator: Any, key: Key, shard: int) -> Any:
    """Return a copy of an estimator with an integer of the key's in every nested ``random_state``."""
    copy = clone(estimator)
    names = [name for name in copy.get_params(deep=True) if name.split("__")[-1] == "random_state"]
    of_shard = key.derive("base", shard)
    # 31 bits: what every library takes.
    seeds = {name: int.from_bytes(of_shard.derive(name)._secret[:4], "little") >> 1 for name in names}
    return copy.set_params(**seeds)


def check_seedable(estimator: Any, model_name: str) -> None:
    """Refuse a generator as ``random_state``: it is a stream, and every fit would draw on."""
    for name, value in estimator.get_params(deep=True).items():
        if name.split("__")[-1] == "random_state" and isinstance(value, (np.random.RandomState, np.random.Generator)):
            raise ValueError(
                f"estimator has a random number generator as {name}. Nothing was changed. {model_name} seeds every "
                "random_state in its estimator from its own; leave it at None."
            )


def in_canonical_order(parts: list[Any], tags: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> ShardRows:
    """Put rows that came in any order into that of their tags.

    Parameters
    ----------
    parts : list of ndarray or csr_matrix
        Blocks of values, at least one.
    tags : ndarray of shape (n_rows, 2), uint64
        Keyed tags as (low, high), for all blocks.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets)
    weight : ndarray of shape (n_rows,) or None
    """
    order = np.lexsort((tags[:, 0], tags[:, 1]))
    X: Any = sp.vstack(parts, format="csr") if sp.issparse(parts[0]) else np.concatenate(parts)
    X = X[order]
    if sp.issparse(X):
        X.sort_indices()
    # Weights that are all 1 are none: a row that had another one must leave no trace.
    has_weights = weight is not None and bool((weight != 1.0).any())
    return ShardRows(X, np.ascontiguousarray(y[order]), weight[order] if weight is not None and has_weights else None)
