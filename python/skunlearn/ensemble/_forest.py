"""What the forests share: learning, reading, prediction. A subclass has the parameters and names its twin."""

from collections.abc import Callable
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import scipy.sparse as sp
from _unlearn_native._native import ln
from joblib import effective_n_jobs
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.validation import assert_all_finite

from skunlearn.base import ForgetMixin, fitted_attribute
from skunlearn.ensemble._core import ForestCore, PublishedForest, estimate_forest_nbytes, float32_rows
from skunlearn.ensemble._levels import categorical_mask, with_levels
from skunlearn.ensemble._out_of_bag import OutOfBag, out_of_bag
from skunlearn.ensemble._parameters import check_offered, n_features_compared, native_parameters
from skunlearn.key import Key
from skunlearn.rows import CsrRows, RowStore
from skunlearn.utils._sklearn_compat import Tree, fit_context, validate_data

__all__ = ["ForestClassifier", "ForestRegressor", "KeyedTrees", "check_stored_values", "dense_rows"]

_Read = TypeVar("_Read")

#: Parameters that scikit-learn's forests do not have.
_OWN_PARAMETERS = frozenset({"categorical_features", "classes", "n_thresholds"})
#: From here on float64 numbers are infinite as float32: half a unit above the largest of those.
_TOO_LARGE = 2.0**128 - 2.0**103


class KeyedTrees(ForgetMixin):
    """Trees that a key grows: what isolation forests share with the others."""

    _tags_rows = True
    #: Where thresholds come from: "pivot" rows of a node, or "uniform" on its range.
    _splitter: ClassVar[str]

    n_jobs: int | None
    n_estimators: int
    warm_start: bool

    def _key_to_fit_with(self) -> Key:
        """Return the key; `warm_start` keeps that of the last fit, and with it the trees that equal rows make."""
        live = self._live
        if not self.warm_start or live is None:
            return super()._key_to_fit_with()
        before = live.params["n_estimators"]
        if self.n_estimators < before:
            raise ValueError(
                f"n_estimators={self.n_estimators} must be larger or equal to {before}, the number of trees there are, "
                "when warm_start==True. Nothing was changed."
            )
        return live.key

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        if options.get("y") is not None:
            options |= {"y_numeric": isinstance(self, RegressorMixin)}
        checked = validate_data(
            estimator,
            X,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            ensure_all_finite="allow-nan",
            **options,
        )
        rows = checked[0] if isinstance(checked, tuple) else checked
        _check_values(rows)
        if options.get("reset", True):
            names = getattr(estimator, "feature_names_in_", None)
            categorical_mask(getattr(estimator, "categorical_features", None), rows.shape[1], names)
        return checked

    def flush(self) -> Self:
        """Split now what forgetting and learning have left stale, and not when a row to predict reaches it.

        Returns
        -------
        self : object
            The model.
        """
        super().flush()
        live = self._require_live()
        with live.lock:
            if live.forgettable:
                live.settle()
                assert isinstance(live.core, ForestCore)
                live.core.grow(effective_n_jobs(self.n_jobs))
        return self

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.allow_nan = True
        return tags


