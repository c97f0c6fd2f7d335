"""What k-means derives from rows: the native engine that follows them, and the state that it publishes."""

import warnings
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import KMeans as Engine
from _unlearn_native._native import kmeans_predict, kmeans_transform
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array

from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore, as_native
from skunlearn.transforms import TransformMap
from skunlearn.utils._sklearn_compat import effective_n_threads

__all__ = [
    "KMeansCore",
    "KMeansState",
    "algorithm_in_force",
    "check_magnitudes",
    "coreset_size",
    "engine_nbytes",
    "n_runs",
]

#: Least number of rows for which "auto" takes a coreset, and how many times its size.
_CORESET_FROM_ROWS = 30_000
_CORESET_FROM_TIMES = 8
#: Iterations that an estimate of memory assumes; the longest runs seen on real tables had a hundred.
_ASSUMED_ITERATIONS = 30
#: Bytes of an iteration for each coordinate of a centre: the centre, its sum, and where it was, a few times over.
_ENTRY_BYTES = 72
#: Up to these a squared distance of any two rows is finite, and so is its product with the weight of any third.
_LARGEST_VALUE, _LARGEST_WEIGHT = 2.0**400, 2.0**200


Algorithm = Literal["lloyd", "coreset"]


def coreset_size(params: dict[str, Any], n_features: int) -> int:
    """Return how many rows a coreset is to have: a number that does not depend on the rows."""
    size = params["coreset_size"]
    return max(3000, 300 * params["n_clusters"], 6 * n_features) if size == "auto" else int(size)


def algorithm_in_force(params: dict[str, Any], n_rows: int, n_features: int) -> Algorithm:
    """Return the algorithm for a number of rows of a weight above 0."""
    algorithm = params["algorithm"]
    if algorithm == "auto" and not callable(params["init"]):
        threshold = max(_CORESET_FROM_ROWS, _CORESET_FROM_TIMES * coreset_size(params, n_features))
        return "coreset" if n_rows >= threshold else "lloyd"
    return "coreset" if algorithm == "coreset" else "lloyd"


def n_runs(params: dict[str, Any], algorithm: Algorithm) -> int:
    """Return how many runs compete."""
    init, n_init = params["init"], params["n_init"]
    if not isinstance(init, str) and not callable(init):
        return 1
    if n_init != "auto":
        return int(n_init)
    return 1 if init == "k-means++" and algorithm == "lloyd" else 10


def engine_nbytes(params: dict[str, Any], n_rows: int, n_features: int) -> int:
    """Estimate the size in bytes of an engine: labels and tiers of every row, and centres, in every iteration."""
    algorithm = algorithm_in_force(params, n_rows, n_features)
    n_competing, n_iter = n_runs(params, algorithm), min(params["max_iter"], _ASSUMED_ITERATIONS)
    entry = _ENTRY_BYTES * params["n_clusters"] * n_features
    if algorithm == "lloyd":
        return n_competing * (n_iter + 1) * (2 * n_rows + entry)
    members = coreset_size(params, n_features)
    return (params["full_passes"] + 1) * (2 * n_rows + entry) + n_competing * (n_iter + 1) * (2 * members + entry)


def check_magnitudes(X: Any, weight: np.ndarray | None, dtype: np.dtype) -> None:
    """Refuse rows whose squared distances, times the weight of any row, might not be finite."""
    values = X.data if isinstance(X, CsrRows) or sp.issparse(X) else X
    n_large = int(np.count_nonzero(np.abs(values) > _LARGEST_VALUE)) if dtype == np.float64 else 0
    if n_large:
        raise ValueError(
            f"{n_large} of {values.size} values of X are larger than 2**400: squares of distances would not "
            "be finite. Nothing was changed. Scale them."
        )
    n_heavy = 0 if weight is None else int(np.count_nonzero(weight > _LARGEST_WEIGHT))
    if weight is not None and n_heavy:
        raise ValueError(
            f"{n_heavy} of {len(weight)} weights are larger than 2**200: weighted squared distances would not be "
            "finite. Nothing was changed. Scale the weights."
        )


