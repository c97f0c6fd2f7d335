"""The owner of rows: how they enter a model, how they leave it, and when anybody may look.

A fitted model is a pure function of the set of live rows, the parameters and the key. Three objects make it one:

* the *row store* (`skunlearn.rows`) holds the rows; removal from it is the commit of a forget;
* the *core* holds what an algorithm derives from rows (counts, sums, trees) and keeps none of them;
* the *owner* (`LiveModel` here, a pipeline elsewhere) holds both, under one lock, and publishes states.

Order of an operation: validate and warn; mark the derived state stale; change the row store (the commit); roll the core
forward; unmark. Whatever fails before the commit changes nothing. Whatever fails after it leaves a stale core, which
the next read rebuilds from the rows: the same bits, since they are a function of the rows alone.
"""

import os
import threading
import warnings
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from skunlearn._faults import fault_point
from skunlearn.class_codes import ClassCodes
from skunlearn.exceptions import ClassVanishedWarning
from skunlearn.ids import Ids
from skunlearn.key import Key
from skunlearn.rows import CsrRows, RowBlock, RowStore, Selection
from skunlearn.targets import Targets

__all__ = ["VALUE_FREE_PARAMETERS", "Core", "ForgetReport", "IncomingRows", "LiveModel", "Owner"]

#: Parameters that do not affect what a model is; read when they are used, not frozen at `fit`.
VALUE_FREE_PARAMETERS = frozenset({"random_state", "n_jobs", "verbose"})


