"""The core of bisecting k-means: an engine for every cluster that was split, each over the rows of that cluster.

A split is a k-means run with two clusters, under a key of its own that depends on the way from the root alone. So a
deletion is pushed through the runs on the way of the row; rows whose side changes move from one subtree to the other,
and where the order of the splits changes, the ones that are new are fitted. The whole is a function of the rows: what
is kept of earlier splits only spares their fits.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from _unlearn_native._native import KMeans as Engine

from skunlearn.cluster._kmeans_core import KMeansState, check_magnitudes
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.key import Key
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.utils._sklearn_compat import effective_n_threads

__all__ = ["BisectingCore", "BisectingState", "Split"]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A cluster that was split.

    Parameters
    ----------
    halves : KMeansState
        The centres of its two parts.
    left, right : Split or int
        What the parts are: clusters that were split, or numbers of clusters.
    """

    halves: KMeansState
    left: "Split | int"
    right: "Split | int"

    def predict(self, X: Any, n_threads: int) -> np.ndarray:
        """Return the cluster of rows that were checked."""
        is_right = self.halves.predict(X, n_threads).astype(bool)
        labels = np.empty(X.shape[0], dtype=np.int32)
        for side, mask in ((self.left, ~is_right), (self.right, is_right)):
            if mask.any():
                labels[mask] = side if isinstance(side, int) else side.predict(X[mask], n_threads)
        return labels


