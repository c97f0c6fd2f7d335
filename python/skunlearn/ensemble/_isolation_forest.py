"""An isolation forest that forgets exactly."""

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import sklearn.ensemble
import sklearn.tree
from joblib import effective_n_jobs
from sklearn.base import OutlierMixin

from skunlearn.ensemble._core import estimate_forest_nbytes, float32_rows
from skunlearn.ensemble._forest import KeyedTrees, check_stored_values, dense_rows
from skunlearn.ensemble._isolation_core import IsolationCore
from skunlearn.rows import RowStore
from skunlearn.utils._sklearn_compat import Interval, RealNotInt, StrOptions, fit_context

__all__ = ["IsolationForest"]

#: Rows of a tree under ``max_samples="auto"``.
_AUTO = 256


class IsolationForest(OutlierMixin, KeyedTrees):
    """An isolation forest that forgets rows exactly.

    After `partial_forget` the forest equals, bit for bit, one fitted with the same key on the rows that are left. Of
    100,000 rows one is in a quarter of a tree, on average, so most deletions change nothing but the rows.

    Parameters
    ----------
    n_estimators : int, default=100
        Number of trees.
    max_samples : "auto" or int, default="auto"
        Rows of each tree, 256 under "auto"; all, where there are fewer. A share (float) is refused, as it is another
        number after every deletion.
    contamination : "auto" or float, default="auto"
        Share of the rows that are outliers; under "auto", those with a score below -0.5.
    max_features : int or float, default=1.0
        Features of each tree: a number, or a share of all.
    bootstrap : bool, default=False
        Must be False: a draw with replacement would be another one after every deletion.
    n_jobs : int, default=None
        Threads. No result depends on it.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the model's key; see `skunlearn.Key`. None draws it from the operating system.
    verbose : int, default=0
        Without effect.
    warm_start : bool, default=False
        Whether `fit` keeps the key of the last fit: the same rows then make the same trees, and a larger `n_estimators`
        adds to them.

    Attributes
    ----------
    offset_ : float
        Rows with a score below it are outliers: -0.5, or a percentile of the scores of the model's rows; found when it
        is read, which takes a pass over them.
    max_samples_ : int
        Rows of each tree.
    estimators_ : list of sklearn trees
        The trees, without values; made when read.
    estimators_features_ : list of ndarray
        Features of each tree.
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
    ExtraTreesRegressor : The same thresholds, chosen by how well they part targets.
    sklearn.ensemble.IsolationForest : The estimator that `release` returns.

    Notes
    -----
    Each tree holds the rows that come first in an order of its own, which the key draws: a row that is forgotten lets
    the next one in. A node splits a feature that the key chooses at a threshold that is uniform between its ends and
    stays as long as it lies there. Leaves are at the depth log2(`max_samples_`), rounded up, or hold equal rows [1]_.
    The score is the equation 2 there: minus 2 to the minus mean path length in units of the average one.

    A weight above 0 counts as a row. The model keeps its rows; `release` does not. Scores of a release are the model's
    up to the last bit of its power function. Values are compared as float32, as in scikit-learn; missing ones (NaN) go
    to a side that the key draws.

    References
    ----------
    .. [1] F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest", ICDM 2008.

    Examples
    --------
    >>> from skunlearn.ensemble import IsolationForest
    >>> X = [[-1.1], [0.3], [0.5], [90.0], [100.0]]
    >>> model = IsolationForest(random_state=0).fit(X)
    >>> model.partial_forget([3]).predict([[0.1], [0.0], [90.0]])
    array([ 1,  1, -1])
    """

    _splitter = "uniform"
    _parameter_constraints = {
        "n_estimators": [Interval(Integral, 1, None, closed="left")],
        "max_samples": [
            StrOptions({"auto"}),
            Interval(Integral, 1, None, closed="left"),
            Interval(RealNotInt, 0, 1, closed="right"),
        ],
        "contamination": [StrOptions({"auto"}), Interval(Real, 0, 0.5, closed="right")],
        "max_features": [Integral, Interval(Real, 0, 1, closed="right")],
        "bootstrap": ["boolean"],
        "n_jobs": [Integral, None],
        "random_state": "no_validation",
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        *,
        n_estimators: int = 100,
        max_samples: Any = "auto",
        contamination: Any = "auto",
        max_features: Any = 1.0,
        bootstrap: bool = False,
        n_jobs: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
        warm_start: bool = False,
    ) -> None:
        self.n_estimators = n_estimators
        self.max_samples = max_samples
        self.contamination = contamination
        self.max_features = max_features
        self.bootstrap = bootstrap
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose
        self.warm_start = warm_start

    # --- learning ----------------------------------------------------------------------------------------------------

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> IsolationCore:
        _check_offered(params)
        check_stored_values(rows)
        contamination = params["contamination"]
        return IsolationCore(
            type(self).__name__,
            _native_parameters(params, rows.native.n_features),
            _rows_of_tree(params),
            None if contamination == "auto" else float(contamination),
        )

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y = "y" in options
        checked = super()._check_X(estimator, X, reset=options["reset"])
        return (checked, None) if has_y else checked

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
        """Fit to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows. NaN stands for a missing value, unless X is sparse. Values are compared as float32.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored and enters nothing; all others count alike.
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
            If the input or a parameter is not acceptable; a model fitted earlier is then unchanged.
        """
        self._fit_rows(X, None, sample_weight, sample_ids, subject_ids, forgettable=forgettable)
        return self.flush()

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
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

    # --- reading -----------------------------------------------------------------------------------------------------

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the score of every row: the lower, the more of an outlier.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        scores : ndarray of shape (n_samples,)
            Between -1 and 0. A row alone gives the bits that it gives in bulk.
        """
        return self._scores(X)[1]

    def decision_function(self, X: Any) -> np.ndarray:
        """Return by how much the score of every row is above `offset_`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            Below 0 for outliers.
        """
        live = self._require_live()
        while True:
            state, scores = self._scores(X)
            with live.lock:  # no writer may come between a version and its offset
                if not live.forgettable or live.publish() is state:
                    decision: np.ndarray = scores - state.offset(effective_n_jobs(self.n_jobs))
                    return decision

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for every outlier, and 1 for the other rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        is_inlier : ndarray of shape (n_samples,)
            Integers.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def fit_predict(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> np.ndarray:
        """Fit to rows and return which of them are outliers.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : None
            Ignored.
        sample_weight, sample_ids, subject_ids : array-like of shape (n_samples,), default=None
            As in `fit`.

        Returns
        -------
        is_inlier : ndarray of shape (n_samples,)
            -1 for outliers, 1 for the others.
        """
        return self.fit(X, None, sample_weight, sample_ids=sample_ids, subject_ids=subject_ids).predict(X)

    def _scores(self, X: Any) -> tuple[Any, np.ndarray]:
        """Return one version of the forest and its scores of rows."""
        n_threads = effective_n_jobs(self.n_jobs)
        with float32_rows(dense_rows(self._check_X(self, X, reset=False)), self.n_features_in_) as rows:
            while True:
                state = self._published()
                scores = state.scores(rows, n_threads)
                if scores is not None:
                    return state, scores

    @property
    def offset_(self) -> float:
        """The score that outliers are below."""
        live = self._require_live()
        with live.lock:
            offset: float = live.publish().offset(effective_n_jobs(self.n_jobs))
        return offset

    @property
    def max_samples_(self) -> int:
        """Rows of each tree."""
        n_rows: int = self._published().n_rows
        return n_rows

    @property
    def estimators_(self) -> list[Any]:
        """The trees, as scikit-learn's own."""
        trees: list[Any] = self.release().estimators_
        return trees

    @property
    def estimators_features_(self) -> list[np.ndarray]:
        """Features of each tree."""
        features: list[np.ndarray] = self.release().estimators_features_
        return features

    # --- releasing ---------------------------------------------------------------------------------------------------

    def _native_twin(self, state: Any, params: dict[str, Any]) -> Any:
        twin = sklearn.ensemble.IsolationForest(**params)
        grown = state.grown()
        twin.estimator_ = sklearn.tree.ExtraTreeRegressor(max_features=1)
        twin.estimators_features_ = [features.copy() for features in grown.features]
        twin.estimators_ = [_native_tree(tree) for tree in grown.trees]
        twin.offset_ = state.offset(effective_n_jobs(self.n_jobs))
        twin.max_samples_ = twin._max_samples = state.n_rows
        twin._max_features = len(grown.features[0])
        twin._decision_path_lengths, twin._average_path_length_per_tree = tuple(grown.depths), tuple(grown.rests)
        return twin

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_rows, n_features = X.shape
        params = self.get_params(deep=False)
        native = _native_parameters(params, n_features) | {
            "max_depth": None,
            "share": min(1.0, _rows_of_tree(params) / max(n_rows, 1)),
        }
        return estimate_forest_nbytes(native, n_rows, 2)


