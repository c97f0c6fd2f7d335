"""Cores side by side, each for columns of its own: what ColumnTransformer and FeatureUnion are made of."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import sklearn.preprocessing
from sklearn.base import OneToOneFeatureMixin

from skunlearn._composite import CompositeCore, OwnedModel, Part, values_of, wipe_values
from skunlearn._foreign import OnForeign, as_step
from skunlearn.base import ForgetMixin
from skunlearn.columns import TableRows, as_rows
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore, csr_rows
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import column_indices

__all__ = ["ColumnsCore", "ColumnsState", "Unchanged", "as_rows"]


class Unchanged(OneToOneFeatureMixin, ForgettingTransformerMixin, ForgetMixin):
    """What "passthrough" stands for: columns as they are."""

    _parameter_constraints: dict[str, Any] = {}

    def fit(self, X: Any, y: Any = None) -> Self:
        """Only a composite fits this."""
        raise NotImplementedError

    def transform(self, X: Any) -> Any:
        """Return rows as they are."""
        return X

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "_UnchangedCore":
        return _UnchangedCore()

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        return X

    def _native_twin(self, state: Any, params: dict[str, Any]) -> Any:
        given = {"accept_sparse": True, "check_inverse": False, "feature_names_out": "one-to-one"}
        return sklearn.preprocessing.FunctionTransformer(**given)

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags


@dataclass(frozen=True, slots=True, eq=False)
class UnchangedState(TransformMap):
    """The map that changes nothing.

    Parameters
    ----------
    width : int
        Number of columns.
    """

    width: int

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.width

    def apply(self, X: Any) -> Any:
        """Return rows as they are."""
        return X

    def parts(self) -> list[bytes | np.ndarray]:
        """Return nothing: there is nothing else to know."""
        return []


class _UnchangedCore(Core):
    def _learn(self, block: RowBlock) -> None:
        pass

    def _forget(self, block: RowBlock) -> None:
        pass

    def _rebuild(self, owner: Owner) -> None:
        pass

    def publish(self, owner: Owner) -> UnchangedState:
        return UnchangedState(int(owner.rows.native.n_features))

    def digest_parts(self, owner: Owner) -> list[bytes]:
        return []

    def nbytes(self) -> int:
        return 0


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ColumnsState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    names : tuple of str
        Names of the transformers that have columns.
    states : tuple of TransformMap
        Their maps.
    columns : tuple of ndarray
        The columns that they see.
    widths : tuple of int
        Numbers of columns that they give.
    is_sparse : bool
        Whether the output is sparse.
    n_features_in : int
        Number of columns.
    """

    names: tuple[str, ...]
    states: tuple[TransformMap, ...]
    columns: tuple[np.ndarray, ...]
    widths: tuple[int, ...]
    is_sparse: bool
    n_features_in: int

    def apply(self, X: Any) -> Any:
        """Return rows with the outputs of all transformers side by side."""
        chosen = [columns_of(X, columns, self.n_features_in) for columns in self.columns]
        pieces = [state.apply(part) for state, part in zip(self.states, chosen, strict=True)]
        return self._side_by_side(pieces, X.shape[0])

    def apply_to_live(self, block: RowBlock) -> Any:
        """Return live rows as `fit_transform` gives them."""
        shown = [selected(block, columns, self.n_features_in) for columns in self.columns]
        pieces = [state.apply_to_live(s) for state, s in zip(self.states, shown, strict=True)]
        made = self._side_by_side(pieces, len(block))
        for s in shown:
            if not any(np.may_share_memory(a, b) for a in values_of(s.X) for b in values_of(made)):
                wipe_values(s, but_not=block)
        return made

    def _side_by_side(self, pieces: list[Any], n_rows: int) -> Any:
        if not pieces:
            return np.zeros((n_rows, 0))
        if self.is_sparse:
            return sp.csr_array(sp.hstack([sp.csr_array(piece) for piece in pieces], format="csr"))
        dense = [p.toarray() if sp.issparse(p) else np.asarray(p) for p in pieces]
        return np.hstack(dense)

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the maps, their columns, and whether the output is sparse."""
        parts: list[bytes | np.ndarray] = [str((self.is_sparse, self.widths)).encode()]
        for state, columns in zip(self.states, self.columns, strict=True):
            parts += [state.digest(), columns]
        return parts


def _as_part(step: Any, on_foreign: OnForeign) -> ForgetMixin:
    part: ForgetMixin = Unchanged() if isinstance(step, str) else as_step(step, on_foreign)
    return part


def _is_dropped(step: Any) -> bool:
    return isinstance(step, str) and step == "drop"


class ColumnsCore(CompositeCore):
    """Cores side by side, each seeing columns of its own.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters; those named here are read.
    n_features : int
        Number of columns.

    Attributes
    ----------
    remainder : ndarray
        Columns that are named nowhere.
    """

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        probe = np.empty((1, n_features))
        resolved = [
            (name, step, np.array(column_indices(probe, columns), dtype=np.intp))
            for name, step, columns in params["transformers"]
        ]
        named = {int(c) for _, _, columns in resolved for c in columns}
        self.remainder = np.array([c for c in range(n_features) if c not in named], dtype=np.intp)
        resolved.append(("remainder", params["remainder"], self.remainder))
        kept = [(name, step, c) for name, step, c in resolved if len(c) and not _is_dropped(step)]
        super().__init__(model_name, [(n, _as_part(s, params["on_foreign"])) for n, s, _ in kept])
        self.columns = tuple(columns for _, _, columns in kept)
        self._n_features = n_features
        self._threshold: float = params["sparse_threshold"]
        self._widths = [0] * len(kept)
        self._is_sparse = [False] * len(kept)
        self._n_stored = [0] * len(kept)  # entries of a sparse output

    def shown_to(self, position: int, block: RowBlock) -> RowBlock:
        """Return the columns of a transformer."""
        return selected(block, self.columns[position], self._n_features)

    def width_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a transformer sees."""
        return len(self.columns[position])

    def n_features_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a transformer sees."""
        return len(self.columns[position])

    def feature_names_of(self, position: int, owner: Any) -> np.ndarray | None:
        """Return the names of the columns that a transformer sees."""
        names = owner.feature_names
        return None if names is None else names[self.columns[position]]

    def _learn(self, block: RowBlock) -> None:
        self._change(block, Part.learn, +1)

    def _forget(self, block: RowBlock) -> None:
        self._change(block, Part.forget, -1)

    def _change(self, block: RowBlock, change: Callable[[Part, RowBlock], None], sign: int) -> None:
        self._is_settled = False
        for position, part in enumerate(self.parts):
            if part.is_clean:
                shown = self.shown_to(position, block)
                self._count_stored(position, shown, sign)
                change(part, shown)
                wipe_values(shown, but_not=block)

    def _count_stored(self, position: int, shown: RowBlock, sign: int) -> None:
        """Count the entries that a sparse output stores, as far as the map there is can tell."""
        part = self.parts[position]
        if part.map is None or not self._is_sparse[position]:
            return
        try:
            made = part.map.apply_to_live(shown)
        except ValueError:  # the map knows nothing of these rows, so it will be another one
            part.map = part.digest = None
            return
        self._n_stored[position] += sign * made.nnz

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that a transformer would refuse."""
        for part, columns in zip(self.parts, self.columns, strict=True):
            part.check(replace(incoming, X=columns_of(incoming.X, columns, self._n_features)))

    def warn_before_forget(self, block: RowBlock) -> None:
        """Warn about what would vanish with these rows in any transformer."""
        for position, part in enumerate(self.parts):
            if part.is_clean and part.core is not None:
                part.core.warn_before_forget(part.seen(self.shown_to(position, block)))

    def _settle_parts(self, owner: Any) -> None:
        for position, part in enumerate(self.parts):
            with OwnedModel(owner, position) as view:
                if part.is_clean:
                    part.settle(view)
                else:
                    part.fit(view)
                if part.has_moved(view) and part.map is not None:
                    self._measure(position, owner)

    def _measure(self, position: int, owner: Any) -> None:
        """Find how wide a transformer's output is, whether it is sparse, and how many entries it stores."""
        part = self.parts[position]
        self._n_stored[position] = 0
        for block in owner.effective_blocks():
            shown = self.shown_to(position, block)
            made = part.map.apply_to_live(shown)
            self._widths[position], self._is_sparse[position] = made.shape[1], sp.issparse(made)
            if not self._is_sparse[position]:
                wipe_values(shown, but_not=block)
                return
            self._n_stored[position] += int(made.nnz)
            wipe_values(shown, but_not=block)

    def _published(self, owner: Any) -> ColumnsState:
        states = tuple(self._state_of(position, owner) for position in range(len(self.parts)))
        return ColumnsState(
            names=tuple(part.name for part in self.parts),
            states=states,
            columns=self.columns,
            widths=tuple(self._widths),
            is_sparse=self._gives_sparse(owner.n_effective),
            n_features_in=self._n_features,
        )

    def _gives_sparse(self, n_rows: int) -> bool:
        """Whether the output is sparse: some of it is, and few enough entries are stored in all."""
        if not any(self._is_sparse):
            return False
        each = zip(self._n_stored, self._widths, self._is_sparse, strict=True)
        n_stored = sum(stored if is_sparse else n_rows * width for stored, width, is_sparse in each)
        return n_stored / (n_rows * sum(self._widths)) < self._threshold


def selected(block: RowBlock, columns: np.ndarray, n_features: int) -> RowBlock:
    """Return rows with some of their columns, copied."""
    X = columns_of(block.X, columns, n_features)
    return RowBlock(block.slots, X, block.y, block.weight, block.ids, block.tags, block.groups)


def columns_of(X: Any, columns: np.ndarray, n_features: int) -> Any:
    """Return some columns of rows in any form, in the same form; an array where a table's are all numbers."""
    if isinstance(X, CsrRows):
        whole = sp.csr_array((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, n_features))
        return csr_rows(whole[:, columns])
    if isinstance(X, TableRows):
        chosen = X[:, columns]
        return np.ascontiguousarray(chosen) if isinstance(chosen, np.ndarray) else chosen
    return np.take(X, columns, axis=1) if isinstance(X, np.ndarray) else X[:, columns]