@dataclass(frozen=True, slots=True, eq=False)
class BisectingState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        As in the estimator.
    labels_ : ndarray of shape (n_rows,), int32
        As in the estimator.
    inertia_ : float
        As in the estimator.
    tree : Split or int
        The splits; 0 for a single cluster.
    """

    cluster_centers_: np.ndarray
    labels_: np.ndarray
    inertia_: float
    tree: Split | int

    def predict(self, X: Any, n_threads: int) -> np.ndarray:
        """Return the cluster of rows that were checked."""
        return np.zeros(X.shape[0], dtype=np.int32) if isinstance(self.tree, int) else self.tree.predict(X, n_threads)

    def distances(self, X: Any, n_threads: int) -> np.ndarray:
        """Return the distances of rows that were checked to all centres, as float64."""
        return KMeansState(self.cluster_centers_, 0.0, 0, "lloyd").distances(X, n_threads)


class _Cluster:
    """A run with two centres over the rows of a cluster, and the rows: all of them for the root, else copies.

    Parameters
    ----------
    rows : RowStore
        The rows.
    engine : Engine
        The run; it does not know them yet.
    owns_rows : bool
        Whether the rows are copies.
    """

    def __init__(self, rows: RowStore, engine: Engine, *, owns_rows: bool) -> None:
        self.rows, self.engine, self._owns_rows = rows, engine, owns_rows
        self._read: tuple[KMeansState, np.ndarray, list[float], list[int]] | None = None
        engine.rebuild(rows.native, effective_n_threads())

    def changed(self) -> None:
        """Forget what was read of the run."""
        self._read = None

    def forget(self, tags: np.ndarray) -> bool:
        """Forget copies of rows, and return whether there were any."""
        slots = np.flatnonzero(np.isin(_words(self.rows), tags[:, 0])).astype(np.uint32)
        if len(slots):
            block = self.rows.take(slots, with_tags=True)
            self.rows.erase(slots)
            X: Any = tuple(block.X) if isinstance(block.X, CsrRows) else block.X
            assert block.tags is not None
            self.engine.forget(self.rows.native, slots, X, block.weight, block.tags, effective_n_threads())
            block.wipe()
            self.changed()
        return len(slots) > 0

    def hold(self, owner: RowStore, slots: np.ndarray) -> None:
        """Hold these rows of the owner and no others."""
        if not self._owns_rows:
            return
        words = _words(owner)[slots]
        self.forget(self.rows.native.tags(np.flatnonzero(~np.isin(_words(self.rows), words)).astype(np.uint32)))
        coming = slots[~np.isin(words, _words(self.rows))]
        if len(coming):
            block = owner.take(coming, with_ids=True)
            first = len(self.rows)
            self.rows.insert(block.ids, block.X, None, block.weight, None)
            self.engine.learn(self.rows.native, first, effective_n_threads())
            block.wipe()
            self.changed()

    def read(self) -> tuple[KMeansState, np.ndarray, list[float], list[int]]:
        """Return the centres; the side of every row, by slot; and of both sides inertia and number of rows."""
        if self._read is None:
            centers = self.engine.state()["centers"]
            centers.flags.writeable = False
            halves = KMeansState(centers, 0.0, 0, "lloyd")
            sides = np.empty(len(self.rows), dtype=np.int32)
            terms: list[list[float]] = [[], []]
            for block in self.rows.blocks():
                distances = halves.distances(block.X, effective_n_threads())
                of_block = halves.predict(block.X, effective_n_threads())
                weight = np.ones(len(block)) if block.weight is None else block.weight
                nearest = distances[np.arange(len(block)), of_block]
                for side in range(distances.shape[1]):
                    counted = (of_block == side) & (weight > 0)
                    terms[side] += (weight[counted] * nearest[counted] * nearest[counted]).tolist()
                sides[block.slots] = of_block
            self._read = halves, sides, [math.fsum(t) for t in terms], [len(t) for t in terms]
        return self._read

    def sides_of(self, owner: RowStore, slots: np.ndarray) -> np.ndarray:
        """Return the side of rows of the owner."""
        sides = self.read()[1]
        if not self._owns_rows:
            return sides
        ours, theirs = np.argsort(_words(self.rows)), np.argsort(_words(owner)[slots])
        ordered = np.empty_like(sides)
        ordered[theirs] = sides[ours]
        return ordered

    def nbytes(self) -> int:
        """Return the size in bytes of the run, and of copies of rows."""
        return int(self.engine.nbytes) + (int(self.rows.native.nbytes) if self._owns_rows else 0)


@dataclass(slots=True, eq=False)
class _Leaf:
    """A cluster that was not split, or not yet: its way from the root, its rows, and what it is judged by."""

    path: str
    slots: np.ndarray
    center: np.ndarray | None = None
    inertia: float = 0.0
    n_rows: int = 0
    score: float = 0.0
    split: KMeansState | None = None
    parts: tuple["_Leaf", "_Leaf"] | None = None

    def leaves(self) -> "list[_Leaf]":
        """Return the leaves below, from left to right."""
        return [self] if self.parts is None else [*self.parts[0].leaves(), *self.parts[1].leaves()]


class BisectingCore(Core):
    """The runs on the way to the clusters; they are brought up to date when somebody reads.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    rows : RowStore
        A store with the schema of the rows to come.
    """

    reads_store = True

    def __init__(self, model_name: str, params: dict[str, Any], rows: RowStore) -> None:
        if callable(params["init"]):
            raise ValueError(
                "init is a function of all rows of a cluster, so that every deletion would be a refit. Nothing was "
                "changed. Use init='random' or init='k-means++'."
            )
        self._model_name = model_name
        self._params = params
        self._dtype = np.dtype(rows.native.dtype)
        self._clusters: dict[str, _Cluster] = {}
        self._tree: _Leaf | None = None
        self._is_followed = False

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows whose squared distances, times the weight of any row, might not be finite."""
        check_magnitudes(incoming.X, incoming.weight, self._dtype)

    def _learn(self, block: RowBlock) -> None:
        self._tree = None
        root = self._clusters.get("")
        if root is not None:
            root.engine.learn(root.rows.native, int(block.slots[0]), effective_n_threads())
            root.changed()

    def _forget(self, block: RowBlock) -> None:
        self._tree, root = None, self._clusters.get("")
        self._is_followed = root is not None
        if root is None:
            return
        X: Any = tuple(block.X) if isinstance(block.X, CsrRows) else block.X
        assert block.tags is not None
        root.engine.forget(root.rows.native, block.slots, X, block.weight, block.tags, effective_n_threads())
        root.changed()
        for path, cluster in self._clusters.items():
            if path:
                cluster.forget(block.tags)

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return how far the last deletion went; "rebuild" where the next read fits anew."""
        return ("propagate", {"splits_kept": len(self._clusters)}) if self._is_followed else ("rebuild", {})

    def _rebuild(self, owner: Owner) -> None:
        for block in owner.rows.blocks():  # they may come from a file
            check_magnitudes(block.X, block.weight, self._dtype)
        self._clusters, self._tree, self._is_followed = {}, None, False

    def is_settled(self) -> bool:
        """Whether the splits are those of the rows."""
        return self._tree is not None

    def _settle(self, owner: Owner) -> None:
        words = np.sort(_words(owner.rows))
        if (words[1:] == words[:-1]).any():  # halves of tags tell rows apart here, and these do not
            self._clusters = {}
        self._tree = self._planned(owner)

    def _planned(self, owner: Owner) -> _Leaf:
        """Split clusters until there are enough, and drop what is kept of splits that are not among these."""
        root = _Leaf("", np.arange(len(owner.rows), dtype=np.uint32), n_rows=owner.n_effective)
        n_clusters, used = self._params["n_clusters"], set()
        if owner.n_effective >= n_clusters:
            for _ in range(max(n_clusters - 1, 1)):
                leaf = max((leaf for leaf in root.leaves() if leaf.n_rows > 1 or n_clusters == 1), key=_score)
                self._split(owner, leaf)
                used.add(leaf.path)
        for path in self._clusters.keys() - used:
            _wipe(self._clusters.pop(path))
        return root

    def _split(self, owner: Owner, leaf: _Leaf) -> None:
        cluster = self._clusters.get(leaf.path)
        if cluster is None:
            cluster = self._clusters[leaf.path] = self._new_cluster(owner, leaf)
        else:
            cluster.hold(owner.rows, leaf.slots)
        halves, _, inertias, counts = cluster.read()
        if self._params["n_clusters"] == 1:
            leaf.center, leaf.inertia = halves.cluster_centers_[0], inertias[0]
            return
        sides = cluster.sides_of(owner.rows, leaf.slots)
        by_size = self._params["bisecting_strategy"] == "largest_cluster"
        left, right = (
            _Leaf(
                path=f"{leaf.path}{side}",
                slots=leaf.slots[sides == side],
                center=halves.cluster_centers_[side],
                inertia=inertias[side],
                n_rows=counts[side],
                score=counts[side] if by_size else inertias[side],
            )
            for side in (0, 1)
        )
        leaf.split, leaf.parts = halves, (left, right)

    def _new_cluster(self, owner: Owner, leaf: _Leaf) -> _Cluster:
        engine = Engine(
            n_clusters=min(self._params["n_clusters"], 2),
            init=self._params["init"],
            n_init=self._params["n_init"],
            max_iter=self._params["max_iter"],
            tol=float(self._params["tol"]),
            algorithm="lloyd",
            coreset_size=None,
            full_passes=1,
            key=_key_of(owner.key, leaf.path)._secret,
        )
        if not leaf.path:
            return _Cluster(owner.rows, engine, owns_rows=False)
        native = owner.rows.native
        rows = RowStore(
            id_kind=owner.rows.id_kind,
            subject_kind=None,
            layout=native.layout,
            dtype=native.dtype,
            n_features=native.n_features,
            n_targets=0,
            tag_key=owner.key,
            model_name=self._model_name,
        )
        block = owner.rows.take(leaf.slots, with_ids=True)
        rows.insert(block.ids, block.X, None, block.weight, None)
        block.wipe()
        return _Cluster(rows, engine, owns_rows=True)

    def publish(self, owner: Owner) -> BisectingState:
        """Return centres, labels, inertia and the splits."""
        n_missing = self._params["n_clusters"] - owner.n_effective
        if n_missing > 0:
            raise DegenerateRowsError(
                f"This {self._model_name} holds n_samples={owner.n_effective} of a weight above 0, {n_missing} fewer "
                f"than n_clusters={self._params['n_clusters']}. Learn more rows with partial_fit, or fit with fewer "
                "clusters."
            )
        assert self._tree is not None
        leaves = self._tree.leaves()
        by_slot = np.empty(len(owner.rows), dtype=np.int32)
        for number, leaf in enumerate(leaves):
            by_slot[leaf.slots] = number
        labels = by_slot[owner.rows.native.order("insertion")]
        centers = np.array([leaf.center for leaf in leaves], dtype=self._dtype)
        labels.flags.writeable = centers.flags.writeable = False
        inertia = math.fsum(leaf.inertia for leaf in leaves)
        return BisectingState(centers, labels, inertia, _published(self._tree, iter(range(len(leaves)))))

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the runs with their ways from the root, in the order of these."""
        parts: list[bytes] = []
        for path, cluster in sorted(self._clusters.items()):
            parts += [path.encode(), cluster.engine.digest(cluster.rows.native)]
        return parts

    def nbytes(self) -> int:
        """Return the size of the runs and of the copies of rows in bytes."""
        return sum(cluster.nbytes() for cluster in self._clusters.values())

    def without_rows(self, published: BisectingState) -> BisectingState:
        """Let go of the rows."""
        for cluster in self._clusters.values():
            _wipe(cluster)
        self._clusters, self._tree = {}, None
        return published


def _score(leaf: _Leaf) -> float:
    return leaf.score


def _words(rows: RowStore) -> np.ndarray:
    """Return the low half of the tag of every row."""
    return rows.native.tags(np.arange(len(rows), dtype=np.uint32))[:, 0]


def _key_of(key: Key, path: str) -> Key:
    """Return the key of a split: that of its parent, derived for its side."""
    for side in path:
        key = key.derive("bisecting", int(side))
    return key


def _published(leaf: _Leaf, numbers: Any) -> Split | int:
    """Return the splits below a cluster; clusters take their numbers from left to right."""
    if leaf.parts is None or leaf.split is None:
        return int(next(numbers))
    left = _published(leaf.parts[0], numbers)
    return Split(leaf.split, left, _published(leaf.parts[1], numbers))


def _wipe(cluster: _Cluster) -> None:
    """Erase copies of rows: what they occupied is zero afterwards."""
    if cluster._owns_rows:
        cluster.rows.erase(np.arange(len(cluster.rows), dtype=np.uint32))
