"""k-means that forgets exactly."""

from copy import deepcopy
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.cluster

from skunlearn.base import fitted_attribute
from skunlearn.cluster._centers import CentersMixin
from skunlearn.cluster._kmeans_core import KMeansCore, KMeansState, engine_nbytes
from skunlearn.guarantee import Guarantee
from skunlearn.rows import RowStore
from skunlearn.transforms import ForgettingTransformerMixin
from skunlearn.utils._sklearn_compat import (
    Interval,
    StrOptions,
    effective_n_threads,
    fit_context,
)

__all__ = ["KMeans"]


class _Labels(fitted_attribute):
    """Labels of the rows, read when they are asked for: they take time proportional to the number of rows."""

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        return self if model is None else _with_labels(model).labels_


class KMeans(ForgettingTransformerMixin, CentersMixin):
    """k-means clustering that forgets rows exactly.

    Every iteration of the run is kept as exact integer sums, and a deletion is pushed through all of them; only rows
    that the moving centres might change the label of are looked at again. Afterwards the model equals, bit for bit, one
    fitted on the rows that are left.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters, and of centres.
    init : {"k-means++", "random"}, callable or array-like of shape (n_clusters, n_features), default="k-means++"
        Where a run starts: at rows drawn by greedy k-means++, at random rows, at the centres that a function
        ``init(X, n_clusters, random_state=...)`` returns, or at these. A function sees all rows of a weight above 0 in
        an order that depends on key and ids alone, and each change of the rows calls it, and fits, anew.
    n_init : "auto" or int, default="auto"
        Number of runs, of which the best is the model. "auto" is 1 for "k-means++" and an array, else 10; with
        ``algorithm="coreset"`` it is 10, and 1 for an array. Each run is kept: memory and time multiply.
    max_iter : int, default=300
        Largest number of iterations of a run.
    tol : float, default=1e-4
        Relative tolerance of the change of the centres at which a run has converged: relative to the mean variance of
        the columns, for the squared change.
    verbose : int, default=0
        Without effect.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the key from which rows are drawn. An int is public: for ids that no adversary chooses.
    copy_x : bool, default=True
        Without effect: X is never changed.
    algorithm : {"auto", "lloyd", "elkan", "coreset"}, default="auto"
        "lloyd" runs on all rows; "elkan" is the same, here as there. "coreset" runs on a sample of rows, whose best
        centres then make `full_passes` iterations over all rows. "auto" takes "coreset" from 30,000 live rows on, and
        from eight times as many as the sample has; where forgetting or learning passes this threshold the model is
        rebuilt. `algorithm_` says which one is in force.
    coreset_size : "auto" or int, default="auto"
        Expected number of rows in the sample; "auto" is the largest of 3000, 300 for each cluster and 6 for each
        feature.
    full_passes : int, default=2
        Iterations over all rows that follow those on the sample.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the dtype of X.
    labels_ : ndarray of shape (n_live_,), int32
        Label of each row that the model holds, in the order in which they were learned; computed when it is read. It is
        what `predict` says of the row.
    inertia_ : float
        Sum of the weighted squared distances of the rows to their centres, to the rounding of rows to 40 bits below the
        largest value of their column.
    n_iter_ : int
        Number of iterations of the run; with a coreset, of those over all rows.
    algorithm_ : {"lloyd", "coreset"}
        The algorithm in force.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did. Its `path` is "propagate" where the deletion went through the stored
        iterations over all rows, "coreset" where also through those over the sample, "reseed" where a run starts at
        other rows now, "rebuild" where all is derived anew, and "sums" where too few rows are left for centres.

    See Also
    --------
    sklearn.cluster.KMeans : The estimator that `release` returns.

    Notes
    -----
    A run is Lloyd's algorithm [1]_ under scikit-learn's stopping rules; `unlearn_native/src/kmeans.rs` defines every
    bit of it. The candidates of greedy k-means++ [2]_ are drawn without replacement, and scikit-learn's with: the law
    of the first of them is the same. The coreset is that of [3]_, with rows that enter independently. Where several
    runs are equally good to a thousandth, the first is taken, and not the best.

    Against a requester who chooses rows after seeing the model, equality with a refit under the same key is not
    equality with fresh randomness: which rows were drawn can be found by trying. `reseed` answers that, at the price of
    a fit.

    With fewer rows of a weight above 0 than clusters, the model keeps its rows and has no centres until `partial_fit`
    brings enough. Weight k is not k copies: each row is drawn under its own id. The model keeps its rows; `release`
    does not.

    References
    ----------
    .. [1] S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982.
    .. [2] D. Arthur, S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    .. [3] O. Bachem, M. Lucic, A. Krause, "Scalable k-means clustering via lightweight coresets", KDD 2018.

    Examples
    --------
    >>> from skunlearn.cluster import KMeans
    >>> X = [[0.0], [2.0], [9.0], [11.0], [100.0]]
    >>> model = KMeans(n_clusters=2, init=[[1.0], [10.0]]).fit(X, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.partial_forget(["e"]).cluster_centers_
    array([[ 1.],
           [10.]])
    """

    _parameter_constraints: dict[str, Any] = {
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "init": [StrOptions({"k-means++", "random"}), callable, "array-like"],
        "n_init": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "random_state": "no_validation",
        "copy_x": ["boolean"],
        "algorithm": [StrOptions({"auto", "lloyd", "elkan", "coreset"})],
        "coreset_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "full_passes": [Interval(Integral, 1, None, closed="left")],
    }

    _tags_rows = True

    cluster_centers_ = fitted_attribute()
    labels_ = _Labels()
    inertia_ = fitted_attribute()
    n_iter_ = fitted_attribute()
    algorithm_ = fitted_attribute()

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        copy_x: bool = True,
        algorithm: str = "auto",
        coreset_size: Any = "auto",
        full_passes: int = 2,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.copy_x = copy_x
        self.algorithm = algorithm
        self.coreset_size = coreset_size
        self.full_passes = full_passes

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

        Warns
        -----
        ConvergenceWarning
            If some clusters have no row, as where rows repeat.
        RuntimeWarning
            If `init` is an array and `n_init` asks for more than one run.
        """
        return self._fit_rows(X, None, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    def predict(self, X: Any) -> np.ndarray:
        """Return the nearest centre of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            Index of the nearest centre, and of equally near ones the first. A row alone gives what it gives in bulk,
            dense or sparse.
        """
        state = self._published()
        labels: np.ndarray = state.predict(self._check_X(self, X, reset=False), effective_n_threads())
        return labels

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot."""
        guarantee = super().guarantee_
        if not callable(self._require_live().params["init"]):
            return guarantee
        return replace(guarantee, basis=f"{guarantee.basis}; provided that init returns the same for the same rows")

    def _cost_of_forgetting(self) -> str:
        if callable(self._require_live().params["init"]):
            return "a refit: init is a function of all rows"
        return "centres x iterations, and a look at rows whose label may change; a refit where a run starts elsewhere"

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> KMeansCore:
        return KMeansCore(type(self).__name__, params, rows)

    def _native_twin(self, state: KMeansState, params: dict[str, Any]) -> Any:
        shared = {name: params[name] for name in params if name not in ("algorithm", "coreset_size", "full_passes")}
        twin = sklearn.cluster.KMeans(**deepcopy(shared))
        twin.cluster_centers_ = state.cluster_centers_.copy()
        twin.labels_ = np.array(_with_labels(self).labels_)
        twin.inertia_, twin.n_iter_ = state.inertia_, state.n_iter_
        twin._n_features_out, twin._n_threads = len(state.cluster_centers_), 1
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return engine_nbytes(self.get_params(deep=False), *X.shape)


def _with_labels(model: KMeans) -> KMeansState:
    """Return the published state with labels; they are read from the rows once a version."""
    live = model._require_live()
    with live.lock:
        state: KMeansState = live.publish()
        if state.labels_ is None:
            state = live.published = live.core.with_labels(state)  # type: ignore[attr-defined]
        return state
