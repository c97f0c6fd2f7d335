"""Estimators that forget by training again the shards that lost a row (SISA)."""

import weakref
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import get_tags

from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.class_codes import best_columns
from skunlearn.guarantee import Guarantee
from skunlearn.rows import RowStore
from skunlearn.sharded._core import ShardedCore, SISAState, shards_of
from skunlearn.sharded._ensemble import (
    ShardEnsembleClassifier,
    ShardEnsembleRegressor,
    as_shards_take,
    mean_prediction,
    mean_probabilities,
)
from skunlearn.utils._sklearn_compat import HasMethods, Interval, StrOptions, fit_context, validate_data

__all__ = ["RetrainingCost", "SISAClassifier", "SISARegressor"]


@dataclass(frozen=True, slots=True)
class RetrainingCost:
    """What forgetting some rows would make a sharded model do.

    Parameters
    ----------
    n_shards : int
        Shards to be trained again.
    n_rows : int
        Rows in them that stay.
    fraction_of_fit : float
        Those rows over all that stay.
    """

    n_shards: int
    n_rows: int
    fraction_of_fit: float


class _SISA(ForgetMixin):
    """A sharded model: what does not depend on the kind of targets."""

    _tags_rows = True

    _parameter_constraints: dict[str, Any] = {
        "estimator": [HasMethods(["fit", "predict"])],
        "n_shards": [Interval(Integral, 1, None, closed="left")],
        "n_slices": [Interval(Integral, 1, None, closed="left")],
        "checkpoint": [StrOptions({"memory", "disk"})],
        "n_jobs": [Integral, None],
        "random_state": "no_validation",
    }

    estimators_ = fitted_attribute()
    shard_sizes_ = fitted_attribute()

    estimator: Any
    n_jobs: int | None

    # --- learning ----------------------------------------------------------------------------------------------------

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> ShardedCore:
        model = weakref.ref(self)

        def n_jobs() -> int | None:
            alive = model()
            return None if alive is None else alive.n_jobs

        return ShardedCore(type(self).__name__, params, is_classifier=isinstance(self, ClassifierMixin), n_jobs=n_jobs)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        tags = self.__sklearn_tags__()
        if options.get("y") is not None and not isinstance(self, ClassifierMixin):
            options |= {"multi_output": tags.target_tags.multi_output, "y_numeric": True}
        return validate_data(
            estimator,
            X,
            accept_sparse="csr" if tags.input_tags.sparse else False,
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan" if tags.input_tags.allow_nan else True,
            **options,
        )

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 0  # what an estimator weighs is known when it is trained

    # --- what it costs, and what it is worth -------------------------------------------------------------------------

    def estimate_cost(self, sample_ids: Any = None, *, subject_ids: Any = None) -> RetrainingCost:
        """Say what forgetting rows would cost, without forgetting them.

        Parameters
        ----------
        sample_ids, subject_ids
            As in `partial_forget`.

        Returns
        -------
        cost : RetrainingCost
            Shards and rows to be trained again.

        Raises
        ------
        UnknownSampleError
            If any id is not live.
        """
        live = self._require_live()
        self._check_forgettable(live)
        with live.lock:
            n_shards = live.params["n_shards"]
            slots = live.rows.select(sample_ids, subject_ids, "raise").slots
            going = np.zeros(len(live.rows), dtype=bool)
            going[slots] = True
            staying, leaving = np.zeros((2, n_shards), dtype=np.int64)
            for block in live.effective_blocks():
                shards, leaves = shards_of(block.groups, n_shards), going[block.slots]
                leaving += np.bincount(shards[leaves], minlength=n_shards)
                staying += np.bincount(shards[~leaves], minlength=n_shards)
        touched = leaving > 0
        n_rows = int(staying[touched].sum())
        return RetrainingCost(int(touched.sum()), n_rows, n_rows / max(int(staying.sum()), 1))

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot.

        "exact" rests on a test: a few rows were trained on twice, and gave the same estimator bit for bit. Where they
        did not, it is "refit": trained anew on the rows that are left, but not reproducibly.
        """
        live = self._require_live()
        core: Any = live.core
        if core.self_test is None and not live.is_empty:
            live.publish()
        test = core.self_test
        base = type(live.params["estimator"]).__name__
        if test is None or test.passed:
            return Guarantee(
                kind="exact",
                basis="equal bit for bit to a sharded fit with the same key on the rows that are left; self-test: "
                f"{base} gave the same bits when it was trained twice, with these versions on this machine",
            )
        return Guarantee(
            kind="refit",
            basis=f"shards are trained anew on the rows that are left, but {base} failed its self-test "
            f"({', '.join(test.failures)}), so a refit need not give the same bits",
        )

    def _cost_of_forgetting(self) -> str:
        return "the rows of the shards that lose one, at the next read"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        base = getattr(self, "estimator", None)
        if base is None:  # a saved model is checked before its parameters are set
            tags.input_tags.allow_nan = tags.input_tags.sparse = True
            return tags
        of_base = get_tags(base)
        tags.input_tags.allow_nan = of_base.input_tags.allow_nan
        tags.input_tags.sparse = of_base.input_tags.sparse
        tags.input_tags.positive_only = of_base.input_tags.positive_only
        tags.target_tags.multi_output = of_base.target_tags.multi_output and not isinstance(self, ClassifierMixin)
        return tags


class SISAClassifier(ClassifierMixin, _SISA):
    """Forget exactly around any classifier: an ensemble of shards; those that lose rows are trained again.

    Every row belongs to one shard, by a keyed hash of its subject or of its own id, and every shard is a copy of
    `estimator` trained on its rows alone. A deletion drops the shards that it touches; the next read trains them again
    on the rows that are left. The model is then, bit for bit, the sharded model that never saw the deleted rows.

    Parameters
    ----------
    estimator : estimator
        The classifier to train on every shard. Every ``random_state`` inside is set from the key. Whatever is learned
        from rows has to be in it: put a scaler into a pipeline with the classifier.
    n_shards : int, default=10
        Number of shards. A deletion costs about 1 / n_shards of a fit; more shards see fewer rows each.
    n_slices : int, default=1
        With 2 or more, shards learn slice by slice by ``estimator.partial_fit``, and training resumes before the slice
        that lost a row: half of the work at best. A pass over the rows is then one epoch.
    aggregate : {"mean", "weighted_mean", "vote"}, default="mean"
        Mean of the shards' probabilities, plain or weighted by their numbers of live rows, or a vote. A classifier
        without probabilities votes.
    checkpoint : {"memory", "disk"}, default="memory"
        Where states between slices are kept. Superseded ones are overwritten.
    n_jobs : int, default=None
        How many shards are trained at a time, through joblib. Results do not depend on it.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the randomness. An int is public; a `Key` is repeatable and secret.
    classes : array-like of shape (n_classes,), default=None
        Declared labels. Without rows one has probability 0. By default the labels of the live rows.

    Attributes
    ----------
    estimators_ : tuple of estimator or None
        The shards; None for one without rows, or with a single class. Within a shard classes are coded 0, 1, ...
    shard_classes_ : tuple of ndarray
        What those codes stand for.
    shard_sizes_ : ndarray of shape (n_shards,)
        Rows of each shard.
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"`` where the estimator passed its self-test at `fit`, else ``kind="refit"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    check_exactness : Test whether an estimator is trained reproducibly.

    Notes
    -----
    "Exact" is about the sharded model: it is not the model that one fit on all rows would give, and may be less
    accurate, the more so the more shards there are. It rests on the estimator, its version and the machine: a foreign
    fit repeats only where these are the same. A saved model keeps rows and no shards, and trains when it is loaded.
    Shards drop what they learned as soon as a row of theirs is forgotten, before they are trained again.

    Sharding with retraining is due to [1]_; an adversary who sees answers and chooses deletions can break the
    independence that its analysis assumes [2]_: see `reseed`.

    References
    ----------
    .. [1] L. Bourtoule et al., "Machine Unlearning", IEEE Symposium on Security and Privacy, 2021.
    .. [2] V. Gupta et al., "Adaptive Machine Unlearning", NeurIPS 2021.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> from skunlearn.sharded import SISAClassifier
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], [0, 0, 0, 1, 1, 1]
    >>> model = SISAClassifier(DecisionTreeClassifier(), n_shards=2, random_state=0).fit(X, y)
    >>> model.partial_forget([3]).shard_sizes_.sum()
    np.int64(5)
    """

    _parameter_constraints: dict[str, Any] = {
        **_SISA._parameter_constraints,
        "aggregate": [StrOptions({"mean", "weighted_mean", "vote"})],
        "classes": ["array-like", None],
    }

    classes_ = fitted_attribute()
    shard_classes_ = fitted_attribute()

    def __init__(
        self,
        estimator: Any,
        n_shards: int = 10,
        n_slices: int = 1,
        *,
        aggregate: str = "mean",
        checkpoint: str = "memory",
        n_jobs: int | None = None,
        random_state: Any = None,
        classes: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_shards = n_shards
        self.n_slices = n_slices
        self.aggregate = aggregate
        self.checkpoint = checkpoint
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.classes = classes

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
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
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0, where `estimator` takes them. A row of weight 0 is stored and enters nothing.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is. All rows of a subject are in one shard.
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
            If `estimator` cannot be fitted on the rows of a shard.
        """
        return self._fit_rows(
            X, y, sample_weight, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable
        )

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        classes: Any = None,
        sample_weight: Any = None,
        *,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
            Class labels.
        classes : array-like of shape (n_classes,), default=None
            Declared classes, at the first call; the parameter of the same name by default.
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
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids, classes=classes)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the mean of the shards' probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._read(X)[1]

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of every row; of several, the first.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        state, proba = self._read(X)
        labels: np.ndarray = state.classes_[best_columns(proba, _has_rows(state))]
        return labels

    def _read(self, X: Any) -> tuple[SISAState, np.ndarray]:
        """Return one published version and what it says about `X`."""
        live = self._require_live()
        state: SISAState = live.publish()
        X = as_shards_take(self._check_X(self, X, reset=False))
        shards = (state.estimators_, state.shard_classes_, state.shard_weights_, state.classes_)
        return state, mean_probabilities(*shards, X, vote=live.params["aggregate"] == "vote")

    def _native_twin(self, state: SISAState, params: dict[str, Any]) -> ShardEnsembleClassifier:
        twin = ShardEnsembleClassifier(vote=params["aggregate"] == "vote")
        twin.estimators_, twin.shard_classes_ = _released(state), state.shard_classes_
        twin.shard_weights_, twin.classes_ = state.shard_weights_.copy(), state.classes_.copy()
        return twin