class _Forest(KeyedTrees):
    """A forest: what does not depend on the kind of targets."""

    #: scikit-learn's forest, and the tree that it is made of.
    _twin_class: ClassVar[type[BaseEstimator]]
    _tree_class: ClassVar[type[BaseEstimator]]

    oob_score: Any

    # --- learning ----------------------------------------------------------------------------------------------------

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> ForestCore:
        check_offered(type(self).__name__, params)
        check_stored_values(rows)
        return ForestCore(
            type(self).__name__,
            native_parameters(params, rows.native.n_features, splitter=self._splitter),
            params.get("class_weight"),
            params["categorical_features"],
        )

    # --- reading -----------------------------------------------------------------------------------------------------

    def apply(self, X: Any) -> np.ndarray:
        """Return the leaf that every row reaches in every tree.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        leaves : ndarray of shape (n_samples, n_trees)
            Numbers of nodes in preorder. Trees without rows have no column.
        """
        with float32_rows(dense_rows(self._check_X(self, X, reset=False)), self.n_features_in_) as rows:
            return self._read(lambda state: state.apply(rows))

    def decision_path(self, X: Any) -> tuple[sp.csr_matrix, np.ndarray]:
        """Return the nodes that every row passes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        indicator : sparse matrix of shape (n_samples, n_nodes)
            1 where a row passes a node; the nodes of all trees side by side.
        n_nodes_ptr : ndarray of shape (n_trees + 1,)
            Columns from ``n_nodes_ptr[t]`` to ``n_nodes_ptr[t + 1]`` are the nodes of tree t.
        """
        with float32_rows(dense_rows(self._check_X(self, X, reset=False)), self.n_features_in_) as rows:
            return self._read(lambda state: state.decision_path(rows))

    @property
    def feature_importances_(self) -> np.ndarray:
        """How much each feature lowers the impurity, averaged over trees; the values sum to 1, or all are 0."""
        return self._read(lambda state: state.importances())

    @property
    def estimators_(self) -> list[Any]:
        """The trees that hold rows, as scikit-learn's own."""
        trees: list[Any] = self.release().estimators_
        return trees

    @property
    def n_outputs_(self) -> int:
        """Number of targets, always 1."""
        self._require_live()
        return 1

    def _check_kept(self, *, forgettable: bool) -> None:
        if self.oob_score and not forgettable:
            raise ValueError(
                f"{type(self).__name__} computes the out-of-bag score from its rows when it is read, and "
                "forgettable=False keeps none. Nothing was changed. Set oob_score=False, or keep the rows."
            )

    def _read(self, read: Callable[[PublishedForest], _Read]) -> _Read:
        live = self._require_live()
        with live.lock:  # no writer may come between the version and its trees
            return read(live.publish())

    def _outputs(self, X: Any) -> tuple[PublishedForest, np.ndarray]:
        """Return one version of the forest and what it says of rows."""
        n_threads = effective_n_jobs(self.n_jobs)
        with float32_rows(dense_rows(self._check_X(self, X, reset=False)), self.n_features_in_) as rows:
            while True:
                state = self._published()
                outputs = state.outputs(rows, n_threads)
                if outputs is not None:
                    return state, outputs

    def _out_of_bag(self) -> OutOfBag:
        live = self._require_live()
        if not live.params["oob_score"]:
            raise AttributeError(f"This {type(self).__name__} was fitted with oob_score=False.")
        with live.lock:
            return out_of_bag(live, live.publish())

    # --- releasing ---------------------------------------------------------------------------------------------------

    def _native_twin(self, state: PublishedForest, params: dict[str, Any]) -> Any:
        grown = state.trees()
        asks_levels = len(grown.levels.features) > 0
        twin_class = with_levels(self._twin_class) if asks_levels else self._twin_class
        twin = twin_class(**{name: value for name, value in params.items() if name not in _OWN_PARAMETERS})
        twin.estimator_ = self._tree_class()
        twin.n_outputs_ = 1
        tree_params = {name: params[name] for name in twin.estimator_params if name in params}
        twin.estimators_ = [self._native_tree(tree, tree_params, state.classes_) for tree in grown.trees]
        if asks_levels:
            twin.levels_ = grown.levels
        if state.classes_ is not None:
            twin.classes_, twin.n_classes_ = state.classes_.copy(), len(state.classes_)
        return twin

    def _native_tree(self, tree: Tree, params: dict[str, Any], classes: np.ndarray | None) -> Any:
        estimator = self._tree_class(**params)
        estimator.tree_ = tree
        estimator.n_features_in_, estimator.n_outputs_ = tree.n_features, 1
        estimator.max_features_ = n_features_compared(params["max_features"], tree.n_features)
        if classes is not None:  # a tree of scikit-learn's forests knows the numbers of the classes alone
            estimator.classes_, estimator.n_classes_ = np.arange(len(classes), dtype=np.float64), np.intp(len(classes))
        return estimator

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        n_sums = n_classes if isinstance(self, ClassifierMixin) else 2
        params = native_parameters(self.get_params(deep=False), X.shape[1], splitter=self._splitter)
        return estimate_forest_nbytes(params, X.shape[0], n_sums)


