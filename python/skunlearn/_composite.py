"""Composites: estimators whose core is made of cores, over rows that the composite alone owns.

A pipeline forgets exactly by one rule. Every part forgets the rows that leave, as the maps before it show them. Where
the map of a part is afterwards the same bit for bit, the rows that the next part was fitted on are what a refit would
hand to it, less those that left. Where it is not, everything behind it is fitted again on all rows through the new
map, once, when somebody reads. Whether a map is the same is told by its digest, never by a counter.

`Part` is one estimator in a composite: its core, and the map that later parts were fitted under. `OwnedModel` is what
the estimator reads from, and the owner that its core sees: its rows are those of the composite, through the maps before
it, and exist only while somebody passes over them.
"""

import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone

from skunlearn._foreign import POLICIES, OnForeign, as_step, bare_twin, check_foreign, kept_as, role_of
from skunlearn.base import ForgetMixin
from skunlearn.class_codes import ClassCodes
from skunlearn.columns import Columns, TableRows
from skunlearn.digest import FramedHash
from skunlearn.exceptions import DegenerateRowsError, ForeignStepError
from skunlearn.guarantee import Guarantee, weakest
from skunlearn.key import Key, key_from_random_state
from skunlearn.live import Core, ForgetReport, IncomingRows, LiveModel, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.targets import Targets

__all__ = [
    "CompositeCore",
    "CompositeMixin",
    "OwnedModel",
    "Part",
    "SettlingModel",
    "adopted",
    "check_steps",
    "frozen_step",
    "values_of",
    "wipe_values",
]

#: Passes over the rows of a part that transform them anew; who passes more often gets them kept for as long.
_STREAMED_PASSES = 2


class UnacceptableRowsError(ValueError):
    """Rows as they reach a part, which it cannot take."""


