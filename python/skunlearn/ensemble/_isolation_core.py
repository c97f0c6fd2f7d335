"""The trees of an isolation forest: the first rows of each by a keyed priority."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _unlearn_native._native import Forest, exp2, ln

from skunlearn.ensemble._core import ForestCore, float32_rows
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import IncomingRows, Owner
from skunlearn.rows import RowBlock
from skunlearn.utils._sklearn_compat import Tree, make_tree

__all__ = ["GrownIsolation", "IsolationCore", "IsolationState", "RowFreeIsolation", "average_path_length"]


def average_path_length(n_rows: np.ndarray) -> np.ndarray:
    """Return the average depth of a row in a tree of so many, equation 1 of Liu, Ting and Zhou (2008)."""
    many = np.maximum(n_rows, 3).astype(np.float64)
    of_many = 2.0 * (ln(many - 1.0) + np.euler_gamma) - 2.0 * (many - 1.0) / many
    return np.where(n_rows <= 2, np.where(n_rows == 2, 1.0, 0.0), of_many)


def scores_of(path_lengths: np.ndarray, n_trees: int, n_rows: int) -> np.ndarray:
    """Return minus 2 to the minus mean length, in units of the average one of the rows of a tree."""
    unit = n_trees * float(average_path_length(np.array([n_rows]))[0])
    return -exp2(-(path_lengths / unit) if unit else -np.ones(len(path_lengths)))


class GrownIsolation:
    """Trees of scikit-learn's, and what it reads off them.

    Parameters
    ----------
    trees : list of sklearn.tree._tree.Tree
        Over the features of each.
    features : list of ndarray of int64
        Those features.
    """

    def __init__(self, trees: list[Tree], features: list[np.ndarray]) -> None:
        self.trees = trees
        self.features = features
        self.depths = [tree.compute_node_depths() for tree in trees]
        self.rests = [average_path_length(tree.n_node_samples) for tree in trees]

    def path_lengths(self, X: np.ndarray) -> np.ndarray:
        """Return path lengths of float32 rows, summed over trees."""
        total = np.zeros(len(X))
        for tree, features, depths, rests in zip(self.trees, self.features, self.depths, self.rests, strict=True):
            leaves = tree.apply(np.ascontiguousarray(X[:, features]))
            total += depths[leaves] + rests[leaves] - 1.0
        return total


class IsolationState:
    """A version of a live isolation forest.

    Parameters
    ----------
    forest : Forest
        The native forest.
    n_rows : int
        Rows of a tree.
    contamination : float or None
        Share of rows that are to be outliers; None: those whose score is below -0.5.
    blocks : callable
        Passes over the rows of this version, as long as it is the present one.
    """

    def __init__(
        self,
        forest: Forest,
        n_rows: int,
        contamination: float | None,
        blocks: Callable[[], Iterator[RowBlock]],
    ) -> None:
        self.forest = forest
        self.version = forest.version
        self.n_rows = n_rows
        self._contamination = contamination
        self._blocks = blocks
        self._offset: float | None = None

    def scores(self, X: np.ndarray, n_threads: int) -> np.ndarray | None:
        """Return scores of float32 rows, or None if the forest has another version by now."""
        lengths = self.forest.path_lengths(X, self.version, n_threads)
        return None if lengths is None else scores_of(lengths, self.forest.n_trees, self.n_rows)

    def offset(self, n_threads: int) -> float:
        """Return the score that outliers are below, found at the first reading; the caller holds the model's lock."""
        if self._offset is None:
            self._offset = -0.5 if self._contamination is None else self._percentile(n_threads)
        return self._offset

    def _percentile(self, n_threads: int) -> float:
        scores = []
        for block in self._blocks():
            with float32_rows(block.X, self.forest.n_features) as X:
                of_block = self.scores(X, n_threads)
                assert of_block is not None
                scores.append(of_block)
        assert self._contamination is not None
        # In order of their size: how NumPy finds a percentile does not matter then.
        return float(np.percentile(np.sort(np.concatenate(scores)), 100.0 * self._contamination))

    def grown(self) -> GrownIsolation:
        """Return the trees; targets are drawn from tags, so values and impurities are left out."""
        trees, subsets = [], self.forest.features_of_trees().astype(np.int64)
        for t, features in enumerate(subsets):
            arrays = self.forest.tree(t)
            is_split = arrays["feature"] >= 0
            arrays["feature"][is_split] = np.searchsorted(features, arrays["feature"][is_split])
            arrays["value"], arrays["impurity"] = np.zeros_like(arrays["value"]), np.zeros_like(arrays["impurity"])
            trees.append(make_tree(arrays, len(features), None))
        return GrownIsolation(trees, list(subsets))


