"""DBSCAN that forgets exactly."""

from copy import deepcopy
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.cluster
from sklearn.base import ClusterMixin

from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.cluster._dbscan_core import DBSCANCore, DBSCANState, engine_nbytes
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, StrOptions, fit_context, validate_data

__all__ = ["DBSCAN"]

#: Larger than any store; the sums of weights are exact up to here.
_MOST_SAMPLES = 2**30


class _Components(fitted_attribute):
    """Copies of the rows that are core, made when they are asked for."""

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        return self if model is None else _with_components(model).components_


class DBSCAN(ClusterMixin, ForgetMixin):
    """Density-based clustering that forgets rows exactly.

    A row with enough rows near it is *core*; cores that are near each other are of one cluster, and the rows near them
    are its border. For every row the weight near it is kept, as an exact integer, and to which cluster it belongs as a
    core. A deletion is a look around the rows that go, and where a cluster might fall apart, a search that spreads from
    the gap until its ends have met. Afterwards the model equals, bit for bit, one fitted on the rows that are left.

    Parameters
    ----------
    eps : float, default=0.5
        Largest distance of two rows that are near each other.
    min_samples : int, default=5
        Least weight of the rows near a core, its own included.
    metric : str, default="euclidean"
        "euclidean" ("l2"), "manhattan" ("l1", "cityblock"), "chebyshev", or "minkowski" with 1 or 2 for `p`.
        Others are refused by `fit`, with the reason.
    metric_params : dict, default=None
        Nothing: no metric has parameters but `p`.
    algorithm : {"auto", "ball_tree", "kd_tree", "brute"}, default="auto"
        Without effect: rows are looked for in the cells of a grid over three columns.
    leaf_size : int, default=30
        Without effect.
    p : float, default=None
        Power of the metric "minkowski": 1 or 2; None stands for 2.
    n_jobs : int, default=None
        Without effect: `fit` uses the threads that OpenMP may use.

    Attributes
    ----------
    core_sample_indices_ : ndarray of shape (n_cores,), int64
        Positions of the cores among the rows that the model holds, in the order in which they were learned.
    components_ : ndarray or sparse array of shape (n_cores, n_features)
        Copies of the cores.
    labels_ : ndarray of shape (n_live_,), int64
        Cluster of each row that the model holds, in the order in which they were learned; -1 for noise.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did: around how many rows it looked, how many ceased to be core, and how many
        clusters it split off.

    See Also
    --------
    sklearn.cluster.DBSCAN : The estimator that `release` returns.

    Notes
    -----
    The algorithm is that of [1]_, and its incremental form, for single rows, that of [2]_. Clusters are numbered by the
    first of their cores that was learned, and a row near the cores of several belongs to the one of the smallest
    number: scikit-learn's labels, for rows in this order. Which rows are near whom, the weight near each row, and which
    cores hang together do not depend on that order, and are what `state_digest` covers.

    Distances are sums over features in their order, and for the Euclidean metric squares are compared with
    ``eps * eps``, as scikit-learn's k-d tree does; where scikit-learn computes distances by matrix products (sparse
    rows, ``algorithm="brute"``), rows at `eps` to a rounding may be judged otherwise there.

    Weights count up to `min_samples`, rounded down to multiples of 2**-64, and their sums are exact; scikit-learn's are
    rounded. A row of weight 0 is never core, also with many rows near it; it gets the label of a border row. Negative
    weights are refused.

    The model keeps its rows. `components_` is made of rows that are live, so a release holds copies of them, as
    scikit-learn's estimator does.

    References
    ----------
    .. [1] M. Ester, H.-P. Kriegel, J. Sander, X. Xu, "A density-based algorithm for discovering clusters in large
       spatial databases with noise", KDD 1996.
    .. [2] M. Ester, H.-P. Kriegel, J. Sander, M. Wimmer, X. Xu, "Incremental clustering for mining in a data
       warehousing environment", VLDB 1998.

    Examples
    --------
    >>> from skunlearn.cluster import DBSCAN
    >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0]]
    >>> model = DBSCAN(eps=1, min_samples=2).fit(X, sample_ids=["a", "b", "c", "d", "e"])
    >>> model.labels_
    array([0, 0, 0, 0, 0])
    >>> model.partial_forget(["c"]).labels_
    array([0, 0, 1, 1])
    """

    _parameter_constraints: dict[str, Any] = {
        "eps": [Interval(Real, 0.0, None, closed="neither")],
        "min_samples": [Interval(Integral, 1, _MOST_SAMPLES, closed="both")],
        "metric": [str, callable],
        "metric_params": [dict, None],
        "algorithm": [StrOptions({"auto", "ball_tree", "kd_tree", "brute"})],
        "leaf_size": [Interval(Integral, 1, None, closed="left")],
        "p": [Interval(Real, 0.0, None, closed="left"), None],
        "n_jobs": [Integral, None],
    }

    core_sample_indices_ = fitted_attribute()
    components_ = _Components()
    labels_ = fitted_attribute()

    def __init__(
        self,
        eps: float = 0.5,
        *,
        min_samples: int = 5,
        metric: Any = "euclidean",
        metric_params: dict[str, Any] | None = None,
        algorithm: str = "auto",
        leaf_size: int = 30,
        p: float | None = None,
        n_jobs: int | None = None,
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.metric = metric
        self.metric_params = metric_params
        self.algorithm = algorithm
        self.leaf_size = leaf_size
        self.p = p
        self.n_jobs = n_jobs

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
            Weights, at least 0. A row of weight 0 is stored, gets a label, and is near nobody.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the model can neither forget nor learn, and holds no row but `components_`.

        Returns
        -------
        self : object
            The fitted model.

        Raises
        ------
        ValueError
            If the input is not acceptable, or the metric cannot be exact; a model fitted earlier is then unchanged.
        """
        return self._fit_rows(X, None, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`. The model is then that of all rows, as if fitted at once.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : Ignored
            There for the interface.
        sample_weight : float or array-like of shape (n_samples,), default=None
            Weights, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the model is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The model is unchanged.
        MissingSampleIdsError
            If the model is fitted and there are no `sample_ids`. The model is unchanged.
        """
        return self._learn_rows(X, None, sample_weight, sample_ids, subject_ids)

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> np.ndarray:
        """Cluster rows and return their labels.

        Parameters
        ----------
        X, y, sample_weight, sample_ids, subject_ids
            As in `fit`.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int64
            Cluster of each row; -1 for noise.
        """
        fitted = self.fit(X, None, sample_weight, sample_ids=sample_ids, subject_ids=subject_ids)
        labels: np.ndarray = fitted.labels_
        return labels

    def _cost_of_forgetting(self) -> str:
        return "the rows near those that go; where a cluster might fall apart, a search from there until its ends meet"

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        checked = validate_data(
            estimator, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=options["reset"]
        )
        return (checked, None) if "y" in options else checked

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> DBSCANCore:
        return DBSCANCore(type(self).__name__, params, rows.native.n_features)

    def _native_twin(self, state: DBSCANState, params: dict[str, Any]) -> Any:
        twin = sklearn.cluster.DBSCAN(**deepcopy(params))
        twin.core_sample_indices_ = state.core_sample_indices_.copy()
        twin.components_ = _with_components(self).components_.copy()
        twin.labels_ = state.labels_.copy()
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return engine_nbytes(X.shape[0])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _with_components(model: DBSCAN) -> DBSCANState:
    """Return the published state with the components; they are copied from the rows once a version."""
    live = model._require_live()
    with live.lock:
        state: DBSCANState = live.publish()
        if state.components_ is None:
            state = live.published = live.core.with_components(state)  # type: ignore[attr-defined]
        return state
