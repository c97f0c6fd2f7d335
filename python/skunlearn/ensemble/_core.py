"""The forest that rows make: the native trees, and what readers see of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import Forest

from skunlearn.class_codes import ClassCodes
from skunlearn.ensemble._levels import GrownTrees, categorical_mask, grown_trees, mean_share
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock
from skunlearn.utils._sklearn_compat import sum_of_trees

__all__ = ["ForestCore", "ForestState", "PublishedForest", "RowFreeForest", "estimate_forest_nbytes", "float32_rows"]


#: As scikit-learn marks a leaf.
_NO_CHILD, _NO_FEATURE = np.array([-1]), np.array([-2])


class PublishedForest(Protocol):
    """What readers see of a forest: one version of it."""

    classes_: np.ndarray | None

    def outputs(self, X: np.ndarray, n_threads: int) -> np.ndarray | None:
        """Return what all trees say of float32 rows, or None if the forest has another version by now.

        Class probabilities of shape (n_samples, n_classes), or means of shape (n_samples,).
        """

    # The caller of the others holds the model's lock.

    def trees(self) -> GrownTrees:
        """Return the trees that hold rows, in order, as scikit-learn has them."""

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Return the leaf that every float32 row reaches in every tree that holds rows, shape (n_samples, n_trees)."""

    def decision_path(self, X: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the nodes that float32 rows pass, all trees side by side, and where each tree begins."""

    def importances(self) -> np.ndarray:
        """Return the mean share of every feature in the impurity that a tree takes away, of shape (n_features,).

        Trees without a split are left out; where next to no weight leaves no number at all, it is 0.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ForestState:
    """A version of a live forest.

    Nodes that changes have left stale are split when a row to predict reaches them: that is no change of version.

    Parameters
    ----------
    forest : Forest
        The native forest.
    version : int
        Its count of changes; it answers for this one alone.
    classes_ : ndarray of shape (n_classes,) or None
        Labels, sorted; None in regression.
    class_slots : ndarray of shape (n_classes,), int32, or None
        Under which number the forest counts each class.
    categorical : list of bool or None
        Which features are categorical; None if none is.
    """

    forest: Forest
    version: int
    classes_: np.ndarray | None
    class_slots: np.ndarray | None
    categorical: list[bool] | None

    def outputs(self, X: np.ndarray, n_threads: int) -> np.ndarray | None:
        """Return what all trees say of float32 rows, or None if the forest has another version by now."""
        return self.forest.predict(X, self.version, self.class_slots, n_threads)

    def trees(self) -> GrownTrees:
        """Return the trees that hold rows, or one leaf of all rows where none does."""
        n_classes = None if self.classes_ is None else len(self.classes_)
        arrays = [self.forest.tree(t, self.class_slots) for t in range(self.forest.n_trees)]
        with_rows = [a for a in arrays if a["n_node_samples"][0]] or [self._leaf_of_all_rows()]
        return grown_trees(with_rows, self.forest.n_features, n_classes, self.categorical)

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Return the leaf that every float32 row reaches in every tree that holds rows."""
        return self.forest.apply(X)

    def decision_path(self, X: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the nodes that float32 rows pass, and where each tree begins."""
        starts, nodes, edges = self.forest.decision_path(X)
        ones = np.ones(len(nodes), dtype=np.intp)
        return sp.csr_matrix((ones, nodes, starts), shape=(len(X), edges[-1])), edges

    def importances(self) -> np.ndarray:
        """Return the mean share of every feature in the impurity that a tree takes away, in scikit-learn's steps."""
        if self.categorical is not None:  # a release adds up the shares of levels last
            return self.trees().importances()
        decreases = self.forest.impurity_decreases()
        with np.errstate(all="ignore"):
            shares = decreases[:, :-1] / decreases[:, -1:]
            for of_tree in shares:
                total = np.sum(of_tree)
                if total > 0.0:
                    of_tree /= total
        return mean_share(shares)

    def _leaf_of_all_rows(self) -> dict[str, np.ndarray]:
        """Return the tree that stands in where chance has put no row into any: few rows and few trees."""
        nowhere = np.zeros((1, self.forest.n_features), dtype=np.float32)
        outputs = self.outputs(nowhere, 1)
        assert outputs is not None
        value = outputs.reshape(1, -1)
        n_rows = np.array([self.forest.n_rows])
        return {
            "children_left": _NO_CHILD,
            "children_right": _NO_CHILD,
            "feature": _NO_FEATURE,
            "threshold": _NO_FEATURE.astype(np.float64),
            "impurity": np.zeros(1) if self.classes_ is None else 1.0 - (value**2).sum(axis=1),
            "n_node_samples": n_rows,
            "weighted_n_node_samples": n_rows.astype(np.float64),
            "missing_go_to_left": np.zeros(1, dtype=bool),
            "value": value,
        }


@dataclass(frozen=True, slots=True, eq=False)
class RowFreeForest:
    """The one version of a forest that keeps no rows.

    Parameters
    ----------
    classes_ : ndarray of shape (n_classes,) or None
        Labels, sorted; None in regression.
    grown : GrownTrees
        The trees.
    """

    classes_: np.ndarray | None
    grown: GrownTrees

    def outputs(self, X: np.ndarray, n_threads: int) -> np.ndarray:
        """Return what all trees say of float32 rows; more threads would not be faster."""
        outputs = sum_of_trees(self.grown.trees, self.grown.levels.columns(X)) / len(self.grown.trees)
        return outputs[:, 0] if self.classes_ is None else outputs

    def trees(self) -> GrownTrees:
        """Return the trees."""
        return self.grown

    def apply(self, X: np.ndarray) -> np.ndarray:
        """Return the leaf that every float32 row reaches in every tree."""
        columns = self.grown.levels.columns(X)
        return np.array([tree.apply(columns) for tree in self.grown.trees]).T

    def decision_path(self, X: np.ndarray) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the nodes that float32 rows pass, and where each tree begins."""
        columns = self.grown.levels.columns(X)
        paths = [tree.decision_path(columns) for tree in self.grown.trees]
        return sp.hstack(paths).tocsr(), np.cumsum([0, *(path.shape[1] for path in paths)])

    def importances(self) -> np.ndarray:
        """Return the mean share of every feature in the impurity that a tree with a split takes away."""
        return self.grown.importances()

    def __deepcopy__(self, memo: Any) -> "RowFreeForest":
        # Nothing of it changes. A copy of a table of nodes has what was in memory before between its fields.
        return self


class ForestCore(Core):
    """Trees that are a function of the live rows, the parameters and the key; the work is native.

    The native forest is made of all rows when somebody reads; from then on it follows them. Its trees grow where rows
    to predict reach them, or all at once in `grow`.

    Parameters
    ----------
    model_name : str
        Named in errors.
    native_params : dict
        Parameters of the native forest, but its key.
    class_weight : dict, str or None
        Factors of the weights of rows by class label; what is named is the native forest's.
    categorical_features : array-like or None
        A mask, indices or names.
    """

    def __init__(
        self,
        model_name: str,
        native_params: dict[str, Any],
        class_weight: dict[Any, float] | str | None,
        categorical_features: Any,
    ) -> None:
        self._model_name = model_name
        self._native_params = native_params
        self._class_weight = class_weight if isinstance(class_weight, dict) else None
        self._categorical_features = categorical_features
        self._forest: Forest | None = None
        self._codes = ClassCodes()

    @property
    def _is_classifier(self) -> bool:
        return bool(self._native_params["task"] == "classification")

    def check(self, incoming: IncomingRows) -> None:
        """Refuse weights that the factors of their classes make infinite."""
        largest = max((self._class_weight or {}).values(), default=1.0)
        if incoming.weight is not None and not np.isfinite(incoming.weight.max(initial=0.0) * largest):
            raise ValueError(
                "Sample weights times class weights are too large for float64. Nothing was changed. Divide all of one "
                "of them by their largest."
            )

    def _learn(self, block: RowBlock) -> None:
        if self._forest is not None:
            self._learn_into(self._forest, block)

    def _learn_into(self, forest: Forest, block: RowBlock) -> None:
        assert block.y is not None
        assert block.tags is not None
        with float32_rows(block.X, forest.n_features) as X:
            forest.learn(block.tags, X, np.ascontiguousarray(block.y[:, 0]), self._weights(block))

    def _forget(self, block: RowBlock) -> None:
        if self._forest is not None:
            assert block.tags is not None
            self._forest.forget(block.tags)

    def _rebuild(self, owner: Owner) -> None:
        self._forest = None

    def is_settled(self) -> bool:
        """Whether there is a forest of the rows; some of its nodes may be stale."""
        return self._forest is not None

    def _settle(self, owner: Owner) -> None:
        self._codes = owner.codes
        forest = Forest(**self._native_params, categorical=self._categorical(owner), key=owner.key._secret)
        for block in owner.effective_blocks():
            self._learn_into(forest, block)
        self._forest = forest

    def drain(self) -> None:
        """Take forgotten rows out of all trees, which keep their float32 values until they are read."""
        if self._forest is not None:
            self._forest.drain()

    def grow(self, n_threads: int) -> None:
        """Split all stale nodes; the core is settled."""
        assert self._forest is not None
        self._forest.flush(n_threads)

    def _weights(self, block: RowBlock) -> np.ndarray | None:
        """Return the weights of rows, times the factors of their classes."""
        if not self._class_weight or block.y is None:
            return block.weight
        codes, labels = self._codes.classes()
        factors = np.ones(len(self._codes))
        factors[codes] = [self._class_weight.get(label, 1.0) for label in labels.tolist()]
        of_rows = factors[block.y[:, 0].astype(np.intp)]
        if block.weight is None:
            return of_rows
        return np.maximum(of_rows * block.weight, np.finfo(np.float64).smallest_subnormal)

    def _categorical(self, owner: Owner) -> list[bool] | None:
        return categorical_mask(self._categorical_features, self._native_params["n_features"], owner.feature_names)

    def _classes(self, owner: Owner) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return the labels in order and their numbers in the forest; none in regression."""
        if not self._is_classifier:
            return None, None
        codes, labels = owner.codes.classes()
        labels.flags.writeable = False
        return labels, codes.astype(np.int32)

    def publish(self, owner: Owner) -> ForestState:
        """Return the forest as it is now."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to predict from. "
                "Call partial_fit or fit."
            )
        assert self._forest is not None
        labels, slots = self._classes(owner)
        return ForestState(self._forest, self._forest.version, labels, slots, self._categorical(owner))

    def without_rows(self, published: ForestState) -> RowFreeForest:
        """Let go of the rows, and with them of the native forest."""
        self._forest = None
        return RowFreeForest(published.classes_, published.trees())

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the trees in preorder, the classes in the order of their labels."""
        assert self._forest is not None
        return [self._forest.digest(self._classes(owner)[1])]

    def nbytes(self) -> int:
        """Return the size of the forest in bytes."""
        return 0 if self._forest is None else int(self._forest.nbytes)


@contextmanager
def float32_rows(X: Any, n_features: int) -> Iterator[np.ndarray]:
    """Give rows as a forest compares them: float32, zeros written out; a copy is wiped at the end."""
    if isinstance(X, np.ndarray) and X.dtype == np.float32 and X.flags.c_contiguous:
        yield X
        return
    if isinstance(X, CsrRows):
        dense = np.zeros((len(X.indptr) - 1, n_features), dtype=np.float32)
        dense[np.repeat(np.arange(len(dense)), np.diff(X.indptr)), X.indices] = X.data
    else:
        dense = np.array(X, dtype=np.float32, order="C")
    try:
        yield dense
    finally:
        dense.fill(0)


#: Sizes in bytes, measured: a tree without nodes, a node, a row in a tree, statistics without counts.
_TREE, _NODE, _MEMBER, _STATISTICS = 40_000, 64, 5, 64
#: Sizes in bytes of a row's head, its target and weight, and its place in the index; what the first two lie in.
_HEAD, _GIVEN, _INDEX, _CHUNK = 32, 16, 10, 1 << 20
#: Rows of a leaf of a tree that is grown out, and of a node that keeps statistics, on average over tables.
_ROWS_OF_LEAF, _ROWS_OF_STATISTICS = 3, 16


def estimate_forest_nbytes(native_params: dict[str, Any], n_rows: int, n_sums: int) -> int:
    """Say how many bytes a native forest of `n_rows` will take, its own copy of them included.

    How far trees grow depends on the targets, so this is right to about a half.
    """
    n_features, share = native_params["n_features"], native_params["share"]
    in_tree = n_rows * (share or (1 - np.exp(-1) if native_params["bootstrap"] else 1.0))
    depth = min(native_params["max_depth"] or 64, 64)
    n_leaves = min(in_tree / max(1.5 * native_params["min_samples_leaf"], _ROWS_OF_LEAF), 2.0**depth)
    n_counts = native_params["max_features"] * (native_params["n_thresholds"] + 1)
    statistics = _STATISTICS + n_counts * (8 + 8 * n_sums)
    of_tree = _TREE + 2 * n_leaves * _NODE + in_tree * _MEMBER
    of_tree += min(n_leaves, in_tree / _ROWS_OF_STATISTICS) * statistics
    of_rows = sum(-(-n_rows * width // _CHUNK) * _CHUNK for width in (_HEAD, _GIVEN, 4 * n_features))
    return int(native_params["n_estimators"] * of_tree) + of_rows + n_rows * _INDEX