class RowFreeIsolation:
    """The one version of an isolation forest that keeps no rows.

    Parameters
    ----------
    grown : GrownIsolation
        The trees.
    n_rows : int
        Rows of a tree.
    offset : float
        The score that outliers are below.
    """

    def __init__(self, grown: GrownIsolation, n_rows: int, offset: float) -> None:
        self._grown = grown
        self.n_rows = n_rows
        self._offset = offset

    def scores(self, X: np.ndarray, n_threads: int) -> np.ndarray:
        """Return scores of float32 rows; more threads would not be faster."""
        return scores_of(self._grown.path_lengths(X), len(self._grown.trees), self.n_rows)

    def offset(self, n_threads: int) -> float:
        """Return the score that outliers are below."""
        return self._offset

    def grown(self) -> GrownIsolation:
        """Return the trees."""
        return self._grown

    def __deepcopy__(self, memo: Any) -> "RowFreeIsolation":
        # Nothing of it changes, as in `RowFreeForest`.
        return self


class IsolationCore(ForestCore):
    """Trees that part rows at random, under thresholds that stay where they are while rows go.

    Parameters
    ----------
    model_name : str
        Named in errors.
    native_params : dict
        Parameters of the native forest, but its key and its depth.
    rows_of_tree : int
        Most rows of a tree.
    contamination : float or None
        Share of rows that are to be outliers.
    """

    def __init__(
        self, model_name: str, native_params: dict[str, Any], rows_of_tree: int, contamination: float | None
    ) -> None:
        super().__init__(model_name, native_params, None, None)
        self._rows_of_tree = rows_of_tree
        self._contamination = contamination

    def check(self, incoming: IncomingRows) -> None:
        """Accept all weights: what is above 0 counts as a row."""

    def _learn_into(self, forest: Forest, block: RowBlock) -> None:
        assert block.tags is not None
        # Targets decide where missing values go, as scikit-learn draws them. From 1/2 to 1 they keep their fixed point.
        targets = 0.5 + np.ldexp((block.tags[:, 0] >> np.uint64(12)).astype(np.float64), -53)
        with float32_rows(block.X, forest.n_features) as X:
            forest.learn(block.tags, X, targets, None)

    def _learn(self, block: RowBlock) -> None:
        super()._learn(block)
        self._start_over_if_depth_changed()

    def _forget(self, block: RowBlock) -> None:
        super()._forget(block)
        self._start_over_if_depth_changed()

    def _start_over_if_depth_changed(self) -> None:
        """Few rows make shallow trees: their depth changes as their number passes a power of two."""
        if self._forest is not None and self._depth(self._forest.n_rows) != self._native_params["max_depth"]:
            self._forest = None

    def _depth(self, n_rows: int) -> int:
        """Return the depth at which trees of so many rows in all end: the logarithm of the rows of a tree."""
        return (max(min(self._rows_of_tree, n_rows), 2) - 1).bit_length()

    def _settle(self, owner: Owner) -> None:
        self._native_params["max_depth"] = self._depth(owner.n_effective)
        super()._settle(owner)

    def publish(self, owner: Owner) -> Any:
        """Return the forest as it is now."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"This {self._model_name} has no row of a weight above 0 left, so there is nothing to score by. Call "
                "partial_fit or fit."
            )
        assert self._forest is not None
        n_rows = min(self._rows_of_tree, owner.n_effective)
        return IsolationState(self._forest, n_rows, self._contamination, owner.effective_blocks)

    def without_rows(self, published: Any) -> Any:
        """Let go of the rows, and with them of the native forest."""
        self._forest = None
        return RowFreeIsolation(published.grown(), published.n_rows, published.offset(1))

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the trees in preorder."""
        assert self._forest is not None
        return [self._forest.digest()]