class CompositeMixin(ForgetMixin):
    """Mixin for estimators that are made of others; a subclass lists these in `_steps`."""

    #: What becomes of steps that cannot forget.
    on_foreign: OnForeign = "refit"

    @abstractmethod
    def _steps(self) -> list[Any]:
        """Return the estimators that there are, fitted or not; foreign ones as `ForeignStep`."""

    @abstractmethod
    def _map_steps(self, function: Callable[[Any], Any]) -> None:
        """Put ``function(step)`` in the place of every step."""

    @property
    def _tags_rows(self) -> bool:  # type: ignore[override]
        return any(step._tags_rows for step in self._steps())

    def _key_to_fit_with(self) -> Key:
        """Return the key: that of the last step that draws by rows and has a ``random_state``, so that it repeats."""
        random_state = self._random_state_of_tags()
        return key_from_random_state(random_state)

    def _random_state_of_tags(self) -> Any:
        for step in reversed(self._steps()):
            if step._tags_rows:
                is_composite = isinstance(step, CompositeMixin)
                found = step._random_state_of_tags() if is_composite else getattr(step, "random_state", None)
                if found is not None:
                    return found
        return None

    # --- targets: those of the last step if it reads any, else of the first that does --------------------------------

    def _targets_step(self) -> Any:
        reading = [s for s in self._steps() if s._targets_type(s.get_params(deep=False)) is not Targets]
        return None if not reading else self._steps()[-1] if self._steps()[-1] in reading else reading[0]

    @property
    def _is_given_targets(self) -> bool:
        return any(getattr(step, "_is_given_targets", False) for step in self._steps())

    def _targets_type(self, params: Any) -> type[Targets]:
        step = self._targets_step()
        return Targets if step is None else step._targets_type(step.get_params(deep=False))

    def _targets_like(self, y: Any, classes: Any) -> Targets:
        step = self._targets_step()
        return Targets() if step is None else step._targets_like(y, classes)

    def _checked_targets(self, y: Any) -> Any:
        step = self._targets_step()
        return None if step is None else step._checked_targets(y)

    # --- what all steps have in common -------------------------------------------------------------------------------

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot: what its weakest step does."""
        self._require_live()
        try:
            of_steps = [step.guarantee_ for step in self._fitted_steps()]
        except DegenerateRowsError:
            kept = [step.guarantee_ for step in self._steps() if getattr(step, "role", None) == "kept"]
            nothing = Guarantee(kind="exact", basis="the rows that are left determine no model, and none is kept")
            of_steps = [*kept, nothing]
        return Guarantee(
            kind=weakest([g.kind for g in of_steps]) if of_steps else "exact",
            basis="; ".join(dict.fromkeys(g.basis for g in of_steps)) or "no step learns anything",
            not_covered=tuple(what for g in of_steps for what in g.not_covered),
        )

    def _fitted_steps(self) -> list[Any]:
        """Return the fitted estimators, each reading its share of the state of this one."""
        return self._steps()

    def _resolved_params(self, params: dict[str, Any], names: np.ndarray | None) -> dict[str, Any]:
        """Return parameters for columns of these names; None where they have none."""
        return params

    def _native_twin(self, state: Any, params: dict[str, Any]) -> Any:
        raise NotImplementedError  # `release` of a composite does without

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        """Estimate the size of all cores, as if every step saw rows like `X`."""
        return sum(step._core_nbytes(X, n_classes, n_targets) for step in self._steps())


class Part:
    """One estimator in a composite.

    Parameters
    ----------
    name : str
        Of the step.
    step : ForgetMixin
        The estimator, not fitted; its parameters are frozen.
    position : int
        Where it stands; its key is derived from it.

    Attributes
    ----------
    core : Core or None
        What it derives from rows; None until there were any.
    map : TransformMap or None
        What it published last, where other parts follow; they were fitted under it.
    is_clean : bool
        Whether the core holds the rows as the maps before it give them.
    n_fits : int
        How often it was fitted on all rows. Kept for whoever measures; no part of the state.
    """

    def __init__(self, name: str, step: ForgetMixin, position: int) -> None:
        step._validate_params()
        self.name = name
        self.step = step
        self.position = position
        self.params = self._given_params = step._frozen_params(step)
        self._names: list[str] | None = None
        self.core: Core | None = None
        self.rows: RowStore | None = None
        self.key: Key | None = None
        self.map: Any = None
        self.digest: bytes | None = None
        self.is_clean = False
        self.n_fits = 0
        is_given = getattr(step, "_is_given_targets", False)
        self.reads_targets = is_given or step._targets_type(self.params) is not Targets
        self._allows_nan: bool = step._stores_nan

    def fit(self, view: "OwnedModel") -> None:
        """Derive everything from all rows of `view` anew."""
        self.is_clean = False
        self.n_fits += 1
        self.key = view.key_of_part()
        schema = view.schema()
        if self.rows is None or not _is_like(self.rows, schema):
            self.core, self.rows = None, schema
        if isinstance(self.step, CompositeMixin):
            self._resolve_columns(self.step, view.feature_names)
        if self.core is None:
            core = self.step._make_core(self.params, schema)
            if core.draws_at_reads:
                raise ForeignStepError(
                    f"{type(self.step).__name__} with a certified guarantee cannot be a step yet: a composite derives "
                    "its steps anew, and would publish one version under several draws of noise. Nothing was changed. "
                    'Use guarantee="exact" there, or transform the rows before.'
                )
            self.core = core
        if schema.columns is not None:
            self._check_takes_tables(view)
        try:
            self._check_all(view)
            if self.core.reads_store:
                self.rows = schema
                for block in view.blocks_to_store():
                    self.rows.insert(block.ids, block.X, block.y, block.weight, None)
            self.core._rebuild(view)
        except ValueError as error:
            raise UnacceptableRowsError(str(error)) from None
        self.settle(view)
        self.is_clean = True

    def _resolve_columns(self, step: CompositeMixin, names: np.ndarray | None) -> None:
        """Resolve columns that the step chooses by name; a core for others is of no use."""
        known = None if names is None else names.tolist()
        if known != self._names:
            self.core, self._names = None, known
        self.params = step._resolved_params(self._given_params, names)

    def _check_takes_tables(self, view: "OwnedModel") -> None:
        bare = bare_twin(self.step)
        checked = None
        with suppress(ValueError):
            block = next(view.effective_blocks())
            y = view.targets.decode(block.y) if self.reads_targets else None
            checked, _ = self.step._check_X(bare, block.X, y=y, reset=True)
        if not isinstance(checked, TableRows):
            raise UnacceptableRowsError(
                f"Columns that are no numbers reach step {self.name!r}, and {type(self.step).__name__} does not accept "
                "that. Put an encoder before it, or choose its columns."
            )

    def _check_all(self, view: "OwnedModel") -> None:
        for block in view.effective_blocks():
            self.check(IncomingRows(block.X, view.targets.decode(block.y), block.weight, None, None))

    def settle(self, view: "OwnedModel") -> None:
        """Do what the core has put off."""
        assert self.core is not None
        if self.core.is_settled():
            return
        try:
            self.core._settle(view)
        except ValueError as error:
            self.is_clean = False
            raise UnacceptableRowsError(str(error)) from None

    def has_moved(self, view: "OwnedModel") -> bool:
        """Publish the map, and return whether it is another one than before."""
        assert self.core is not None
        try:
            new = self.core.publish(view)
        except DegenerateRowsError:
            new = None
        if new is not None and new is self.map:
            return False
        before, self.map = self.digest, new
        self.digest = None if new is None else new.digest()
        return self.digest is None or self.digest != before

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that the estimator would refuse in `fit`."""
        values = values_of(incoming.X)[-1]
        is_wrong = np.isinf(values) if self._allows_nan else ~np.isfinite(values)
        n_wrong = int(np.count_nonzero(is_wrong))
        if n_wrong:
            what = "infinite" if self._allows_nan else "NaN or infinite"
            raise ValueError(
                f"{n_wrong} of {values.size} values are {what} as they reach step {self.name!r}, and "
                f"{type(self.step).__name__} does not accept that. Put an imputer or a scaler before it, or leave "
                "these rows out."
            )
        if self.core is not None:
            self.core.check(incoming if self.reads_targets else replace(incoming, y=None))

    def seen(self, block: RowBlock) -> RowBlock:
        """Return rows as the step would be given them alone: without targets where it reads none."""
        if self.reads_targets:
            return block
        return RowBlock(block.slots, block.X, None, block.weight, block.ids, block.tags, block.groups)

    def learn(self, block: RowBlock) -> None:
        """Take rows in, as the maps before this part show them."""
        assert self.core is not None
        block = self.seen(block)
        if not self.core.reads_store:
            self.core._learn(block)
            self._drop_map()
            return
        assert self.rows is not None
        added = self.rows.insert(block.ids, block.X, block.y, block.weight, None)
        self.core._learn(RowBlock(slots=np.arange(added.start, added.stop, dtype=np.uint32), X=None))

    def forget(self, block: RowBlock) -> None:
        """Take rows out, as the maps before this part show them."""
        assert self.core is not None
        if not self.core.reads_store:
            self.core._forget(self.seen(block))
            self._drop_map()
            return
        assert self.rows is not None
        slots = self.rows.select(block.ids, None, "raise").slots
        own = self.rows.take(slots, with_tags=True)
        self.rows.erase(slots)
        try:
            self.core._forget(own)
        finally:
            own.wipe()

    def _drop_map(self) -> None:
        if self.core is not None and self.core.moves:
            self.map = self.digest = None

    def nbytes(self) -> int:
        """Return the size of what is derived in bytes."""
        return 0 if self.core is None else self.core.nbytes()


