"""Chains of steps that forget: one owner of ids and rows, and steps that keep none of their own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import sklearn.pipeline
from sklearn.base import BaseEstimator, clone
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if

from skunlearn._columns_core import ColumnsCore, ColumnsState, Unchanged, as_rows
from skunlearn._composite import (
    CompositeCore,
    CompositeMixin,
    OwnedModel,
    Part,
    SettlingModel,
    adopted,
    check_steps,
    frozen_step,
    wipe_values,
)
from skunlearn._foreign import OnForeign, as_step, bare_twin
from skunlearn.base import SchemaAttribute
from skunlearn.columns import as_table
from skunlearn.live import Core, IncomingRows
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.targets import Targets
from skunlearn.transforms import ForgettingTransformerMixin, TransformMap
from skunlearn.utils._sklearn_compat import (
    check_feature_names,
    check_feature_names_in,
    check_targets,
    fit_context,
    gives_frames,
    validate_data,
)

__all__ = ["FeatureUnion", "Pipeline", "make_pipeline", "make_union"]

_IDENTITY = (None, "passthrough")


def _final_has(method: str) -> Callable[[Any], bool]:
    """Return a check whether the last step offers a method; it raises the last step's own AttributeError."""

    def check(pipeline: "Pipeline") -> bool:
        getattr(pipeline._final_estimator, method)
        return True

    return check


def _can_transform(pipeline: "Pipeline") -> bool:
    return pipeline._final_estimator == "passthrough" or _final_has("transform")(pipeline)


def _can_inverse_transform(pipeline: "Pipeline") -> bool:
    return all(hasattr(step, "inverse_transform") for _, _, step in pipeline._iter())


