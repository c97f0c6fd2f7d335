"""The shards of an ensemble, and which of them have to be trained again.

A row's shard, its slice of the shard and its place in the slice are functions of the key and of ids alone, so no row
moves when another one goes. A shard that lost or won a row is dropped at once; what it was trained on is then gone from
memory, and it is trained again when somebody reads.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from joblib import Parallel, delayed
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.validation import has_fit_parameter

from skunlearn.digest import canonical
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock
from skunlearn.sharded._checkpoints import Checkpoint, Checkpoints
from skunlearn.sharded._self_test import SelfTest, brief_self_test
from skunlearn.sharded._training import Lesson, ShardRows, Trained, check_seedable, in_canonical_order, seeded, train

__all__ = ["SISAState", "ShardedCore", "shards_of"]


@dataclass(frozen=True, slots=True, eq=False)
class SISAState:
    """The published state of one version.

    Parameters
    ----------
    estimators_ : tuple of estimator or None
        The shards; None for one without rows, or with a single class.
    shard_classes_ : tuple of ndarray
        The classes of each shard; empty arrays in regression.
    shard_sizes_ : ndarray of shape (n_shards,)
        Rows of each.
    shard_weights_ : ndarray of shape (n_shards,)
        What each counts.
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted; empty in regression.
    """

    estimators_: tuple[Any, ...]
    shard_classes_: tuple[np.ndarray, ...]
    shard_sizes_: np.ndarray
    shard_weights_: np.ndarray
    classes_: np.ndarray


@dataclass(slots=True)
class _Shard:
    """One shard: what was learned from its rows.

    Parameters
    ----------
    model : estimator or None
        None without rows, with a single class, or while it waits to be trained.
    labels : ndarray
        The classes of its rows, sorted.
    n_rows : int
        Rows of a weight above 0.
    fingerprint : str
        Of the model, as it was trained.
    checkpoints : list of Checkpoint
        States after the first slices, as many as are still those of the rows.
    is_trained : bool
        Whether all this is so.
    """

    model: Any = None
    labels: np.ndarray = field(default_factory=lambda: np.empty(0))
    n_rows: int = 0
    fingerprint: str = ""
    checkpoints: list[Checkpoint] = field(default_factory=list)
    is_trained: bool = False

    def drop(self, first_slice: int = 0) -> None:
        """Let go of all that was learned from slice `first_slice` on."""
        self.model, self.is_trained = None, False
        for checkpoint in self.checkpoints[first_slice:]:
            checkpoint.destroy()
        del self.checkpoints[first_slice:]


class ShardedCore(Core):
    """Estimators of a kind, each trained on the rows of its shard.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    is_classifier : bool
        Whether targets are class codes.
    n_jobs : callable
        Returns how many shards may be trained at a time.
    """

    groups_rows = True

    def __init__(
        self, model_name: str, params: dict[str, Any], *, is_classifier: bool, n_jobs: Callable[[], int | None]
    ) -> None:
        self._model_name = model_name
        self._estimator = params["estimator"]
        self._is_classifier = is_classifier
        self._aggregate: str = params["aggregate"]
        self._n_jobs = n_jobs
        check_seedable(self._estimator, model_name)
        self._in_slices = params["n_slices"] > 1
        self._n_slices: int = params["n_slices"]
        if self._in_slices and not hasattr(self._estimator, "partial_fit"):
            raise ValueError(
                f"n_slices={self._n_slices} needs an estimator with partial_fit, and {type(self._estimator).__name__} "
                "has none. Nothing was changed. Use n_slices=1 and more shards."
            )
        self._checkpoints = Checkpoints(params["checkpoint"])
        self._shards = [_Shard() for _ in range(params["n_shards"])]
        self._work: dict[str, int] = {}
        #: What training the first shard twice has shown.
        self.self_test: SelfTest | None = None

    # --- following the rows ------------------------------------------------------------------------------------------

    def check(self, incoming: IncomingRows) -> None:
        """Refuse weights where the estimator takes none."""
        if incoming.weight is None or has_fit_parameter(self._estimator, "sample_weight"):
            return
        if ((incoming.weight == 0) | (incoming.weight == 1)).all():
            return
        raise ValueError(
            f"{type(self._estimator).__name__} takes no sample_weight, so a shard cannot weigh its rows. Nothing was "
            "changed. Leave the weights out, or use an estimator that takes them."
        )

    def _learn(self, block: RowBlock) -> None:
        self._touch(block)

    def _forget(self, block: RowBlock) -> None:
        before = sum(shard.is_trained for shard in self._shards)
        self._touch(block)
        self._work = {"shards_dropped": before - sum(shard.is_trained for shard in self._shards)}

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return how many shards the last `_forget` dropped; they are trained again at the next read."""
        return "retrain", self._work

    def _touch(self, block: RowBlock) -> None:
        shards, slices = shards_of(block.groups, len(self._shards)), self._slices_of(block)
        for shard in np.unique(shards).tolist():
            self._shards[shard].drop(int(slices[shards == shard].min()))

    def _slices_of(self, block: RowBlock) -> np.ndarray:
        assert block.tags is not None
        return _part(block.tags[:, 0] & np.uint64(0xFFFFFFFF), self._n_slices)

    def _rebuild(self, owner: Owner) -> None:
        for shard in self._shards:
            shard.drop()

    def is_settled(self) -> bool:
        """Whether every shard is trained on its rows."""
        return all(shard.is_trained for shard in self._shards)

    # --- training ----------------------------------------------------------------------------------------------------

    def _settle(self, owner: Owner) -> None:
        waiting = [s for s, shard in enumerate(self._shards) if not shard.is_trained]
        rows = self._rows_of(waiting, owner)
        fresh = {s: self._untrained(rows[s], owner) for s in waiting}
        lessons = {}
        for s in waiting:
            if self._has_to_learn(fresh[s]):
                lessons[s] = self._lesson(s, fresh[s], rows[s], owner)
            else:
                self._shards[s].drop()
        if self.self_test is None and lessons:
            self.self_test = brief_self_test(next(iter(lessons.values())))
        for s, trained in zip(lessons, self._train(list(lessons.values())), strict=True):
            fresh[s].model, fresh[s].fingerprint = trained.model, trained.fingerprint
            fresh[s].checkpoints += [self._checkpoints.make(state) for state in trained.checkpoints]
        for s in waiting:
            fresh[s].is_trained = True
            self._shards[s] = fresh[s]

    def _train(self, lessons: list[Lesson]) -> list[Trained]:
        try:
            # No memory maps: a file in a temporary folder would hold the rows.
            results: list[Trained] = Parallel(n_jobs=self._n_jobs(), max_nbytes=None)(
                delayed(train)(lesson) for lesson in lessons
            )
        except InvalidParameterError:
            raise
        except ValueError as error:  # what it says may be a value of a row
            raise DegenerateRowsError(
                f"{type(self._estimator).__name__} could not be fitted on all of {len(lessons)} shards of this "
                f"{self._model_name}, the smallest of {min(lesson.n_rows for lesson in lessons)} rows "
                f"({type(error).__name__}). Use fewer shards, or learn more rows; fit the estimator alone to see why."
            ) from None
        return results

    def _rows_of(self, wanted: list[int], owner: Owner) -> dict[int, list[ShardRows | None]]:
        """Return the rows of some shards, by slice, in canonical order; None for a slice without rows."""
        parts: dict[int, list[tuple[Any, ...]]] = {}
        for block in owner.effective_blocks():
            places = shards_of(block.groups, len(self._shards)) * self._n_slices + self._slices_of(block)
            for place in np.unique(places).tolist():
                if place // self._n_slices in wanted:
                    rows = block.take(places == place)
                    matrix = _as_matrix(rows, owner.rows.native.n_features)
                    parts.setdefault(place, []).append((matrix, rows.y, rows.weight, rows.tags))
        return {s: [_joined(parts.get(s * self._n_slices + at)) for at in range(self._n_slices)] for s in wanted}

    def _untrained(self, slices: list[ShardRows | None], owner: Owner) -> _Shard:
        there = [rows.y for rows in slices if rows is not None]
        n_rows = sum(map(len, there))
        if not self._is_classifier or not there:
            return _Shard(n_rows=n_rows)
        codes, labels = owner.codes.classes()
        own = labels[np.isin(codes, np.concatenate(there))]
        # A string width would remember the labels of other shards.
        return _Shard(labels=np.array(own.tolist()) if own.dtype.kind == "U" else own, n_rows=n_rows)

    def _has_to_learn(self, shard: _Shard) -> bool:
        return shard.n_rows > 0 and not (self._is_classifier and len(shard.labels) == 1)

    def _lesson(self, s: int, fresh: _Shard, slices: list[ShardRows | None], owner: Owner) -> Lesson:
        """Return what shard `s` has to learn; `fresh` gets the checkpoints that it resumes from."""
        old = self._shards[s]
        if not np.array_equal(old.labels, fresh.labels):  # partial_fit cannot change its mind about classes
            old.drop()
        fresh.checkpoints = list(old.checkpoints)
        n_kept = len(fresh.checkpoints)
        return Lesson(
            estimator=seeded(self._estimator, owner.key, s),
            slices=tuple(self._with_targets(rows, fresh.labels, owner) for rows in slices[n_kept:]),
            n_classes=len(fresh.labels) if self._is_classifier else None,
            checkpoint=fresh.checkpoints[-1].read() if fresh.checkpoints else None,
            in_slices=self._in_slices,
        )

    def _with_targets(self, rows: ShardRows | None, labels: np.ndarray, owner: Owner) -> ShardRows | None:
        """Return rows with targets as an estimator takes them: classes by their place among those of the shard."""
        if rows is None:
            return None
        if not self._is_classifier:
            return rows._replace(y=owner.targets.decode(rows.y))
        return rows._replace(y=np.searchsorted(labels, owner.targets.decode(rows.y)))

    # --- reading -----------------------------------------------------------------------------------------------------

    def publish(self, owner: Owner) -> SISAState:
        """Return the shards."""
        sizes = np.array([shard.n_rows for shard in self._shards])
        if not sizes.any():
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )
        weights = (sizes if self._aggregate == "weighted_mean" else sizes > 0).astype(np.float64)
        sizes.flags.writeable = weights.flags.writeable = False
        return SISAState(
            estimators_=tuple(shard.model for shard in self._shards),
            shard_classes_=tuple(shard.labels for shard in self._shards),
            shard_sizes_=sizes,
            shard_weights_=weights,
            classes_=owner.codes.classes()[1],
        )

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the fingerprint of what each shard has learned."""
        learned = ((shard.fingerprint, shard.labels, shard.n_rows) for shard in self._shards)
        return [canonical(shard) for shard in learned]

    def nbytes(self) -> int:
        """Return the size of the checkpoints in bytes; how large estimators are is theirs to know."""
        return sum(checkpoint.nbytes for shard in self._shards for checkpoint in shard.checkpoints)


def shards_of(groups: np.ndarray | None, n_shards: int) -> np.ndarray:
    """Return the shard of every row: that of its subject, or its own where it is nobody's."""
    assert groups is not None
    return _part(groups[:, 0] >> np.uint64(32), n_shards)


def _part(words: np.ndarray, n_parts: int) -> np.ndarray:
    """Return 32 uniform bits as a number below `n_parts`."""
    return (words * np.uint64(n_parts) >> np.uint64(32)).astype(np.intp)


def _as_matrix(rows: RowBlock, n_features: int) -> Any:
    if not isinstance(rows.X, CsrRows):
        return rows.X
    indptr, indices, data = rows.X
    return sp.csr_matrix((data, indices, indptr), shape=(len(rows), n_features))


def _joined(parts: list[tuple[Any, ...]] | None) -> ShardRows | None:
    if parts is None:
        return None
    matrices, targets, weights, tags = zip(*parts, strict=True)
    has_weights = any(weight is not None for weight in weights)
    weight = [np.ones(len(y)) if w is None else w for y, w in zip(targets, weights, strict=True)]
    return in_canonical_order(
        list(matrices), np.concatenate(tags), np.concatenate(targets), np.concatenate(weight) if has_weights else None
    )