@dataclass(frozen=True, slots=True, eq=False)
class KMeansState(TransformMap):
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        As in the estimator.
    inertia_ : float
        As in the estimator.
    n_iter_ : int
        As in the estimator.
    algorithm_ : str
        As in the estimator.
    labels_ : ndarray of shape (n_rows,), int32, or None
        As in the estimator; None until somebody asks.
    """

    cluster_centers_: np.ndarray
    inertia_: float
    n_iter_: int
    algorithm_: str
    labels_: np.ndarray | None = None

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.cluster_centers_.shape[1]

    def apply(self, X: Any) -> np.ndarray:
        """Return the distances of rows that were checked to all centres."""
        distances = self.distances(X, effective_n_threads())
        return distances.astype(np.float32) if X.dtype == self.cluster_centers_.dtype == np.float32 else distances

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the centres."""
        return [self.cluster_centers_.dtype.str.encode(), self.cluster_centers_]

    def predict(self, X: Any, n_threads: int) -> np.ndarray:
        """Return the nearest centre of rows that were checked."""
        return kmeans_predict(*self._in_one_dtype(X), n_threads)

    def distances(self, X: Any, n_threads: int) -> np.ndarray:
        """Return the distances of rows that were checked to all centres, as float64."""
        return kmeans_transform(*self._in_one_dtype(X), n_threads)

    def _in_one_dtype(self, X: Any) -> tuple[Any, np.ndarray]:
        """Return rows and centres for the native kernels; float32 becomes float64 without loss beside float64."""
        centers = self.cluster_centers_
        values = X.data if isinstance(X, CsrRows) or sp.issparse(X) else X
        if values.dtype != centers.dtype:
            centers = centers.astype(np.float64)
            X = X._replace(data=X.data.astype(np.float64)) if isinstance(X, CsrRows) else X.astype(np.float64)
        return as_native(X) if not isinstance(X, np.ndarray) else np.ascontiguousarray(X), centers