class SISARegressor(RegressorMixin, _SISA):
    """Forget exactly around any regressor: an ensemble of shards; those that lose rows are trained again.

    `SISAClassifier` says how. The prediction is the mean over the shards.

    Parameters
    ----------
    estimator : estimator
        The regressor to train on every shard. Every ``random_state`` inside is set from the key.
    n_shards : int, default=10
        Number of shards.
    n_slices : int, default=1
        With 2 or more, shards learn slice by slice by ``estimator.partial_fit``.
    aggregate : {"mean", "weighted_mean"}, default="mean"
        Mean of the shards' predictions, plain or weighted by their numbers of live rows.
    checkpoint : {"memory", "disk"}, default="memory"
        Where states between slices are kept. Superseded ones are overwritten.
    n_jobs : int, default=None
        How many shards are trained at a time, through joblib. Results do not depend on it.
    random_state : int, RandomState instance, Key or None, default=None
        Source of the randomness. An int is public; a `Key` is repeatable and secret.

    Attributes
    ----------
    estimators_ : tuple of estimator or None
        The shards; None for one without rows.
    shard_sizes_ : ndarray of shape (n_shards,)
        Rows of each shard.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        ``kind="exact"`` where the estimator passed its self-test at `fit`, else ``kind="refit"``.
    n_live_ : int
        Number of rows that the model holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did.

    See Also
    --------
    SISAClassifier : How it works, and what it promises.

    Examples
    --------
    >>> from sklearn.linear_model import HuberRegressor
    >>> from skunlearn.sharded import SISARegressor
    >>> X, y = [[0.0], [1.0], [2.0], [3.0], [4.0], [5.0]], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    >>> model = SISARegressor(HuberRegressor(), n_shards=2, random_state=0).fit(X, y)
    >>> model.partial_forget([3]).shard_sizes_.sum()
    np.int64(5)
    """

    _parameter_constraints: dict[str, Any] = {
        **_SISA._parameter_constraints,
        "aggregate": [StrOptions({"mean", "weighted_mean"})],
    }

    def __init__(
        self,
        estimator: Any,
        n_shards: int = 10,
        n_slices: int = 1,
        *,
        aggregate: str = "mean",
        checkpoint: str = "memory",
        n_jobs: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.n_shards = n_shards
        self.n_slices = n_slices
        self.aggregate = aggregate
        self.checkpoint = checkpoint
        self.n_jobs = n_jobs
        self.random_state = random_state

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any,
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
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0, where `estimator` takes them. A row of weight 0 is stored and enters nothing.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is. All rows of a subject are in one shard.
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
            If `estimator` cannot be fitted on the rows of a shard.
        """
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
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
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def predict(self, X: Any) -> np.ndarray:
        """Return the mean of the shards' predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions.
        """
        state: SISAState = self._published()
        X = as_shards_take(self._check_X(self, X, reset=False))
        return mean_prediction(state.estimators_, state.shard_weights_, X)

    def _native_twin(self, state: SISAState, params: dict[str, Any]) -> ShardEnsembleRegressor:
        twin = ShardEnsembleRegressor()
        twin.estimators_, twin.shard_weights_ = _released(state), state.shard_weights_.copy()
        return twin


def _released(state: SISAState) -> tuple[Any, ...]:
    """Return the shards without the rows that an estimator of this library would keep."""
    return tuple(e.release() if isinstance(e, ForgetMixin) else e for e in state.estimators_)


def _has_rows(state: SISAState) -> np.ndarray:
    """Return which classes are more than declared."""
    return np.isin(state.classes_, np.concatenate(state.shard_classes_))