def _check_offered(params: dict[str, Any]) -> None:
    """Refuse what no forest that forgets exactly can offer, before anything changes."""
    if params["bootstrap"]:
        raise ValueError(
            "IsolationForest does not offer bootstrap=True. Nothing was changed. A draw with replacement would be "
            "another one after every deletion; use False."
        )
    if not isinstance(params["max_samples"], (str, Integral)):
        raise ValueError(
            f"IsolationForest does not offer max_samples={params['max_samples']}. Nothing was changed. A share of the "
            "rows is another number after every deletion; pass an integer."
        )


def _rows_of_tree(params: dict[str, Any]) -> int:
    max_samples = params["max_samples"]
    return min(int(max_samples), 2**32 - 1) if isinstance(max_samples, Integral) else _AUTO


def _native_parameters(params: dict[str, Any], n_features: int) -> dict[str, Any]:
    """Return the parameters of the native forest, but its key and its depth."""
    max_features = params["max_features"]
    of_tree = int(max_features) if isinstance(max_features, Integral) else max(1, int(max_features * n_features))
    if not 0 < of_tree <= n_features:
        raise ValueError(
            f"max_features={max_features} must be from 1 to the number of features, {n_features}. Nothing was changed."
        )
    return {
        "task": "regression",
        "splitter": "uniform",
        "criterion": "squared_error",
        "n_estimators": int(params["n_estimators"]),
        "min_samples_split": 2,
        "min_samples_leaf": 1,
        "max_features": 1,
        "n_thresholds": 1,
        "bootstrap": False,
        "share": None,
        "n_features": n_features,
        "rows_of_tree": _rows_of_tree(params),
        "features_of_tree": of_tree,
    }


def _native_tree(tree: Any) -> Any:
    estimator = sklearn.tree.ExtraTreeRegressor(max_features=1)
    estimator.tree_ = tree
    estimator.n_features_in_, estimator.n_outputs_, estimator.max_features_ = tree.n_features, 1, 1
    return estimator