class Owner(Protocol):
    """What a core may read of the owner of the rows when it rebuilds or publishes."""

    @property
    def rows(self) -> RowStore:
        """The rows, or a store of their schema where they are others'."""

    @property
    def targets(self) -> Targets:
        """What stands beside the values of a row."""

    @property
    def key(self) -> Key:
        """Source of all randomness."""

    @property
    def n_effective(self) -> int:
        """Number of rows of a weight above 0."""

    @property
    def feature_names(self) -> np.ndarray | None:
        """Names of the columns, where there are any."""

    @property
    def codes(self) -> ClassCodes:
        """Codes of the class labels; empty where targets are no labels."""

    @property
    def is_empty(self) -> bool:
        """Whether no row of a weight above 0 is left."""

    def effective_blocks(self) -> Iterator[RowBlock]:
        """Pass over all rows of a weight above 0."""

    def held_blocks(self) -> AbstractContextManager[list[RowBlock]]:
        """Return all rows of a weight above 0 at once, for as long as the context lasts."""


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What the last `partial_forget` of a model did; for the operator, not for publication.

    Parameters
    ----------
    rows_removed : int
        Rows that left the model.
    n_subjects : int
        Subjects that were named and had rows.
    n_unknown : int
        Ids that were skipped because they were not live.
    n_duplicates : int
        Repeats within the request.
    path : str
        How the derived state followed: "nothing" to do, "update" or a word of the estimator's own for it, or "rebuild"
        where the state is derived from all rows anew, at the next read.
    work : dict of {str: int}
        What was looked at for that, as the estimator counts it.
    """

    rows_removed: int
    n_subjects: int
    n_unknown: int
    n_duplicates: int
    path: str
    work: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IncomingRows:
    """Validated rows on their way in.

    Parameters
    ----------
    X : ndarray, sparse matrix or TableRows of shape (n_rows, n_features)
        Values in the layout and dtype, or the columns, of the store.
    y : ndarray of shape (n_rows,) or (n_rows, n_targets), or None
        Class labels, or numbers as float64.
    weight : ndarray of shape (n_rows,) or None
        Weights; None stands for ones.
    sample_ids, subject_ids : ndarray of int64, list of str, or None
        Ids; None for rows numbered from 0, and for rows that belong to nobody.
    """

    X: Any
    y: np.ndarray | None
    weight: np.ndarray | None
    sample_ids: Ids | None
    subject_ids: Ids | None


class Core:
    """What an algorithm derives from rows; it keeps none. One object an estimator, standing alone or in a pipeline.

    `block.y` holds class codes (see `skunlearn.class_codes`) for classifiers, and the targets for regressors. A core
    inherits from this class, and with it what most cores need not do.
    """

    #: Whether the core reads rows where they lie, by slot. It is then told of every row, also of those of weight 0:
    #: a lesson is one block of slots alone, and what is forgotten comes as it was stored.
    reads_store = False

    #: Whether what it publishes is another map as soon as a row comes or goes.
    moves = False

    #: Whether rows must come with their ids.
    needs_ids = False

    #: Whether rows must come with the tags of those whose they are; for estimators whose rows have tags.
    groups_rows = False

    #: Whether publishing draws noise, so that a version which nobody reads is better not published.
    draws_at_reads = False

    @abstractmethod
    def _learn(self, block: RowBlock) -> None:
        """Take rows in."""

    @abstractmethod
    def _forget(self, block: RowBlock) -> None:
        """Take rows out; they have left the store already."""

    @abstractmethod
    def _rebuild(self, owner: Owner) -> None:
        """Start afresh from all rows of `owner`."""

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that the core cannot take, with a ValueError, before anything changes."""

    def warn_before_forget(self, block: RowBlock) -> None:
        """Warn about what would vanish with these rows, before anything changes."""

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn about what a fit has found, before the model that it makes replaces an older one."""

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return how the core followed the last `_forget`, and what work that was, in counts."""
        return "update", {}

    def is_settled(self) -> bool:
        """Whether the core is all that its rows make of it, and has put nothing off."""
        return True

    def _settle(self, owner: Owner) -> None:
        """Do what `_learn` and `_forget` have put off until somebody reads; rows may be passed over again."""

    def drain(self) -> None:
        """Let go of forgotten rows that are kept because nobody has read since: nothing is put off in a saved model."""

    @abstractmethod
    def publish(self, owner: Owner) -> Any:
        """Return the public state, immutable; raise DegenerateRowsError where the rows do not determine one."""

    def check_published(self, owner: Owner) -> None:
        """Raise what `publish` would raise about the rows; for cores that draw at reads."""

    def remembered(self) -> dict[str, Any] | None:
        """Return what a saved model must hold beside its rows, in plain values: what was published, and is spent."""
        return None

    def remember(self, saved: Any) -> None:
        """Take back what `remembered` returned; raise ValueError where it cannot be that."""

    def purge(self, owner: Owner) -> None:
        """Derive anew, from the rows alone, whatever else depends on how they came and went."""

    @abstractmethod
    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the derived state in canonical form, free of history."""

    @abstractmethod
    def nbytes(self) -> int:
        """Return the size of the derived state in bytes."""

    def without_rows(self, published: Any) -> Any:
        """Let go of the rows; return `published` with all that it would have read from them later."""
        return published


class LiveModel:
    """The rows of one stand-alone estimator, its core, its key, and the state that readers see.

    Readers take `published`, one immutable object, without a lock; writers hold `lock` and set `published` to None
    first. So a reader sees the state of one version, never half of one.

    Parameters
    ----------
    model_name : str
        Class of the estimator, for messages.
    params : dict
        The parameters, frozen at `fit`: setting one later takes effect at the next `fit`.
    feature_names : ndarray of str or None
        Names of the columns where the input had them.
    key : Key
        Source of all randomness.
    rows : RowStore
        The rows.
    targets : Targets
        What stands beside the values of a row, and how it is stored.
    core : Core
        What is derived from the rows.
    """

    #: Whether the rows are another model's, which then learns and forgets for this one.
    is_owned = False

    __slots__ = (
        "__weakref__",
        "_last_forget",
        "core",
        "feature_names",
        "forgettable",
        "key",
        "lock",
        "model_name",
        "n_effective",
        "n_features",
        "params",
        "published",
        "rows",
        "stale",
        "targets",
    )

    def __init__(
        self,
        *,
        model_name: str,
        params: dict[str, Any],
        feature_names: np.ndarray | None,
        key: Key,
        rows: RowStore,
        targets: Targets,
        core: Core,
    ) -> None:
        self.model_name = model_name
        self.params = params
        self.feature_names = feature_names
        self.n_features: int = rows.native.n_features
        self.key = key
        self.rows = rows
        self.targets = targets
        self.core = core
        self.forgettable = True
        self.n_effective = 0
        self.stale = False
        self.published: Any = None
        self._last_forget: tuple[Any, ...] | None = None
        self.lock = threading.RLock()
        with _registry_lock:
            _live_models.add(self)

    @property
    def codes(self) -> ClassCodes:
        """Codes of the class labels; empty where targets are no labels."""
        return self.targets.codes

    def learn(self, incoming: IncomingRows) -> None:
        """Take rows in; the caller holds the lock."""
        self.flush()
        before, n_before = self.published, len(self.rows)
        try:
            columns = self.targets.encode(incoming.y)
            self.core.check(incoming)
            fault_point("learn.validated")
            self._mark_stale()
            fault_point("learn.stale")
            added = self.rows.insert(
                incoming.sample_ids,
                incoming.X,
                columns,
                incoming.weight,
                incoming.subject_ids,
            )
        except BaseException:
            if len(self.rows) == n_before:  # rows go in as a whole or not at all, and they did not
                self.targets.prune()
                self.published, self.stale = before, False
            raise
        fault_point("learn.inserted")
        self.n_effective += _n_effective(len(added), incoming.weight)
        self.targets.count(columns, incoming.weight, +1)
        try:
            self._learn_in_core(added)
        except Exception:  # rows that the core cannot hold would make every later read and forget fail, too
            self.rows.erase(np.arange(added.start, added.stop, dtype=np.uint32))
            raise
        fault_point("learn.learned")
        self.stale = False

    def forget(self, selection: Selection) -> None:
        """Take rows out; the caller holds the lock."""
        if len(selection.slots) == 0:
            self._last_forget = _counts_of(selection, "nothing")
            return
        path = "rebuild" if self.stale else "update"
        self.flush()
        block = self._identified(self.rows.take(selection.slots, with_tags=self.rows.has_tags))
        try:
            self._warn_before_forget(block)
            fault_point("forget.validated")
            self._mark_stale()
            fault_point("forget.stale")
            self.rows.erase(selection.slots)
            fault_point("forget.erased")
            self.n_effective -= _n_effective(len(block), block.weight)
            self.targets.count(block.y, block.weight, -1)
            self._in_core(self.core._forget, block)
            fault_point("forget.forgotten")
            self.stale = False
            self._last_forget = _counts_of(selection, path, *(self.core.last_path() if path == "update" else ()))
        finally:
            block.wipe()

    def _learn_in_core(self, added: range) -> None:
        """Hand a core the rows in these slots, or the slots where it reads the store itself."""
        if self.core.reads_store:
            self.core._learn(RowBlock(slots=np.arange(added.start, added.stop, dtype=np.uint32), X=None))
            return
        for block in self.rows.blocks(added.start, added.stop, with_tags=self.rows.has_tags):
            self._in_core(self.core._learn, self._identified(block))
            block.wipe()

    def _identified(self, block: RowBlock) -> RowBlock:
        """Return a block of live rows with what its core asks for beyond their values."""
        if self.core.needs_ids:
            block.ids = self.rows.native.ids(block.slots)
        if self.core.groups_rows:
            block.groups = self.rows.group_tags(block, self.key)
        return block

    def _in_core(self, operation: Callable[[RowBlock], None], block: RowBlock) -> None:
        """Hand a core the rows that count: a row of weight 0 is stored, and enters nothing."""
        if self.core.reads_store or block.weight is None or block.weight.all():
            operation(block)
            return
        effective = block.take(block.weight > 0)
        try:
            if len(effective):
                operation(effective)
        finally:
            effective.wipe()

    def _mark_stale(self) -> None:
        self.stale = True
        self.published = None

    def _warn_before_forget(self, block: RowBlock) -> None:
        n_vanishing, n_classes = self.targets.n_vanishing(block.y, block.weight)
        if n_vanishing:
            warnings.warn(
                f"{n_vanishing} of {n_classes} classes have no rows left in this {self.model_name} and leave "
                "classes_. Declare classes= to keep their columns at probability 0.",
                ClassVanishedWarning,
                stacklevel=4,
            )
        self._in_core(self.core.warn_before_forget, block)

    def flush(self) -> None:
        """Bring the core up to date with the rows; the caller holds the lock."""
        if self.stale:
            fault_point("flush.stale")
            if self.rows.has_tags:
                self.rows.retag(self.key)
            self.rebuild()
            fault_point("flush.rebuilt")
            self.stale = False

    def settle(self) -> None:
        """Bring the core up to date, with what it has put off; the caller holds the lock."""
        self.flush()
        if not self.core.is_settled():
            self.stale = True
            fault_point("settle.stale")
            self.core._settle(self)
            fault_point("settle.settled")
            self.stale = False

    def rebuild(self) -> None:
        """Derive everything from the rows anew; the caller holds the lock."""
        self.rows.recount()
        self.n_effective = sum(_n_effective(len(b), b.weight) for b in self.rows.blocks())
        self.targets.recount((b.y, b.weight) for b in self.rows.blocks())
        self.core._rebuild(self)

    def reseed(self, key: Key) -> None:
        """Put the model under another key; the caller holds the lock."""
        self._mark_stale()
        self.key = key

    def effective_blocks(self) -> Iterator[RowBlock]:
        """Pass over all rows of a weight above 0, in the order of slots."""
        for block in map(self._identified, self.rows.blocks(with_tags=self.rows.has_tags)):
            if block.weight is not None and not block.weight.all():
                block = block.take(block.weight > 0)
            if len(block):
                yield block

    @contextmanager
    def held_blocks(self) -> Iterator[list[RowBlock]]:
        """Return all rows of a weight above 0 at once, for as long as the context lasts; copies are then wiped."""
        blocks = list(self.effective_blocks())
        try:
            yield blocks
        finally:
            for block in blocks:
                if isinstance(block.X, CsrRows):
                    block.X.data.fill(0)

    def blocks_to_store(self) -> Iterator[RowBlock]:
        """Pass over copies of all rows of a weight above 0, with ids, in the order of their insertion."""
        for block in self.rows.blocks_in_order("insertion"):
            if block.weight is not None and not block.weight.all():
                block = block.take(block.weight > 0)
            if len(block):
                yield block
            block.wipe()

    @property
    def n_rows(self) -> int:
        """Number of rows, those of weight 0 included."""
        return len(self.rows)

    @property
    def report(self) -> ForgetReport | None:
        """What the last forget did; made when it is asked for."""
        return None if self._last_forget is None else ForgetReport(*self._last_forget)

    @property
    def is_empty(self) -> bool:
        """Whether no row of a weight above 0 is left."""
        if not self.forgettable:  # fit refuses rows that all have weight 0
            return False
        with self.lock:
            self.flush()
            return self.n_effective == 0

    def publish(self) -> Any:
        """Return the published state, made at the first read of a version."""
        published = self.published
        if published is not None:
            return published
        with self.lock:
            self.settle()
            if self.published is None:
                self.published = self.core.publish(self)
            return self.published

    def prepare(self) -> None:
        """Publish, or where that draws noise only raise what reading would raise."""
        if not self.core.draws_at_reads:
            self.publish()
            return
        with self.lock:
            self.settle()
            self.core.check_published(self)

    def purge(self) -> None:
        """Let go of all that depends on how the rows came and went; the caller holds the lock."""
        self.flush()
        self.stale = True
        self.core.purge(self)
        self.stale = False

    def drop_rows(self) -> None:
        """Keep what is published: what ``forgettable=False`` asks for."""
        self.published = self.core.without_rows(self.publish())
        self.rows = self.rows.empty_twin(tag_key=None)
        self.forgettable = False


def _counts_of(selection: Selection, path: str, *details: Any) -> tuple[Any, ...]:
    """Return the fields of a report: counts alone, for a slot tells which row it was."""
    counts = (len(selection.slots), selection.n_subjects, selection.n_unknown, selection.n_duplicates)
    return (*counts, *(details or (path,)))


def _n_effective(n_rows: int, weight: np.ndarray | None) -> int:
    return n_rows if weight is None else int(np.count_nonzero(weight))


# A child of fork() has none of the parent's other threads: a lock that one of them held would stay locked in it for
# ever, over a half-changed model. So no writer is at work while the process forks.
# No LiveModel is made by a thread that holds the lock of another one: it would wait here for the forking thread.
_live_models: "weakref.WeakSet[LiveModel]" = weakref.WeakSet()
_registry_lock = threading.Lock()
_held_for_fork: list[LiveModel] = []


def _before_fork() -> None:
    _registry_lock.acquire()
    for model in _live_models:
        model.lock.acquire()
        _held_for_fork.append(model)


def _after_fork() -> None:
    while _held_for_fork:
        _held_for_fork.pop().lock.release()
    _registry_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