class Pipeline(CompositeMixin, sklearn.pipeline.Pipeline):
    """A sequence of transformers with an optional predictor at the end, which forgets rows in all of them.

    To forget rows in the last step alone is no deletion: the scaler's mean and the encoder's categories remember them.
    Here the pipeline owns the ids and the rows, once; its steps keep none. `partial_forget` takes rows out of every
    step. As long as what a step does to rows stays the same bit for bit, no later step is fitted again; where it
    changes, those behind it are, once, at the next read. Afterwards the pipeline equals, bit for bit, one fitted with
    the same key on the rows that are left.

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        Steps by their names: estimators of this library or any other, all but the last transformers, or "passthrough".
        Fitted ones
        stand in `steps` afterwards; the estimators that were given are left as they are.
    transform_input : None
        Not offered.
    memory : None
        Not offered: a cache on disk would keep what rows are to be forgotten from.
    verbose : bool, default=False
        There for the interface.
    on_foreign : {"refit", "keep", "raise"}, default="refit"
        What becomes of steps that cannot forget, such as scikit-learn's own: train them, and all behind them, anew on
        the rows that are left, at the next read; keep them as they are, which `guarantee_` then names; or refuse them.
        Steps that learn nothing of rows, and frozen ones, are left as they are under all three.

    Attributes
    ----------
    named_steps : Bunch
        The steps by name. A fitted step can be read as one that stands alone; learning and forgetting is the
        pipeline's.
    classes_ : ndarray of shape (n_classes,)
        Classes of the last step.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        That of the weakest step.
    n_live_ : int
        Number of rows that the pipeline holds.
    forget_report_ : ForgetReport
        What the last `partial_forget` did; "rebuild" where a step could not follow and is fitted at the next read.

    See Also
    --------
    sklearn.pipeline.Pipeline : The class that this one extends, and that `release` returns.

    Notes
    -----
    Let the steps be t1, ..., tk, and Zj the set of rows that t1 to tj make of the live rows. If tj is what it was, Zj
    without the rows that leave is what a refit hands to t(j+1), which therefore forgets them and nothing else. If it
    is not, t(j+1) and all behind it are fitted on Zj as it is now, which is the refit. Whether tj is what it was is
    decided by `transform_digest`, from everything that a transform reads.

    The key of a step is its own ``random_state``; where that is None, it is derived from the key of the pipeline, which
    is drawn at `fit`. Weights of rows are those of all steps. Rows of weight 0 are stored and enter nothing.

    Where a later step cannot take what earlier ones make of the rows (negative values before MultinomialNB), `fit` and
    `partial_fit` refuse them; where a deletion brings that about, the pipeline keeps its rows and raises
    DegenerateRowsError when it is read, until others are learned or forgotten.

    Examples
    --------
    >>> from skunlearn.linear_model import Ridge
    >>> from skunlearn.pipeline import make_pipeline
    >>> from skunlearn.preprocessing import StandardScaler
    >>> X, y = [[0.0], [2.0], [4.0], [90.0]], [0.0, 1.0, 2.0, 9.0]
    >>> model = make_pipeline(StandardScaler(exact_statistics=True), Ridge(alpha=1e-9))
    >>> model.fit(X, y, sample_ids=["a", "b", "c", "d"]).partial_forget(["d"]).predict([[6.0]]).round(6)
    array([3.])
    """

    steps: list[tuple[str, Any]]

    def __init__(
        self,
        steps: list[tuple[str, Any]],
        *,
        transform_input: Any = None,
        memory: Any = None,
        verbose: bool = False,
        on_foreign: OnForeign = "refit",
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.on_foreign = on_foreign

    # --- learning ----------------------------------------------------------------------------------------------------

    @fit_context(prefer_skip_nested_validation=False)
    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
        **params: Any,
    ) -> Self:
        """Fit all steps to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows, as the first step takes them.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets, as the last step takes them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for all steps, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the pipeline can neither forget nor learn, and holds no row.
        **params : dict
            ``step__sample_weight``, if all steps get the same.

        Returns
        -------
        self : object
            The fitted pipeline.

        Raises
        ------
        ValueError
            If the input is not acceptable; a pipeline fitted earlier is then unchanged.
        ForeignStepError
            If ``on_foreign="raise"`` and a step is no estimator of this library.
        """
        self._validate_steps()
        weight = self._weight_of_all_steps(sample_weight, params)
        classes = getattr(self._final_estimator, "classes", None)
        return self._fit_rows(X, y, weight, sample_ids, subject_ids, classes=classes, forgettable=forgettable)

    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
        **params: Any,
    ) -> Self:
        """Learn rows in all steps: the inverse of `partial_forget`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), default=None
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for all steps, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the pipeline is fitted. A forgotten id may come back.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        **params : dict
            ``step__sample_weight``, if all steps get the same.

        Returns
        -------
        self : object
            The pipeline, changed.

        Raises
        ------
        DuplicateSampleError
            If ids are live already; its attribute `ids` holds them. The pipeline is unchanged.
        MissingSampleIdsError
            If the pipeline is fitted and there are no `sample_ids`. It is unchanged.
        """
        self._validate_steps()
        weight = self._weight_of_all_steps(sample_weight, params)
        classes = None if self._live is not None else getattr(self._final_estimator, "classes", None)
        return self._learn_rows(X, y, weight, sample_ids, subject_ids, classes=classes)

    @available_if(_can_transform)
    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all steps to rows and transform these.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows.
        """
        return self.fit(X, y, **params).transform(X)

    @available_if(_final_has("fit_predict"))
    def fit_predict(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all steps to rows and predict these with the last one.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        y_pred : ndarray of shape (n_samples,)
            Predictions.
        """
        return self.fit(X, y, **params).predict(X)

    # --- reading -----------------------------------------------------------------------------------------------------

    @available_if(_final_has("predict"))
    def predict(self, X: Any, **params: Any) -> Any:
        """Transform rows by all steps but the last, and predict with that one.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        **params : dict
            Parameters of the last step's `predict`.

        Returns
        -------
        y_pred : ndarray
            Predictions of the last step.
        """
        return self._read(lambda: super(Pipeline, self).predict(X, **params))

    @available_if(_final_has("predict_proba"))
    def predict_proba(self, X: Any, **params: Any) -> Any:
        """Transform rows by all steps but the last, and return the probabilities that that one gives.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        **params : dict
            Parameters of the last step's `predict_proba`.

        Returns
        -------
        y_proba : ndarray of shape (n_samples, n_classes)
            Probabilities.
        """
        return self._read(lambda: super(Pipeline, self).predict_proba(X, **params))

    @available_if(_final_has("predict_log_proba"))
    def predict_log_proba(self, X: Any, **params: Any) -> Any:
        """Transform rows by all steps but the last, and return the logarithms of its probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        **params : dict
            Parameters of the last step's `predict_log_proba`.

        Returns
        -------
        y_log_proba : ndarray of shape (n_samples, n_classes)
            Logarithms of probabilities.
        """
        return self._read(lambda: super(Pipeline, self).predict_log_proba(X, **params))

    @available_if(_final_has("decision_function"))
    def decision_function(self, X: Any, **params: Any) -> Any:
        """Transform rows by all steps but the last, and return the scores that that one gives.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        **params : dict
            Parameters of the last step's `decision_function`.

        Returns
        -------
        y_score : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Scores.
        """
        return self._read(lambda: super(Pipeline, self).decision_function(X, **params))

    @available_if(_can_transform)
    def transform(self, X: Any, **params: Any) -> Any:
        """Transform rows by all steps.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        **params : dict
            Parameters that steps have requested, with metadata routing.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows.
        """
        return self._read(lambda: super(Pipeline, self).transform(X, **params))

    @available_if(_can_inverse_transform)
    def inverse_transform(self, X: Any, **params: Any) -> Any:
        """Undo `transform`, to rounding, where all steps can.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_transformed_features)
            Transformed rows.
        **params : dict
            Parameters that steps have requested, with metadata routing.

        Returns
        -------
        X_original : ndarray of shape (n_samples, n_features)
            Rows.
        """
        return self._read(lambda: super(Pipeline, self).inverse_transform(X, **params))

    @available_if(_final_has("score"))
    def score(self, X: Any, y: Any = None, sample_weight: Any = None, **params: Any) -> Any:
        """Transform rows by all steps but the last, and score that one on them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like, default=None
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.
        **params : dict
            Parameters that steps have requested, with metadata routing.

        Returns
        -------
        score : float
            Score of the last step.
        """
        return self._read(lambda: super(Pipeline, self).score(X, y, sample_weight, **params))

    def _read(self, read: Callable[[], Any]) -> Any:
        """Call `read`, all of whose steps answer for one version; again, alone, where a writer came between."""
        live = self._live
        if live is None:  # a slice of a pipeline
            return read()
        version = live.publish()
        try:
            result = read()
        except Exception:
            if live.published is version:
                raise
        else:
            if live.published is version:
                return result
        with live.lock:
            return read()

    def __sklearn_is_fitted__(self) -> bool:
        if self._live is None:
            return bool(sklearn.pipeline.Pipeline.__sklearn_is_fitted__(self))
        return super().__sklearn_is_fitted__()

    @property
    def n_features_in_(self) -> int:
        """Number of features."""
        live = self._live
        return int(live.n_features) if live is not None else self.steps[0][1].n_features_in_

    @property
    def feature_names_in_(self) -> Any:
        """Names of the features."""
        live = self._live
        if live is None:
            return self.steps[0][1].feature_names_in_
        if live.feature_names is None:
            raise AttributeError(f"This {type(self).__name__} was fitted on columns without names.")
        return live.feature_names

    def transform_digest(self) -> bytes:
        """Return 32 bytes that change exactly when `transform` does.

        Returns
        -------
        digest : bytes of length 32

        Raises
        ------
        NotFittedError
            If the pipeline is not fitted, or the rows that are left do not determine a transform.
        """
        state: ChainState = self._published()
        return state.digest()

    def release(self) -> Any:
        """Return what to deploy: scikit-learn's own Pipeline of released steps, without rows, ids or key.

        Returns
        -------
        pipeline : sklearn.pipeline.Pipeline
            Attributes of its steps are bitwise those of this pipeline's.

        Raises
        ------
        NotFittedError
            If the rows that are left do not determine a model.
        """
        live = self._require_live()
        with live.lock:
            live.publish()
            steps = [(name, step if _is_identity(step) else step.release()) for name, step in self.steps]
        return sklearn.pipeline.Pipeline(steps, verbose=self.verbose)

    # --- the contract ------------------------------------------------------------------------------------------------

    def _steps(self) -> list[Any]:
        return [as_step(step, self.on_foreign) for _, _, step in self._iter()]

    def _map_steps(self, function: Callable[[Any], Any]) -> None:
        self.steps = [(name, function(step)) for name, step in self.steps]

    def _validate_steps(self) -> None:
        super()._validate_steps()
        for name, value, why in (
            ("memory", self.memory, "a cache of fitted steps on disk would keep what rows are to be forgotten from"),
            ("transform_input", self.transform_input, "what a step is given beside X is the same for all steps here"),
        ):
            if value is not None:
                raise ValueError(
                    f"{type(self).__name__} does not offer {name}: {why}. Nothing was changed. Leave it at None."
                )
        check_steps(type(self).__name__, [(name, step) for _, name, step in self._iter()], self.on_foreign)

    def _weight_of_all_steps(self, sample_weight: Any, params: dict[str, Any]) -> Any:
        """Return the one weight of a row: `sample_weight`, or what all steps were given that take weights."""
        if not params:
            return sample_weight
        own = {name: step for _, name, step in self._iter()}
        given = {}
        for param, value in params.items():
            name, _, what = param.partition("__")
            if name not in own or what != "sample_weight":
                raise ValueError(
                    f"{type(self).__name__}.fit does not accept the {param} parameter. Nothing was changed. It takes "
                    "sample_ids, subject_ids, sample_weight and the sample_weight of steps, as in "
                    "`ridge__sample_weight`."
                )
            given[name] = value
        weights = [np.asarray(w) for w in given.values() if w is not None]
        if sample_weight is not None or set(given) != set(own) or len(weights) < len(own):
            raise ValueError(
                f"{len(weights)} of {len(own)} steps were given sample weights, and all steps share one weight a row "
                "here. Nothing was changed. Pass sample_weight, without a step, for all of them."
            )
        if not all(np.array_equal(weights[0], other) for other in weights[1:]):
            raise ValueError(
                "Steps were given different sample weights, and all steps share one weight a row here. Nothing was "
                "changed. Pass sample_weight, without a step, for all of them."
            )
        return weights[0]

    def _first(self) -> Any:
        """Return the first step that does anything, or None."""
        return next(iter(self._steps()), None)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        """Validate X as the first step does, and y as the last one."""
        has_y, y = "y" in options, options.pop("y", None)
        first = estimator._first()
        if first is None:
            seen = BaseEstimator() if options["reset"] else estimator  # what a pipeline has of a schema cannot be set
            X = validate_data(seen, X, accept_sparse="csr", dtype=(np.float64, np.float32), **options)
            estimator.__dict__.update({n: v for n, v in vars(seen).items() if n == "feature_names_in_"})
        elif not options["reset"]:
            X = self._checked_by(first, X, y, has_y, options)
        else:
            bare = bare_twin(first)
            X = self._checked_by(bare, X, y, has_y, options)
            estimator.__dict__["_first_schema"] = bare
            estimator.__dict__.update(
                {name: value for name, value in vars(bare).items() if name == "feature_names_in_"}
            )
        if not has_y:
            return X
        return X, None if self._targets_step() is None else check_targets(y, X, self)

    def _checked_by(self, first: Any, X: Any, y: Any, has_y: bool, options: dict[str, Any]) -> Any:
        """Return X as the first step would store it, or where no targets stand beside it, would read it."""
        if not has_y:
            return first._check_X(first, X, **options)
        reads_targets = first._targets_type(first.get_params(deep=False)) is not Targets
        return first._check_X(first, X, y=y if reads_targets else None, **options)[0]

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        params = super()._frozen_params(schema)
        seen, first = vars(schema).get("_first_schema"), self._first()
        params["steps"] = [
            (name, step if _is_identity(step) else frozen_step(step, seen if step is first else None, self.on_foreign))
            for name, step in self.steps
        ]
        return params

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "ChainCore":
        steps = [(name, step) for name, step in params["steps"] if not _is_identity(step)]
        steps = steps or [(params["steps"][0][0], Unchanged())]
        check_steps(type(self).__name__, steps, params["on_foreign"])
        return ChainCore(type(self).__name__, [(name, as_step(s, params["on_foreign"])) for name, s in steps])

    def _adopt(self, live: Any) -> None:
        super()._adopt(live)
        fitted, position = [], 0
        for name, step in self.steps:
            if not _is_identity(step):
                step = adopted(step, self.on_foreign, live, position)
                position += 1
            fitted.append((name, step))
        self.steps = fitted

    def _cost_of_forgetting(self) -> str:
        return "that of the steps; a refit of those behind a transform that changes"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if isinstance(self.steps, list) and self.steps:
            # Some that let NaN pass are tagged as if they did not: an imputer tells nobody that it leaves none.
            tags.input_tags.allow_nan = all(get_tags(step).input_tags.allow_nan for step in self._steps())
        return tags

    @property
    def _stores_nan(self) -> bool:
        first = self._first()
        return first is None or bool(first._stores_nan)

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self._live is not None:
            state["steps"] = [(name, step if _is_identity(step) else clone(step)) for name, step in self.steps]
        return state