class KMeansCore(Core):
    """The engine that mirrors the slots of a row store; it is built when somebody reads, and then kept up to date.

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
        self._model_name = model_name
        self._params = params
        self._n_features: int = rows.native.n_features
        self._dtype = np.dtype(rows.native.dtype)
        self._n_clusters: int = params["n_clusters"]
        self._init = self._checked_init(params["init"])
        if callable(self._init) and params["algorithm"] == "coreset":
            raise ValueError(
                "init is a function, which sees all rows, and algorithm='coreset' starts from a sample. Nothing was "
                "changed. Use algorithm='lloyd', or another init."
            )
        self._rows: RowStore | None = None
        self._engine: Any = None
        self._algorithm = ""  # of the engine

    def _checked_init(self, init: Any) -> Any:
        """Return centres as float64, after rounding to the dtype of the rows; the other kinds of init as they are."""
        if isinstance(init, str) or callable(init):
            return init
        centers = check_array(init, dtype=self._dtype, order="C")
        self._check_shape(centers)
        return centers.astype(np.float64)

    def _check_shape(self, centers: np.ndarray) -> None:
        if centers.shape != (self._n_clusters, self._n_features):
            raise ValueError(
                f"init gives centers of shape {centers.shape}, and {self._n_clusters} clusters of {self._n_features} "
                "features are asked for. Nothing was changed. Give one center a cluster."
            )

    # --- rows that come and go ---------------------------------------------------------------------------------------

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows whose squared distances, times the weight of any row, might not be finite."""
        check_magnitudes(incoming.X, incoming.weight, self._dtype)

    def _learn(self, block: RowBlock) -> None:
        if self._engine is None:
            return
        if self._algorithm_for(self._engine.n_rows + len(block)) != self._algorithm or callable(self._init):
            self._engine = None
        else:
            assert self._rows is not None
            self._engine.learn(self._rows.native, int(block.slots[0]), effective_n_threads())

    def _forget(self, block: RowBlock) -> None:
        if self._engine is None:
            return
        n_left = self._engine.n_rows - (len(block) if block.weight is None else int(np.count_nonzero(block.weight)))
        if self._algorithm_for(n_left) != self._algorithm or callable(self._init):
            self._engine = None
        else:
            assert self._rows is not None
            X = tuple(block.X) if isinstance(block.X, CsrRows) else block.X
            self._engine.forget(self._rows.native, block.slots, X, block.weight, block.tags, effective_n_threads())

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return how far the last deletion went; "rebuild" where the next read fits anew."""
        if self._engine is None:
            return "rebuild", {}
        report = dict(self._engine.report())
        return report.pop("path"), report

    def _rebuild(self, owner: Owner) -> None:
        for block in owner.rows.blocks():  # they may come from a file
            check_magnitudes(block.X, block.weight, self._dtype)
        self._rows, self._engine = None, None

    def is_settled(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    def _settle(self, owner: Owner) -> None:
        engine = self._fitted_from_function(owner) if callable(self._init) else self._fitted(owner, self._init)
        self._rows, self._engine, self._algorithm = owner.rows, engine, self._algorithm_for(owner.n_effective)

    # --- fits --------------------------------------------------------------------------------------------------------

    def _algorithm_for(self, n_rows: int) -> Algorithm:
        return algorithm_in_force(self._params, n_rows, self._n_features)

    def _fitted(self, owner: Owner, init: Any) -> Any:
        """Return an engine over the rows of `owner`."""
        algorithm = self._algorithm_for(owner.n_effective)
        engine = Engine(
            n_clusters=self._n_clusters,
            init=init,
            n_init=1 if isinstance(init, np.ndarray) else n_runs(self._params, algorithm),
            max_iter=self._params["max_iter"],
            tol=float(self._params["tol"]),
            algorithm=algorithm,
            coreset_size=coreset_size(self._params, self._n_features),
            full_passes=self._params["full_passes"],
            key=owner.key._secret,
        )
        engine.rebuild(owner.rows.native, effective_n_threads())
        return engine

    def _fitted_from_function(self, owner: Owner) -> Any:
        """Return the best of several engines that start where a function says; of equal ones the first."""
        if owner.n_effective < self._n_clusters:  # there are no centres, so the function is not asked
            return self._fitted(owner, np.zeros((self._n_clusters, self._n_features)))
        starts = (self._start_from_function(owner, restart) for restart in range(n_runs(self._params, "lloyd")))
        return min((self._fitted(owner, start) for start in starts), key=lambda run: run.state()["inertia"])

    def _start_from_function(self, owner: Owner, restart: int) -> np.ndarray:
        """Return the centres that the function says for all rows in the order of their tags."""
        slots = np.concatenate([block.slots for block in owner.effective_blocks()])
        tags = owner.rows.native.tags(slots)
        block = owner.rows.take(slots[np.lexsort((tags[:, 0], tags[:, 1]))])
        X = block.X
        if isinstance(X, CsrRows):
            X = sp.csr_matrix((X.data, X.indices, X.indptr), shape=(len(block), self._n_features))
        words = np.frombuffer(owner.key.derive("kmeans init", restart)._secret, dtype="<u4")
        try:
            centers = self._init(X, self._n_clusters, random_state=np.random.RandomState(words))
            centers = centers.toarray() if sp.issparse(centers) else centers
            centers = check_array(centers, dtype=self._dtype, order="C", copy=True)  # it may be a view of the rows
        finally:
            block.wipe()
        self._check_shape(centers)
        return centers.astype(np.float64)

    # --- reading -----------------------------------------------------------------------------------------------------

    def publish(self, owner: Owner) -> KMeansState:
        """Return centres, inertia and the number of iterations."""
        n_missing = self._n_clusters - owner.n_effective
        if n_missing > 0:
            raise DegenerateRowsError(
                f"This {self._model_name} holds n_samples={owner.n_effective} of a weight above 0, {n_missing} fewer "
                f"than n_clusters={self._n_clusters}. Learn more rows with partial_fit, or fit with fewer clusters."
            )
        state = self._engine.state()
        centers = state["centers"]
        centers.flags.writeable = False
        return KMeansState(centers, float(state["inertia"]), int(state["n_iter"]), self._algorithm)

    def with_labels(self, state: KMeansState) -> KMeansState:
        """Return the state of this version with the labels of its rows."""
        assert self._rows is not None
        labels = self._engine.labels(self._rows.native)
        labels.flags.writeable = False
        return replace(state, labels_=labels)

    def warn_after_fit(self, owner: Owner) -> None:
        """Warn if runs were asked for that a given start leaves no room for, or if clusters have no row."""
        n_init = self._params["n_init"]
        if isinstance(self._init, np.ndarray) and n_init not in ("auto", 1):
            warnings.warn(
                f"init gives the centers to start from, so one run is made instead of n_init={n_init}.",
                RuntimeWarning,
                stacklevel=4,
            )
        n_found = self._engine.state()["n_found"]
        if n_found < self._n_clusters:
            warnings.warn(
                f"{n_found} of {self._n_clusters} clusters have rows: there may be too few distinct ones.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the run: what every iteration summed, and where it ended."""
        return [self._engine.digest(owner.rows.native)]

    def nbytes(self) -> int:
        """Return the size of the engine in bytes."""
        return 0 if self._engine is None else int(self._engine.nbytes)

    def without_rows(self, published: KMeansState) -> KMeansState:
        """Read the labels, and let go of store and engine."""
        state = published if published.labels_ is not None else self.with_labels(published)
        self._rows = self._engine = None
        return state