class OwnedModel:
    """What a step of a composite reads from, and the owner that its core sees.

    It has the reading surface of `LiveModel`. Rows come and go through the composite; those that a step sees are made
    of the composite's when somebody passes over them, and wiped.

    Parameters
    ----------
    parent : LiveModel or OwnedModel
        That of the composite.
    position : int
        Which part of its core this is.
    """

    __slots__ = ("_cached", "_kept", "_n_passes", "_parent", "_position")

    #: A composite forgets and learns for its steps.
    is_owned = True

    def __init__(self, parent: "LiveModel | OwnedModel", position: int) -> None:
        self._parent = parent
        self._position = position
        # A weak reference to the composite's state: a step that is not read again keeps no older version alive.
        self._cached: tuple[Any, Any] = (None, None)
        self._n_passes = 0
        self._kept: list[tuple[RowBlock, RowBlock]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        for block, source in self._kept or ():
            wipe_values(block, but_not=source)
        self._kept = None

    @property
    def part(self) -> Part:
        """The part of the composite's core."""
        return self._composite.parts[self._position]

    # --- what is the composite's -------------------------------------------------------------------------------------

    @property
    def lock(self) -> Any:
        """The lock of the composite."""
        return self._parent.lock

    @property
    def forgettable(self) -> bool:
        """Whether the composite keeps its rows."""
        return self._parent.forgettable

    @property
    def targets(self) -> Targets:
        """Targets of the composite's rows; none for a step that reads none."""
        return self._parent.targets if self.part.reads_targets else Targets()

    @property
    def codes(self) -> ClassCodes:
        """Codes of the class labels."""
        return self.targets.codes

    @property
    def n_effective(self) -> int:
        """Number of rows of a weight above 0."""
        return self._parent.n_effective

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._parent.n_rows

    @property
    def is_empty(self) -> bool:
        """Whether no row of a weight above 0 is left."""
        return self._parent.is_empty

    @property
    def report(self) -> ForgetReport | None:
        """What the composite's last forget did."""
        return self._parent.report

    def settle(self) -> None:
        """Bring the composite up to date."""
        self._parent.settle()

    def flush(self) -> None:
        """Bring the composite up to date with the rows."""
        self._parent.flush()

    # --- what is the part's ------------------------------------------------------------------------------------------

    @property
    def model_name(self) -> str:
        """Class of the step."""
        return type(self.part.step).__name__

    @property
    def params(self) -> dict[str, Any]:
        """The frozen parameters of the step."""
        return self.part.params

    @property
    def core(self) -> Core:
        """What the step derives from rows."""
        core = self.part.core
        if core is None:
            raise DegenerateRowsError(
                f"This {self.model_name} has nothing to be fitted on: a step before it has no map of the rows that are "
                "left. Call partial_fit or fit on the composite."
            )
        return core

    @property
    def rows(self) -> RowStore:
        """Transformed rows where the core reads them where they lie; else a store of their schema without rows."""
        return self._parent.rows if self.part.rows is None else self.part.rows

    @property
    def key(self) -> Key:
        """The key of the step."""
        assert self.part.key is not None
        return self.part.key

    def key_of_part(self) -> Key:
        """Return the key: the step's own where it has a ``random_state``, else derived from the composite's."""
        random_state = getattr(self.part.step, "random_state", None)
        if random_state is None:
            return self._parent.key.derive("step", self._position)
        return key_from_random_state(random_state)

    @property
    def n_features(self) -> int:
        """Width of the rows that the step sees."""
        return self._composite.n_features_of(self._position, self._parent)

    @property
    def feature_names(self) -> np.ndarray | None:
        """Names of the columns that the step sees."""
        return self._composite.feature_names_of(self._position, self._parent)

    @property
    def published(self) -> Any:
        """The state that was read last, unless rows have come or gone since."""
        whole, own = self._cached
        seen = None if whole is None else whole()
        return self._share_of(seen, own) if seen is not None and seen is self._parent.published else None

    @published.setter
    def published(self, state: Any) -> None:
        self._cached = (self._cached[0], state)

    def publish(self) -> Any:
        """Return the published state of the step: its share of the composite's."""
        whole = self._parent.publish()
        seen, own = self._cached
        if seen is None or seen() is not whole:
            own = None
            self._cached = (weakref.ref(whole), None)
        return self._share_of(whole, own)

    def _share_of(self, whole: Any, own: Any) -> Any:
        """Return the state of the step: its own, where it has made one of that in the composite's."""
        return whole.states[self._position] if own is None else own

    # --- rows --------------------------------------------------------------------------------------------------------

    @property
    def _composite(self) -> "CompositeCore":
        core = self._parent.core
        assert core is not None
        return core  # type: ignore[return-value]

    def schema(self) -> RowStore:
        """Return a store without rows, of the schema that the rows of this part have."""
        block = self._shown(next(self._parent.effective_blocks()))
        X = block.X
        return RowStore(
            id_kind=self._parent.rows.id_kind,
            subject_kind=None,
            layout="csr" if isinstance(X, CsrRows) else "dense",
            dtype=values_of(X)[-1].dtype,
            n_features=self._composite.width_of(self._position, self._parent),
            n_targets=self.targets.n_columns,
            tag_key=self.key if self.part.step._tags_rows else None,
            model_name=self.model_name,
            columns=Columns(X.dtypes) if isinstance(X, TableRows) else None,
        )

    def effective_blocks(self) -> Iterator[RowBlock]:
        """Pass over all rows of a weight above 0, as the maps before this part show them."""
        part = self.part
        if part.core is not None and part.core.reads_store and len(self.rows):
            yield from self.rows.blocks(with_tags=self.rows.has_tags)
            return
        if self._kept is None:
            self._n_passes += 1
            if self._n_passes <= _STREAMED_PASSES:
                yield from self._streamed(self._parent.effective_blocks())
                return
            self._kept = [(self._shown(block), block) for block in self._parent.effective_blocks()]
        for block, _ in self._kept:
            yield block

    @contextmanager
    def held_blocks(self) -> Iterator[list[RowBlock]]:
        """Return all rows of a weight above 0 at once, for as long as the context lasts."""
        self._n_passes = _STREAMED_PASSES  # the next one keeps what it makes, as long as this view lasts
        yield list(self.effective_blocks())

    def blocks_to_store(self) -> Iterator[RowBlock]:
        """Pass over all rows of a weight above 0 with their ids, in the order of their insertion."""
        return self._streamed(self._parent.blocks_to_store())

    def _streamed(self, blocks: Iterable[RowBlock]) -> Iterator[RowBlock]:
        for block in blocks:
            shown = self._shown(block)
            yield shown
            wipe_values(shown, but_not=block)

    def _shown(self, block: RowBlock) -> RowBlock:
        return self.part.seen(self._composite.shown_to(self._position, block))


class SettlingModel(OwnedModel):
    """An `OwnedModel` that tells the map its part has, while those behind it are still to be brought up to date."""

    __slots__ = ()

    @property
    def n_features(self) -> int:
        """Width of the rows that the step sees."""
        return int(self.part.map.n_features_in)

    def publish(self) -> Any:
        """Return the map."""
        return self.part.map


class CompositeCore(Core):
    """A core that is made of cores; it keeps no rows.

    Parameters
    ----------
    model_name : str
        Named in errors.
    steps : sequence of (str, ForgetMixin)
        The steps by their names, not fitted.
    """

    def __init__(self, model_name: str, steps: Sequence[tuple[str, ForgetMixin]]) -> None:
        self._model_name = model_name
        self.parts = [Part(name, step, position) for position, (name, step) in enumerate(steps)]
        self._is_settled = False
        self._failure = ""

    # --- what a composite defines ------------------------------------------------------------------------------------

    @abstractmethod
    def shown_to(self, position: int, block: RowBlock) -> RowBlock:
        """Return rows of the composite as a part sees them."""

    @abstractmethod
    def width_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a part sees under the maps there are now."""

    @abstractmethod
    def n_features_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a part sees in the published version."""

    @abstractmethod
    def feature_names_of(self, position: int, owner: Any) -> np.ndarray | None:
        """Return the names of the columns that a part sees."""

    @abstractmethod
    def _settle_parts(self, owner: Any) -> None:
        """Bring all parts up to date with the rows and with each other."""

    @abstractmethod
    def _published(self, owner: Any) -> Any:
        """Return the state made of those of the parts."""

    # --- the contract of a core --------------------------------------------------------------------------------------

    @property
    def needs_ids(self) -> bool:  # type: ignore[override]
        """Whether rows must come with their ids: where a part keeps transformed rows."""
        return any(p.core is not None and (p.core.reads_store or p.core.needs_ids) for p in self.parts)

    @property
    def moves(self) -> bool:  # type: ignore[override]
        """Whether a part's map is another one as soon as a row comes or goes; it is then let go of at once."""
        return any(p.core is not None and p.core.moves for p in self.parts)

    @property
    def groups_rows(self) -> bool:  # type: ignore[override]
        """Whether rows must come with the tags of those whose they are: where a part keeps a subject together."""
        return any(p.core is not None and p.core.groups_rows for p in self.parts)

    def _rebuild(self, owner: Owner) -> None:
        self._is_settled = False
        for part in self.parts:
            part.is_clean = False
            part.core = part.rows = part.map = part.digest = None

    def is_settled(self) -> bool:
        """Whether all parts are up to date."""
        return self._is_settled

    def _settle(self, owner: Owner) -> None:
        self._failure = ""
        if owner.n_effective == 0:
            self._rebuild(owner)
        else:
            try:
                self._settle_parts(owner)
            except UnacceptableRowsError as error:
                self._failure = str(error)
        self._is_settled = True

    def publish(self, owner: Owner) -> Any:
        """Return the states of all parts as one."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )
        if self._failure:
            raise DegenerateRowsError(self._failure)
        return self._published(owner)

    def _state_of(self, position: int, owner: Any) -> Any:
        """Return the state of one part; raise DegenerateRowsError where the rows do not determine it."""
        part = self.parts[position]
        if part.map is not None:
            return part.map
        assert part.core is not None
        return part.core.publish(OwnedModel(owner, position))

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return one digest a part that is up to date; none where one could not be fitted."""
        if self._failure:
            return []
        return [
            _digest_of(part, OwnedModel(owner, position))  # type: ignore[arg-type]
            for position, part in enumerate(self.parts)
            if part.is_clean
        ]

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn about what the fits of the parts have found."""
        for position, part in enumerate(self.parts):
            if part.core is not None:
                part.core.warn_after_fit(OwnedModel(owner, position))  # type: ignore[arg-type]

    def nbytes(self) -> int:
        """Return the size of what the parts derive in bytes, transformed rows left out."""
        return sum(part.nbytes() for part in self.parts)

    def without_rows(self, published: Any) -> Any:
        """Let go of the rows that parts keep."""
        states = []
        for part, state in zip(self.parts, published.states, strict=True):
            assert part.core is not None
            assert part.rows is not None
            states.append(part.core.without_rows(state))
            part.rows = part.rows.empty_twin(tag_key=None)
        return replace(published, states=tuple(states))


def _digest_of(part: Part, view: OwnedModel) -> bytes:
    assert part.core is not None
    framed = FramedHash()
    framed.add(part.name.encode())
    for content in part.core.digest_parts(view):
        framed.add(content)
    return framed.digest()


def _is_like(rows: RowStore, schema: RowStore) -> bool:
    """Whether two stores hold rows of one kind."""
    one, other = rows.native, schema.native
    dtypes, other_dtypes = (None if store.columns is None else store.columns.dtypes for store in (rows, schema))
    return (one.layout, one.dtype, one.n_features, dtypes) == (
        other.layout,
        other.dtype,
        other.n_features,
        other_dtypes,
    )


def values_of(X: Any) -> tuple[np.ndarray, ...]:
    """Return the arrays that rows are made of; the values are the last of them."""
    if isinstance(X, CsrRows):
        return tuple(X)
    if isinstance(X, TableRows):
        return (X.values,)
    return (X.indptr, X.indices, X.data) if sp.issparse(X) else (X,)


def wipe_values(block: RowBlock, *, but_not: RowBlock | None = None) -> None:
    """Overwrite the values of transformed rows, unless they are in the memory of other rows.

    Targets, weights and tags are left alone: a transformed block shares them with the one it was made of.
    """
    others = () if but_not is None else values_of(but_not.X)
    for part in values_of(block.X):
        if part.flags.writeable and not any(np.may_share_memory(part, other) for other in others):
            part.fill(0)


def check_steps(name: str, steps: list[tuple[str, Any]], on_foreign: str) -> None:
    """Refuse steps that cannot forget, where that is the policy, and what a step cannot say without rows of its own."""
    if on_foreign not in POLICIES:
        raise ValueError(f"on_foreign must be one of {POLICIES}. Got {on_foreign!r} instead. Nothing was changed.")
    foreign = [step for step, estimator in steps if not isinstance(estimator, ForgetMixin)]
    learning = [step for step, e in steps if not isinstance(e, ForgetMixin) and role_of(e) == "refit"]
    if learning and on_foreign == "raise":
        raise ForeignStepError(
            f"{len(learning)} of {len(steps)} steps of this {name} cannot forget rows, the first is {learning[0]!r}. "
            "Nothing was changed. Use the class of the same name in skunlearn; or set on_foreign='refit', to train it "
            "anew on the rows that are left, or on_foreign='keep', to leave it as it is and promise nothing."
        )
    for step, estimator in steps:
        if step in foreign:
            check_foreign(step, estimator)
    if any(getattr(estimator, "oob_score", False) for step, estimator in steps if step not in foreign):
        raise ValueError(
            f"A step of this {name} has oob_score, which needs the rows that each tree left out, and a step keeps no "
            "rows. Nothing was changed. Set oob_score=False, or cross-validate."
        )


def frozen_step(step: Any, schema: Any = None, on_foreign: OnForeign = "refit") -> Any:
    """Return a private copy of a step; a generator of random numbers is replaced by the key that it gives now."""
    frozen = kept_as(clone(step), on_foreign)
    if isinstance(frozen, CompositeMixin):
        frozen._map_steps(lambda inner: kept_as(inner, frozen.on_foreign))
    if schema is not None:
        frozen.__dict__.update(step._frozen_params(schema))
    if isinstance(getattr(frozen, "random_state", None), np.random.RandomState):
        frozen.random_state = key_from_random_state(step.random_state)
    return frozen


def adopted(step: Any, on_foreign: OnForeign, live: Any, position: int) -> Any:
    """Return a fitted copy of a step, which reads its share of the state of `live`."""
    fitted = as_step(clone(step), on_foreign)
    fitted._adopt(OwnedModel(live, position))
    return fitted