class ForestClassifier(ClassifierMixin, _Forest):
    """A forest that votes for classes."""

    classes: Any
    classes_ = fitted_attribute()

    @fit_context(prefer_skip_nested_validation=True)
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
            Rows. NaN stands for a missing value, unless X is sparse. Values are compared as float32.
        y : array-like of shape (n_samples,)
            Class labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored and enters nothing.
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
        self._check_kept(forgettable=forgettable)
        self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, classes=self.classes, forgettable=forgettable)
        return self.flush()

    @fit_context(prefer_skip_nested_validation=True)
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
            As the constructor parameter, which it replaces at the first call; later ones may repeat it or leave it out.
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
        state, shares = self._outputs(X)
        assert state.classes_ is not None
        labels: np.ndarray = state.classes_[shares.argmax(axis=1)]
        return labels

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of every class: the mean over trees of its share of the weight in the leaf.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``. A row alone gives the bits that it gives in bulk.
        """
        return self._outputs(X)[1]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the log probability of every class.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return ln(self.predict_proba(X))

    @property
    def n_classes_(self) -> int:
        """Number of classes."""
        return len(self.classes_)

    @property
    def oob_decision_function_(self) -> np.ndarray:
        """Probabilities of the classes for every row of a weight above 0, in the order in which they were learned.

        Each is the mean over the trees that do not hold the row; 0 where all do. Made anew at every reading.
        """
        return self._out_of_bag().outputs

    @property
    def oob_score_(self) -> float:
        """Accuracy of `oob_decision_function_`, or what the callable `oob_score` makes of it."""
        found = self._out_of_bag()
        scoring = self._require_live().params["oob_score"]
        scoring = scoring if callable(scoring) else accuracy_score
        return float(scoring(found.targets, found.outputs.argmax(axis=1)))


class ForestRegressor(RegressorMixin, _Forest):
    """A forest whose leaves are means."""

    @fit_context(prefer_skip_nested_validation=True)
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
            Rows. NaN stands for a missing value, unless X is sparse. Values are compared as float32.
        y : array-like of shape (n_samples,)
            Targets, one a row.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights, at least 0. A row of weight 0 is stored and enters nothing.
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
        self._check_kept(forgettable=forgettable)
        self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)
        return self.flush()

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, sample_ids: Any = None, subject_ids: Any = None
    ) -> Self:
        """Learn rows: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,)
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
        """Predict the targets of rows: the mean over trees of the mean in the leaf.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Predictions. A row alone gives the bits that it gives in bulk.
        """
        return self._outputs(X)[1]

    @property
    def oob_prediction_(self) -> np.ndarray:
        """Predictions for every row of a weight above 0, in the order in which they were learned.

        Each is the mean over the trees that do not hold the row; 0 where all do. Made anew at every reading.
        """
        predictions: np.ndarray = self._out_of_bag().outputs[:, 0]
        return predictions

    @property
    def oob_score_(self) -> float:
        """R^2 of `oob_prediction_`, or what the callable `oob_score` makes of it."""
        found = self._out_of_bag()
        scoring = self._require_live().params["oob_score"]
        scoring = scoring if callable(scoring) else r2_score
        return float(scoring(found.targets, found.outputs[:, 0]))


def _check_values(X: Any) -> None:
    """Refuse missing values of sparse rows, as scikit-learn does, and what float32 cannot hold."""
    is_sparse = sp.issparse(X) or isinstance(X, CsrRows)
    values = X.data if is_sparse else X
    if is_sparse:
        assert_all_finite(values)
    n_wrong = int(np.count_nonzero(np.abs(values) >= _TOO_LARGE)) if values.dtype == np.float64 else 0
    if n_wrong:
        raise ValueError(
            f"{n_wrong} of {values.size} values of X are infinity or a value too large for float32, in which forests "
            "compare values. Nothing was changed. Scale the columns that hold them."
        )


def check_stored_values(rows: RowStore) -> None:
    """Refuse rows that no forest has ever stored: there are rows at the start only where a saved model is loaded."""
    for block in rows.blocks():
        _check_values(block.X)


def dense_rows(X: Any) -> Any:
    """Return a sparse matrix in the form in which rows travel."""
    return CsrRows(X.indptr, X.indices, X.data) if sp.issparse(X) else X