def _is_identity(step: Any) -> bool:
    return step is None or isinstance(step, str)


def make_pipeline(*steps: Any, memory: Any = None, transform_input: Any = None, verbose: bool = False) -> Pipeline:
    """Return a `Pipeline` of steps that are named after their classes.

    Parameters
    ----------
    *steps : estimators
        The steps.
    memory, transform_input, verbose
        As in `Pipeline`.

    Returns
    -------
    pipeline : Pipeline

    Examples
    --------
    >>> from skunlearn.linear_model import Ridge
    >>> from skunlearn.preprocessing import StandardScaler
    >>> [name for name, _ in make_pipeline(StandardScaler(), Ridge()).steps]
    ['standardscaler', 'ridge']
    """
    named = sklearn.pipeline.make_pipeline(*steps).steps
    return Pipeline(named, memory=memory, transform_input=transform_input, verbose=verbose)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class ChainState(TransformMap):
    """The published state of one version: that of every step; a map where all of them are.

    Parameters
    ----------
    states : tuple
        States of the steps.
    widths : tuple of int
        Numbers of columns that they see.
    """

    states: tuple[Any, ...]
    widths: tuple[int, ...]

    @property
    def n_features_in(self) -> int:
        """Number of columns."""
        return self.widths[0]

    def apply_to_live(self, block: RowBlock) -> Any:
        """Return live rows as `fit_transform` gives them."""
        for state in self.states[:-1]:
            block = state.block(block)
        return self.states[-1].apply_to_live(block)

    def apply(self, X: Any) -> Any:
        """Return rows transformed by all steps."""
        for state in self.states:
            X = state.apply(as_table(X) if X.dtype == object else X)
        return X

    def block(self, block: RowBlock) -> RowBlock:
        """Return a block of live rows transformed by all steps."""
        given = block
        for state in self.states:
            onward = state.block(block)
            if block is not given:
                wipe_values(block, but_not=onward)
            block = onward
        return block

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the digests of the steps."""
        return [state.digest() for state in self.states]


class ChainCore(CompositeCore):
    """Cores one behind the other, each seeing rows through the maps of those before it."""

    def shown_to(self, position: int, block: RowBlock) -> RowBlock:
        """Return rows of the pipeline as a step sees them."""
        given = block
        for part in self.parts[:position]:
            onward = part.map.block(block)
            if block is not given:
                wipe_values(block, but_not=onward)
            block = onward
        return block

    def width_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a step sees under the maps there are now."""
        if position == 0:
            return int(owner.rows.native.n_features)
        before = self.shown_to(position - 1, next(owner.effective_blocks()))
        return int(self.parts[position - 1].map.apply_to_live(before).shape[1])

    def n_features_of(self, position: int, owner: Any) -> int:
        """Return the number of columns that a step sees in the published version."""
        if position == 0:
            return int(owner.n_features)
        widths: tuple[int, ...] = owner.publish().widths
        return widths[position]

    def feature_names_of(self, position: int, owner: Any) -> np.ndarray | None:
        """Return the names that a step sees; behind one that gives arrays there are none."""
        if position == 0:
            return owner.feature_names
        before = self.parts[position - 1]
        if not gives_frames(before.step) or before.map is None:
            return None
        step = as_step(clone(before.step))
        step._adopt((OwnedModel if self._is_settled else SettlingModel)(owner, position - 1))
        names: np.ndarray = step.get_feature_names_out()
        return names

    def _learn(self, block: RowBlock) -> None:
        self._pass_on(block, Part.learn)

    def _forget(self, block: RowBlock) -> None:
        self._pass_on(block, Part.forget)

    def _pass_on(self, block: RowBlock, change: Callable[[Part, RowBlock], None]) -> None:
        """Show rows to all steps that are up to date; from one that cannot take them on, steps are fitted again."""
        self._is_settled = False
        given = block
        for position, part in enumerate(self.parts):
            if not part.is_clean:
                break
            try:
                change(part, block)
            except ValueError:
                self._leave_behind(position)
                if position == 0:
                    raise
                break
            if position + 1 == len(self.parts):
                break
            if part.map is None:
                self._leave_behind(position + 1)
                break
            try:
                onward = part.map.block(block)
            except ValueError:  # the map knows nothing of these rows: it is another one with them
                self._leave_behind(position + 1)
                break
            if block is not given:
                wipe_values(block, but_not=onward)
            block = onward
        if block is not given:
            wipe_values(block, but_not=given)

    def _leave_behind(self, position: int) -> None:
        for part in self.parts[position:]:
            part.is_clean = False

    def check(self, incoming: IncomingRows) -> None:
        """Refuse rows that a step would refuse, as the maps before it show them now."""
        for position, part in enumerate(self.parts):
            part.check(incoming)
            if position + 1 == len(self.parts) or not part.is_clean or part.map is None:
                return
            n_rows = len(incoming.X.indptr) - 1 if isinstance(incoming.X, CsrRows) else incoming.X.shape[0]
            try:
                shown = part.map.block(RowBlock(slots=np.arange(n_rows, dtype=np.uint32), X=incoming.X))
            except ValueError:
                return
            incoming = replace(incoming, X=shown.X)

    def warn_before_forget(self, block: RowBlock) -> None:
        """Warn about what would vanish with these rows in any step."""
        warning = [p for p, part in enumerate(self.parts) if part.is_clean and _warns(part)]
        for position in warning:
            core = self.parts[position].core
            assert core is not None
            shown = self.shown_to(position, block)
            core.warn_before_forget(self.parts[position].seen(shown))
            wipe_values(shown, but_not=block)

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return how the last step followed; "rebuild" where one is fitted at the next read."""
        last = self.parts[-1].core if self.parts else None
        if last is None or not self.parts[-1].is_clean:
            return "rebuild", {}
        return last.last_path()

    def _settle_parts(self, owner: Any) -> None:
        for position, part in enumerate(self.parts):
            with OwnedModel(owner, position) as view:
                try:
                    if part.is_clean:
                        part.settle(view)
                    else:
                        part.fit(view)
                except ValueError:
                    self._leave_behind(position)
                    raise
                if position + 1 < len(self.parts) and part.has_moved(view):
                    self._leave_behind(position + 1)
                    if part.map is None:
                        return

    def _published(self, owner: Any) -> ChainState:
        states = [self._state_of(position, owner) for position in range(len(self.parts))]
        widths = [part.rows.native.n_features for part in self.parts if part.rows is not None]
        return ChainState(tuple(states), tuple(map(int, widths)))


def _warns(part: Part) -> bool:
    core: Any = type(part.core)
    return core.warn_before_forget is not Core.warn_before_forget


class FeatureUnion(ForgettingTransformerMixin, CompositeMixin, sklearn.pipeline.FeatureUnion):
    """Transformers of the same rows, whose outputs stand side by side, and which forget rows exactly.

    Parameters
    ----------
    transformer_list : list of (str, transformer) tuples
        Transformers, of this library or any other, by their names, "drop" or "passthrough".
    n_jobs : None
        There for the interface.
    transformer_weights : None
        Not offered: scale with a transformer.
    verbose : bool, default=False
        There for the interface.
    verbose_feature_names_out : bool, default=True
        Whether names of columns begin with those of transformers.
    on_foreign : {"refit", "keep", "raise"}, default="refit"
        What becomes of transformers that cannot forget, as in `Pipeline`.

    Attributes
    ----------
    named_transformers : Bunch
        Fitted transformers by name.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has string names.
    guarantee_ : Guarantee
        That of the weakest transformer.
    n_live_ : int
        Number of rows that the union holds.

    See Also
    --------
    sklearn.pipeline.FeatureUnion : The class that this one extends, and that `release` returns.

    Examples
    --------
    >>> from skunlearn.pipeline import make_union
    >>> from skunlearn.preprocessing import MinMaxScaler, StandardScaler
    >>> model = make_union(StandardScaler(exact_statistics=True), MinMaxScaler())
    >>> model.fit([[1.0], [3.0], [90.0]], sample_ids=["a", "b", "c"]).partial_forget(["c"]).transform([[3.0]])
    array([[1., 1.]])
    """

    transformer_list: list[tuple[str, Any]]

    _parameter_constraints: dict[str, Any] = {}

    def __init__(
        self,
        transformer_list: list[tuple[str, Any]],
        *,
        n_jobs: Any = None,
        transformer_weights: Any = None,
        verbose: bool = False,
        verbose_feature_names_out: bool = True,
        on_foreign: OnForeign = "refit",
    ) -> None:
        super().__init__(
            transformer_list,
            n_jobs=n_jobs,
            transformer_weights=transformer_weights,
            verbose=verbose,
            verbose_feature_names_out=verbose_feature_names_out,
        )
        self.on_foreign = on_foreign

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit all transformers to rows, forgetting all that were there before.

        Parameters
        ----------
        X : {array-like, data frame, sparse matrix} of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), default=None
            Targets, for transformers that read them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for all transformers, at least 0.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            A unique id for every row; 0 to n_samples - 1 by default.
        subject_ids : array-like of shape (n_samples,), int64 or str, default=None
            Whose row it is.
        forgettable : bool, default=True
            Keep the rows. If False the union can neither forget nor learn, and holds no row.

        Returns
        -------
        self : object
            The fitted union.

        Raises
        ------
        ValueError
            If the input is not acceptable; a union fitted earlier is then unchanged.
        ForeignStepError
            If ``on_foreign="raise"`` and a transformer is no estimator of this library.
        """
        self._check_offered()
        return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, forgettable=forgettable)

    def partial_fit(
        self,
        X: Any,
        y: Any = None,
        *,
        sample_weight: Any = None,
        sample_ids: Any = None,
        subject_ids: Any = None,
    ) -> Self:
        """Learn rows in all transformers: the inverse of `partial_forget`.

        Parameters
        ----------
        X, y, sample_weight, subject_ids
            As in `fit`.
        sample_ids : array-like of shape (n_samples,), int64 or str, default=None
            Ids that are not live; required once the union is fitted. A forgotten id may come back.

        Returns
        -------
        self : object
            The union, changed.
        """
        self._check_offered()
        return self._learn_rows(X, y, sample_weight, sample_ids, subject_ids)

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all transformers to rows and transform these.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows.
        """
        fitted = self.fit(X, y, **params)
        return fitted._published().apply(fitted._check_X(fitted, X, reset=False))

    def transform(self, X: Any) -> Any:
        """Transform rows by all transformers, and put the results side by side.

        Parameters
        ----------
        X : {array-like, data frame, sparse matrix} of shape (n_samples, n_features)
            Rows.

        Returns
        -------
        X_new : {ndarray, sparse matrix} of shape (n_samples, n_transformed_features)
            Transformed rows; sparse where any output is.
        """
        state: ColumnsState = self._published()
        return state.apply(self._check_X(self, X, reset=False))

    n_features_in_ = SchemaAttribute()
    feature_names_in_ = SchemaAttribute()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns that all transformers give.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the features; by default those of `fit`, or x0, x1, ...

        Returns
        -------
        feature_names_out : ndarray of str
            Names.
        """
        names: np.ndarray = super().get_feature_names_out(check_feature_names_in(self, input_features))
        return names

    def release(self) -> Any:
        """Return what to deploy: scikit-learn's own FeatureUnion of released transformers.

        Returns
        -------
        union : sklearn.pipeline.FeatureUnion
            Attributes of its transformers are bitwise those of this union's.

        Raises
        ------
        NotFittedError
            If the rows that are left do not determine a transform.
        """
        live = self._require_live()
        with live.lock:
            live.publish()
            steps = [(name, self._released(step, live)) for name, step in self.transformer_list]
        twin = sklearn.pipeline.FeatureUnion(steps, verbose_feature_names_out=self.verbose_feature_names_out)
        self._hand_on_output(twin)
        return twin

    # --- the contract ------------------------------------------------------------------------------------------------

    def _released(self, step: Any, live: Any) -> Any:
        """Return a released transformer; in place of "passthrough" what scikit-learn's puts there, fitted."""
        if step == "drop":
            return step
        if not isinstance(step, str):
            return step.release()
        twin = Unchanged()._native_twin(None, {})
        twin.n_features_in_ = live.n_features
        if live.feature_names is not None:
            twin.feature_names_in_ = live.feature_names.copy()
        return twin

    def _steps(self) -> list[Any]:
        return [as_step(step, self.on_foreign) for _, step in self.transformer_list if not isinstance(step, str)]

    def _map_steps(self, function: Callable[[Any], Any]) -> None:
        self.transformer_list = [(name, function(step)) for name, step in self.transformer_list]

    def _check_offered(self) -> None:
        self._validate_transformers()
        if self.transformer_weights is not None:
            raise ValueError(
                f"{type(self).__name__} does not offer transformer_weights. Nothing was changed. Put a step that "
                "scales behind the transformer."
            )
        named = [t for t in self.transformer_list if not isinstance(t[1], str)]
        check_steps(type(self).__name__, named, self.on_foreign)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y, y = "y" in options, options.pop("y", None)
        check_feature_names(estimator, X, reset=options["reset"])
        columns = None if options["reset"] else estimator._live.rows.columns
        X = as_rows(X, is_table=columns is not None)
        if columns is not None and X.shape[1] == len(columns.dtypes):
            X = columns.with_numbers(X)
        if not options["reset"] and X.shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self).__name__} is expecting {estimator.n_features_in_} "
                "features as input."
            )
        return (X, None if self._targets_step() is None else y) if has_y else X

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        params = super()._frozen_params(schema)
        params["transformer_list"] = [
            (name, step if isinstance(step, str) else frozen_step(step, on_foreign=self.on_foreign))
            for name, step in self.transformer_list
        ]
        return params

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> ColumnsCore:
        columns = list(range(int(rows.native.n_features)))
        side_by_side = {
            "transformers": [(name, step, columns) for name, step in params["transformer_list"]],
            "remainder": "drop",
            "sparse_threshold": np.inf,
            "on_foreign": params["on_foreign"],
        }
        return ColumnsCore(type(self).__name__, side_by_side, len(columns))

    def _adopt(self, live: Any) -> None:
        super()._adopt(live)
        fitted, position = [], 0
        for name, step in self.transformer_list:
            if not isinstance(step, str):
                step = adopted(step, self.on_foreign, live, position)
            position += not (isinstance(step, str) and step == "drop")
            fitted.append((name, step))
        self.transformer_list = fitted

    def _cost_of_forgetting(self) -> str:
        return "that of the transformers"

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True  # each transformer says for itself what it takes
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self._live is not None:
            state["transformer_list"] = [
                (name, step if isinstance(step, str) else clone(step)) for name, step in self.transformer_list
            ]
        return state


def make_union(*transformers: Any, **params: Any) -> FeatureUnion:
    """Return a `FeatureUnion` of transformers that are named after their classes.

    Parameters
    ----------
    *transformers : transformers
        The transformers.
    **params : dict
        Other parameters of `FeatureUnion`.

    Returns
    -------
    union : FeatureUnion

    Examples
    --------
    >>> from skunlearn.preprocessing import MinMaxScaler, StandardScaler
    >>> [name for name, _ in make_union(StandardScaler(), MinMaxScaler()).transformer_list]
    ['standardscaler', 'minmaxscaler']
    """
    return FeatureUnion(sklearn.pipeline.make_union(*transformers).transformer_list, **params)
