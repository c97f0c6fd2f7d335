"""The core of DBSCAN: an engine over the row store, and the state that it publishes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import DBSCAN as Engine

from skunlearn.exceptions import DegenerateRowsError
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.utils._sklearn_compat import effective_n_threads

__all__ = ["DBSCANCore", "DBSCANState", "engine_nbytes", "native_metric"]

#: Metrics by the names that scikit-learn has for them.
_METRICS = {
    "euclidean": "euclidean",
    "l2": "euclidean",
    "manhattan": "manhattan",
    "l1": "manhattan",
    "cityblock": "manhattan",
    "chebyshev": "chebyshev",
}
#: Minkowski metrics that are exact: powers and roots other than these are not the same on every machine.
_MINKOWSKI: dict[float, str] = {1: "manhattan", 2: "euclidean"}
#: Bytes of a row in an engine: crowd, cell, component, the places in both, and a share of the cells.
_ROW_BYTES = 60
#: Up to these the square of the distance of any two rows is finite.
_LARGEST_VALUE = 2.0**400


def native_metric(metric: Any, p: float | None) -> str:
    """Return the engine's name of a metric; refuse those that cannot be exact, and say why."""
    if metric == "minkowski" and (2 if p is None else p) in _MINKOWSKI:
        return _MINKOWSKI[2 if p is None else p]
    if isinstance(metric, str) and metric in _METRICS:
        return _METRICS[metric]
    if metric == "precomputed":
        why = "a row of distances holds one to every other row, so that forgetting a row would change all others"
    elif callable(metric):
        why = "a function need not give the same for the same rows"
    else:
        why = "its rounding differs between machines, and with it which rows are near"
    raise ValueError(
        f"This metric cannot be forgotten under exactly: {why}. Nothing was changed. Use 'euclidean', 'manhattan', "
        "'chebyshev', or 'minkowski' with p=1 or 2."
    )


def engine_nbytes(n_rows: int) -> int:
    """Estimate the size in bytes of an engine."""
    return _ROW_BYTES * n_rows


@dataclass(frozen=True, slots=True, eq=False)
class DBSCANState:
    """The published state of one version; its arrays are read-only.

    Parameters
    ----------
    core_sample_indices_ : ndarray of shape (n_cores,), int64
        As in the estimator.
    labels_ : ndarray of shape (n_rows,), int64
        As in the estimator.
    components_ : ndarray or sparse array of shape (n_cores, n_features), or None
        As in the estimator; None until somebody asks.
    """

    core_sample_indices_: np.ndarray
    labels_: np.ndarray
    components_: Any = None


#: Widest row that is written out.
_MOST_FEATURES = 2**20


class DBSCANCore(Core):
    """The engine that mirrors the slots of a row store; it is built when somebody reads, and then kept up to date.

    Parameters
    ----------
    model_name : str
        Named in errors.
    params : dict
        The frozen parameters.
    n_features : int
        Columns of the rows.
    """

    reads_store = True

    def __init__(self, model_name: str, params: dict[str, Any], n_features: int) -> None:
        if n_features > _MOST_FEATURES:
            raise ValueError(
                f"X has {n_features} columns, and {model_name} takes {_MOST_FEATURES} at most: it writes a sparse row "
                "out to measure distances. Nothing was changed. Reduce or hash the columns."
            )
        self._model_name = model_name
        self._metric = native_metric(params["metric"], params["p"])
        self._eps = float(params["eps"])
        self._min_samples = int(params["min_samples"])
        self._rows: RowStore | None = None
        self._engine: Any = None

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows whose squared distances might not be finite."""
        self._check_finite(incoming.X)

    def _check_finite(self, X: Any) -> None:
        values = X.data if isinstance(X, CsrRows) or sp.issparse(X) else X
        n_large = int(np.count_nonzero(np.abs(values) > _LARGEST_VALUE)) if values.dtype == np.float64 else 0
        if n_large:
            raise ValueError(
                f"{n_large} of {values.size} values of X are larger than 2**400: squares of distances would not "
                "be finite. Nothing was changed. Scale them."
            )

    def _learn(self, block: RowBlock) -> None:
        if self._engine is not None:
            assert self._rows is not None
            self._engine.learn(self._rows.native, int(block.slots[0]), effective_n_threads())

    def _forget(self, block: RowBlock) -> None:
        if self._engine is None:
            return
        assert self._rows is not None
        X = _dense(block.X, self._rows.native.n_features)
        try:
            self._engine.forget(self._rows.native, block.slots, X, block.weight, effective_n_threads())
        finally:
            if X is not block.X:
                X.fill(0)

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return what the last deletion took; "rebuild" where the next read fits anew."""
        return ("rebuild", {}) if self._engine is None else ("update", self._engine.report())

    def _rebuild(self, owner: Owner) -> None:
        for block in owner.rows.blocks():  # they may come from a file
            self._check_finite(block.X)
        self._rows, self._engine = None, None

    def is_settled(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    def _settle(self, owner: Owner) -> None:
        engine = Engine(eps=self._eps, min_samples=self._min_samples, metric=self._metric)
        engine.rebuild(owner.rows.native, effective_n_threads())
        self._rows, self._engine = owner.rows, engine

    def publish(self, owner: Owner) -> DBSCANState:
        """Return labels, and which rows are core."""
        if owner.n_effective == 0:
            raise DegenerateRowsError(
                f"Every row of a weight above 0 of this {self._model_name} was forgotten, so there is nothing to "
                "cluster. Call partial_fit or fit."
            )
        native = owner.rows.native
        state = DBSCANState(self._engine.cores(native), self._engine.labels(native, effective_n_threads()))
        state.core_sample_indices_.flags.writeable = state.labels_.flags.writeable = False
        return state

    def with_components(self, state: DBSCANState) -> DBSCANState:
        """Return the state of this version with copies of the rows that are core."""
        assert self._rows is not None
        native, cores = self._rows.native, state.core_sample_indices_
        if len(cores) == 0:
            return replace(state, components_=np.empty((0, native.n_features)))
        X = self._rows.take(native.order("insertion")[cores]).X
        if isinstance(X, CsrRows):
            return replace(
                state, components_=sp.csr_array((X.data, X.indices, X.indptr), shape=(len(cores), native.n_features))
            )
        X.flags.writeable = False
        return replace(state, components_=X)

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return crowds, and which cores hang together; the numbers of clusters follow insertion, and stay outside."""
        return [self._engine.digest(owner.rows.native)]

    def nbytes(self) -> int:
        """Return the size of the engine in bytes."""
        return 0 if self._engine is None else int(self._engine.nbytes)

    def without_rows(self, published: DBSCANState) -> DBSCANState:
        """Read the components, and let go of store and engine."""
        state = published if published.components_ is not None else self.with_components(published)
        self._rows = self._engine = None
        return state


def _dense(X: Any, n_features: int) -> np.ndarray:
    """Return rows as a matrix of float64."""
    if isinstance(X, CsrRows):
        return (
            sp.csr_array((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, n_features))
            .toarray()
            .astype(np.float64, copy=False)
        )
    return np.ascontiguousarray(X, dtype=np.float64)
