"""Bisecting k-means that forgets exactly."""

from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.cluster

from skunlearn.base import fitted_attribute
from skunlearn.cluster._bisecting_core import BisectingCore, BisectingState, Split
from skunlearn.cluster._centers import CentersMixin
from skunlearn.cluster._kmeans_core import engine_nbytes
from skunlearn.rows import RowStore, estimate_rows_nbytes
from skunlearn.utils._sklearn_compat import BisectingTree, Interval, StrOptions, effective_n_threads, fit_context

__all__ = ["BisectingKMeans"]

#: Ways from the root on which an estimate of memory takes every row to lie.
_ASSUMED_DEPTH = 3


class BisectingKMeans(CentersMixin):
    """Bisecting k-means clustering that forgets rows exactly.

    Beginning with all rows, one cluster after the other is split by k-means with two centres, until there are enough. A
    deletion is pushed through the runs on the way of the row, and splits are made anew only where their order, or the
    rows that they are about, have become others. Afterwards the model equals, bit for bit, one fitted on the rows that
    are left.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    init : {"k-means++", "random"}, default="random"
        Where the runs of a split start. A callable is refused by `fit`: it would see all rows of a cluster.
    n_init : int, default=1
        Number of runs of each split, of which the best is kept.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the key from which rows are drawn. An int is public: for ids that no adversary chooses.
    max_iter : int, default=300
        Largest number of iterations of a run.
    verbose : int, default=0
        Without effect.
    tol : float, default=1e-4
        Tolerance of the squared change of the centres at which a run has converged, relative to the mean variance of
        the columns of the cluster that is split. (scikit-learn's is absolute here, whatever its documentation says.)
    copy_x : bool, default=True
        Without effect: X is never changed.
    algorithm : {"lloyd", "elkan"}, default="lloyd"
        Without effect: there is one way to compute the same.
    bisecting_strategy : {"biggest_inertia", "largest_cluster"}, default="biggest_inertia"
        Which cluster is split next: the one of the largest inertia, or of the most rows. Of equal ones the first from
        the left; one with fewer than two rows of a weight above 0 is never split.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the dtype of X.
    labels_ : ndarray of shape (n_live_,), int32
        Cluster of each row that the model holds, in the order in which they were learned. It is what `predict` says of
        the row.
    inertia_ : float
        Sum of the weighted squared distances of the rows to the centres of their clusters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    sklearn.cluster.BisectingKMeans : The estimator that `release` returns.
    skunlearn.cluster.KMeans : What is run for each split; its notes on keys and weights hold here, too.

    Notes
    -----
    The algorithm is that of [1]_. A split is that of `KMeans` with ``n_clusters=2`` and ``algorithm="lloyd"`` under a
    key of its own, which depends on the way from the root to the cluster. The model keeps its rows, and of every
    cluster that was split, but the first, another copy of its rows.

    References
    ----------
    .. [1] M. Steinbach, G. Karypis, V. Kumar, "A comparison of document clustering techniques", KDD Workshop on Text
       Mining, 2000.

    Examples
    --------
    >>> from skunlearn.cluster import BisectingKMeans
    >>> X = [[0.0], [2.0], [9.0], [11.0], [100.0]]
    >>> model = BisectingKMeans(2, random_state=0).fit(X, sample_ids=["a", "b", "c", "d", "e"])
    >>> sorted(model.partial_forget(["e"]).cluster_centers_.ravel().tolist())
    [1.0, 10.0]
    """

    _parameter_constraints: dict[str, Any] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "random"}), callable],
        "n_init": [Interval(Integral, 1, None, closed="left")],
        "random_state": "no_validation",
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "verbose": ["verbose"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"lloyd", "elkan"})],
        "bisecting_strategy": [StrOptions({"biggest_inertia", "largest_cluster"})],
    }

    _tags_rows = True

    cluster_centers_ = fitted_attribute()
    labels_ = fitted_attribute()
    inertia_ = fitted_attribute()

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "random",
        n_init: int = 1,
        random_state: Any = None,
        max_iter: int = 300,
        verbose: int = 0,
        tol: float = 1e-4,
        copy_x: bool = True,
        algorithm: str = "lloyd",
        bisecting_strategy: str = "biggest_inertia",
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.random_state = random_state
        self.max_iter = max_iter
        self.verbose = verbose
        self.tol = tol
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.bisecting_strategy = bisecting_strategy

    @fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Cluster rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : Ignored
            There for the interface.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored, gets a label, and enters nothing.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the model can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If the input is not acceptable; a model fitted earlier is then unchanged.
        DegenerateRowsError
            If there are fewer rows of a weight above 0 than clusters; it is a ValueError, too.
        """
        return self._fit_rows(X, None, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    def predict(self, X: Any) -> np.ndarray:
        """Return the cluster of each row: at every split the part with the nearer centre.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Number of the cluster. A row alone gives what it gives in bulk, dense or sparse.
        """
        state = self._published()
        labels: np.ndarray = state.predict(self._check_X(self, X, reset=False), effective_n_threads())
        return labels

    def _cost_of_forgetting(self) -> str:
        return "of every split on the way of the row, as KMeans, and a look at its rows; a fit where splits are others"

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> BisectingCore:
        return BisectingCore(type(self).__name__, params, rows)

    def _native_twin(self, state: BisectingState, params: dict[str, Any]) -> Any:
        twin = sklearn.cluster.BisectingKMeans(**deepcopy(params))
        twin.cluster_centers_ = state.cluster_centers_.copy()
        twin.labels_, twin.inertia_ = state.labels_.copy(), state.inertia_
        twin._bisecting_tree = _native_tree(state.tree, twin.cluster_centers_, None)
        twin._n_features_out, twin._n_threads = len(state.cluster_centers_), 1
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        run = {"init": "random", "algorithm": "lloyd", "n_clusters": 2, "n_init": self.n_init}
        runs = engine_nbytes({**run, "max_iter": self.max_iter}, *X.shape)
        copies: int = estimate_rows_nbytes(X, self._stored_dtype(X), 0)
        return _ASSUMED_DEPTH * runs + (_ASSUMED_DEPTH - 1) * copies


def _native_tree(split: Split | int, centers: np.ndarray, center: Any) -> BisectingTree:
    """Return scikit-learn's tree of these splits; its nodes hold no rows."""
    tree = BisectingTree(center=centers[split] if isinstance(split, int) else center, indices=None, score=0)
    if isinstance(split, int):
        tree.label = split
        return tree
    halves = split.halves.cluster_centers_
    tree.left = _native_tree(split.left, centers, halves[0].copy())
    tree.right = _native_tree(split.right, centers, halves[1].copy())
    return tree
