"""The contract with users, once: what scikit-learn's estimators gain here.

An estimator of this library is a scikit-learn estimator with `ForgetMixin` in front. It says how its input is checked,
makes a core, and names the fitted attributes that the core publishes; rows, ids, locking, commits, persistence and
equality come from here and from `skunlearn.live`.
"""

import sys
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.multiclass import check_classification_targets

from skunlearn import persistence
from skunlearn._faults import fault_point
from skunlearn.class_codes import ClassCodes, distinct_labels
from skunlearn.columns import Columns, TableRows
from skunlearn.exceptions import (
    ForgettingDisabledError,
    MissingSampleIdsError,
    OwnedStepError,
    SampleIdValueError,
)
from skunlearn.guarantee import Guarantee
from skunlearn.ids import IdKind, Ids, parse_ids
from skunlearn.key import Key, key_from_random_state
from skunlearn.live import VALUE_FREE_PARAMETERS, Core, ForgetReport, IncomingRows, LiveModel
from skunlearn.rows import RowStore, estimate_index_nbytes, estimate_rows_nbytes
from skunlearn.targets import Labels, Targets, Values
from skunlearn.utils._sklearn_compat import check_sample_weight

__all__ = ["ForgetMixin", "MemoryEstimate", "SchemaAttribute", "fitted_attribute"]


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes that a model would hold.

    Parameters
    ----------
    rows : int
        Values, targets and weights.
    index : int
        Sample ids, subject ids, the indices over them, and row tags.
    core : int
        What the algorithm derives.
    """

    rows: int
    index: int
    core: int

    @property
    def total(self) -> int:
        """All of it, in bytes."""
        return self.rows + self.index + self.core


class fitted_attribute:
    """A fitted attribute: a lazy view of the state that the model publishes.

    It is no data descriptor, so that scikit-learn's validation may set the attributes of a schema on a bare instance.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        return self if model is None else getattr(model._published(), self._name)


class SchemaAttribute(fitted_attribute):
    """An attribute that describes the columns; it outlives the last row."""

    def __get__(self, model: Any, owner: type | None = None) -> Any:
        if model is None:
            return self
        live = model._require_live()
        value = live.n_features if self._name == "n_features_in_" else live.feature_names
        if value is None:
            raise AttributeError(f"This {type(model).__name__} was fitted on columns without names.")
        return value


class ForgetMixin(BaseEstimator):
    """Mixin for estimators that forget rows: the inverse of `partial_fit`, under a guarantee.

    A subclass defines `_make_core`, `_check_X`, `_native_twin`, its constructor and its `fit` and `partial_fit` with
    scikit-learn's signatures, which call `_fit_rows` and `_learn_rows`.
    """

    # A class default: before `fit`, `__dict__` holds parameters only.
    _live: LiveModel | None = None

    #: Whether rows get a keyed tag each: for cores that draw random numbers.
    _tags_rows = False

    n_features_in_ = SchemaAttribute()
    feature_names_in_ = SchemaAttribute()

    # --- what a subclass defines -------------------------------------------------------------------------------------

    @abstractmethod
    def _make_core(self, params: dict[str, Any], rows: RowStore) -> Core:
        """Return a core without rows, under parameters frozen at `fit`, for rows such as `rows` is to hold."""

    @abstractmethod
    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        """Validate X (and y, where `options` has it) through scikit-learn's `validate_data` on `estimator`.

        Where `estimator` is fitted, its frozen parameters hold and not those that were set since.
        """

    @abstractmethod
    def _native_twin(self, state: Any, params: dict[str, Any]) -> Any:
        """Return scikit-learn's own estimator holding `state`."""

    @abstractmethod
    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        """Estimate the size in bytes of the core for rows like `X`."""

    # --- learning ----------------------------------------------------------------------------------------------------

    def _fit_rows(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        sample_ids: Any,
        subject_ids: Any,
        *,
        classes: Any = None,
        forgettable: bool = True,
    ) -> Self:
        """Fit on these rows alone; the model changes as a whole at the end, or not at all."""
        schema = object.__new__(type(self))
        schema.__dict__.update(self.get_params(deep=False))
        X, y = self._check_X(schema, X, y=y, reset=True)
        incoming = self._incoming(X, y, sample_weight, sample_ids, subject_ids)
        if incoming.weight is not None and not incoming.weight.any():
            raise ValueError(
                "The sample_weight of every row is zero, so there is nothing to fit. Nothing was changed. Give at "
                "least one row a weight above zero."
            )
        params, targets = self._frozen_params(schema), self._targets_like(incoming.y, classes)
        key = self._key_to_fit_with()
        rows = self._new_store(incoming, X, targets, key)
        live = LiveModel(
            model_name=type(self).__name__,
            params=params,
            feature_names=vars(schema).get("feature_names_in_"),
            key=key,
            rows=rows,
            targets=targets,
            core=self._make_core(params, rows),
        )
        fault_point("fit.validated")
        live.learn(incoming)
        live.prepare()
        live.core.warn_after_fit(live)
        if not forgettable:
            live.drop_rows()
        fault_point("fit.built")
        self._adopt(live)
        return self

    def _adopt(self, live: Any) -> None:
        """Be the model `live` from now on."""
        self._live = live

    def _learn_rows(
        self, X: Any, y: Any, sample_weight: Any, sample_ids: Any, subject_ids: Any, *, classes: Any = None
    ) -> Self:
        """Learn rows on top of the live ones, or fit where there is no model yet."""
        live = self._live
        if live is None:
            declared = getattr(self, "classes", None) if classes is None else classes
            return self._fit_rows(X, y, sample_weight, sample_ids, subject_ids, classes=declared)
        self._check_forgettable(live)
        X, y = self._check_X(self, X, y=y, reset=False)
        self._check_same_classes(live, classes)
        if sample_ids is None:
            raise MissingSampleIdsError(
                f"This {type(self).__name__} is fitted, so partial_fit needs sample_ids: the new rows could not be "
                "told from the old ones. Nothing was changed. Pass one new id a row."
            )
        with live.lock:
            live.learn(self._incoming(X, y, sample_weight, sample_ids, subject_ids, live.rows))
        return self

    def _incoming(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        sample_ids: Any,
        subject_ids: Any,
        store: RowStore | None = None,
    ) -> IncomingRows:
        """Check what stands beside X, and bring everything into the form of `store`."""
        return IncomingRows(
            X=X if store is None else _in_layout_of(store, X),
            y=None if y is None else self._checked_targets(y),
            weight=_check_weight(sample_weight, X),
            sample_ids=_check_ids(sample_ids, "sample_ids", X.shape[0], None if store is None else store.id_kind),
            subject_ids=_check_subjects(subject_ids, X.shape[0], store),
        )

    def _checked_targets(self, y: Any) -> Any:
        return _checked_labels(y) if is_classifier(self) else _checked_values(y)

    def _targets_type(self, params: Any) -> type[Targets]:
        """Return what stands beside the values of a row, under parameters of a saved model, not yet checked."""
        if is_classifier(self):
            return Labels
        return Values if is_regressor(self) else Targets

    def _targets_like(self, y: Any, classes: Any) -> Targets:
        if y is None:
            return Targets()
        return Labels(ClassCodes(classes)) if is_classifier(self) else Values.like(y)

    def _new_store(self, incoming: IncomingRows, X: Any, targets: Targets, key: Key) -> RowStore:
        return RowStore(
            id_kind="range" if incoming.sample_ids is None else _kind(incoming.sample_ids),
            subject_kind=None if incoming.subject_ids is None else _kind(incoming.subject_ids),
            layout="csr" if sp.issparse(X) else "dense",
            dtype=np.float64 if isinstance(X, TableRows) else X.dtype,
            n_features=X.shape[1],
            n_targets=targets.n_columns,
            tag_key=key if self._tags_rows else None,
            model_name=type(self).__name__,
            columns=Columns(X.dtypes) if isinstance(X, TableRows) else None,
        )

    def _key_to_fit_with(self) -> Key:
        return key_from_random_state(getattr(self, "random_state", None))

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        """Return a private copy of the parameters that a model is a function of.

        `schema` is the bare instance on which `_check_X` has seen the columns.
        """
        params = self.get_params(deep=False)
        return {name: clone(params[name], safe=False) for name in sorted(params) if name not in VALUE_FREE_PARAMETERS}

    def _check_same_classes(self, live: LiveModel, classes: Any) -> None:
        if classes is None:
            return
        named = distinct_labels(classes)[0].tolist()
        if named != live.codes.declared and named != live.codes.classes()[1].tolist():
            raise ValueError(
                "classes is not what this model was fitted with. Nothing was changed. Leave it out after the first "
                "partial_fit, or fit anew."
            )

    # --- forgetting --------------------------------------------------------------------------------------------------

    def partial_forget(self, sample_ids: Any = None, *, subject_ids: Any = None, on_unknown: str = "raise") -> Self:
        """Forget rows, by their ids or by whose they are.

        Afterwards the model equals, bit for bit, one fitted with the same key on the rows that are left. A deletion is
        never refused: where the rows that are left do not determine a model, it keeps them, reading raises an error
        that says what is missing, and `partial_fit` revives it.

        Parameters
        ----------
        sample_ids : array-like of shape (n_requested,), int64 or str, default=None
            Rows to forget, by ids of the kind given to `fit`. Repeats count once; an empty array does nothing.
        subject_ids : array-like of shape (n_subjects,), int64 or str, default=None
            Forget all rows of these subjects, as one batch.
        on_unknown : {"raise", "ignore"}, default="raise"
            What to do with ids that are not live. The model keeps no list of what it forgot, so "never seen" and
            "already forgotten" are the same case.

        Returns
        -------
        self : object
            The model, changed.

        Raises
        ------
        UnknownSampleError
            If ``on_unknown="raise"`` and any id is not live; its attribute `ids` holds them. The model is unchanged.
        SampleIdTypeError, SampleIdValueError
            If the ids are no ids, or not of the kind given to `fit`. The model is unchanged.
        ForgettingDisabledError
            If the model was fitted with ``forgettable=False``.
        NotFittedError
            If it was not fitted.

        Warns
        -----
        ClassVanishedWarning
            Before anything changes, if a class loses its last row.
        """
        live = self._require_live()
        self._check_forgettable(live)
        with live.lock:
            live.forget(live.rows.select(sample_ids, subject_ids, on_unknown))
        return self

    def flush(self) -> Self:
        """Do now what forgetting has put off until the next read.

        Returns
        -------
        self : object
            The model.
        """
        live = self._require_live()
        with live.lock:
            live.settle()
        return self

    def reseed(self) -> Self:
        """Draw a new key from the operating system.

        "Equal to a refit" means a refit with the same key. Against a requester who chose what to forget after seeing
        the model, that is not the same as a refit with fresh randomness; afterwards it is.

        Returns
        -------
        self : object
            The model under its new key, rebuilt at the next read where it makes random choices.
        """
        live = self._require_live()
        self._check_forgettable(live)
        with live.lock:
            live.reseed(Key.draw())
        return self

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def guarantee_(self) -> Guarantee:
        """What this model promises about the rows it forgot."""
        self._require_live()
        return Guarantee(
            kind="exact",
            basis="equal bit for bit to a refit with the same key on the rows that are left; integer state only",
        )

    @property
    def forget_report_(self) -> ForgetReport:
        """What the last `partial_forget` did."""
        report = self._require_live().report
        if report is None:
            raise AttributeError(f"This {type(self).__name__} was not asked to forget anything since it was fitted.")
        return report

    @property
    def n_live_(self) -> int:
        """How many rows the model holds, those of weight 0 included."""
        return self._require_live().n_rows

    def release(self) -> Any:
        """Return what to deploy: a scikit-learn estimator that holds no rows, no ids and no key.

        Returns
        -------
        estimator : object
            An estimator of scikit-learn's own class. Its attributes are bitwise those of the model.

        Raises
        ------
        NotFittedError
            If the rows that are left do not determine a model.
        """
        live = self._require_live()
        with live.lock:  # a twin may read on in the version that is published
            twin = self._native_twin(live.publish(), live.params)
        twin.n_features_in_ = live.n_features
        if live.feature_names is not None:
            twin.feature_names_in_ = live.feature_names.copy()
        self._hand_on_output(twin)
        return twin

    def _hand_on_output(self, twin: Any) -> None:
        """Let a release give what `set_output` chose."""
        if "_sklearn_output_config" in vars(self):
            twin._sklearn_output_config = dict(vars(self)["_sklearn_output_config"])

    def estimate_memory(
        self, X: Any, *, n_classes: int = 2, n_targets: int = 1, sample_ids: Any = None
    ) -> MemoryEstimate:
        """Say how much memory a model of these rows would hold, before anything is allocated.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Rows, of which nothing is kept. Numbers; they need not have the dtype in which they will be stored.
        n_classes : int, default=2
            Number of classes, for classifiers.
        n_targets : int, default=1
            Number of targets, for regressors.
        sample_ids : array-like of shape (n_samples,), default=None
            The ids; None stands for those that cost nothing.

        Returns
        -------
        estimate : MemoryEstimate
            Sizes in bytes. `fit` itself needs, for a moment, a validated copy of the input on top.
        """
        X = X.tocsr() if sp.issparse(X) else np.asanyarray(X)
        if self._targets_type(self.get_params(deep=False)) is Targets:
            n_targets = 0
        ids = None if sample_ids is None else parse_ids(sample_ids, "sample_ids")
        return MemoryEstimate(
            rows=estimate_rows_nbytes(X, self._stored_dtype(X), n_targets),
            index=estimate_index_nbytes(X.shape[0], ids, with_tags=self._tags_rows),
            core=self._core_nbytes(X, n_classes, n_targets),
        )

    def _stored_dtype(self, X: Any) -> np.dtype:
        """Return the dtype in which values like those of `X` are kept."""
        return np.dtype(np.float32 if X.dtype == np.float32 else np.float64)

    @property
    def _stores_nan(self) -> bool:
        """Whether rows may hold NaN."""
        return bool(get_tags(self).input_tags.allow_nan)

    def __sklearn_is_fitted__(self) -> bool:
        return self._live is not None and not self._live.is_empty

    def _require_live(self) -> LiveModel:
        if self._live is None:
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' with appropriate arguments before "
                "using this estimator."
            )
        return self._live

    def _published(self) -> Any:
        return self._require_live().publish()

    def _check_forgettable(self, live: LiveModel) -> None:
        if live.is_owned:
            raise OwnedStepError(
                f"The rows of this {type(self).__name__} belong to the composite that it is a step of. Nothing was "
                "changed. Learn, forget, save and compare there; release() gives a copy that stands alone."
            )
        if not live.forgettable:
            raise ForgettingDisabledError(
                f"This {type(self).__name__} was fitted with forgettable=False and kept no rows, so it can neither "
                "forget nor learn. Nothing was changed. Fit it anew without that."
            )

    def _cost_of_forgetting(self) -> str:
        """Say what the work of forgetting is proportional to."""
        return "the rows that go, not the rows that stay"

    # --- saving ------------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        state = {sys.intern(name): value for name, value in vars(self).items()}
        if self._live is not None:
            if self._live.is_owned:
                self._check_forgettable(self._live)
            state["_live"] = persistence.save(self._live)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = {**state}
        saved = state.pop("_live", None)
        live = None if saved is None else persistence.load(self, saved)
        self.__dict__.update(state)
        if live is not None:
            self._adopt(live)


def _kind(ids: Ids) -> IdKind:
    return "str" if isinstance(ids, list) else "int64"


def _checked_labels(y: Any) -> Any:
    try:
        check_classification_targets(y)
    except TypeError:  # labels without an order
        distinct_labels(y)
        raise
    return y


def _checked_values(y: Any) -> np.ndarray:
    """Return y as float64: scikit-learn has checked that it is finite, and lets text pass."""
    if sp.issparse(y):
        raise TypeError("y is sparse, and must be dense. Nothing was changed. Convert it with toarray().")
    try:
        return np.ascontiguousarray(y, dtype=np.float64)
    except ValueError:
        raise ValueError("y holds values that are no numbers. Nothing was changed. Convert it to float.") from None


def _check_ids(ids: Any, name: str, n_rows: int, expected: str | None) -> Ids | None:
    if ids is None:
        return None
    parsed = parse_ids(ids, name, expected=expected)
    if len(parsed) != n_rows:
        raise SampleIdValueError(
            f"{name} has {len(parsed)} ids for {n_rows} rows. Nothing was changed. Pass one id a row."
        )
    return parsed


def _check_subjects(ids: Any, n_rows: int, store: RowStore | None) -> Ids | None:
    if ids is not None and store is not None and store.subject_kind is None:
        raise SampleIdValueError(
            "This model was fitted without subject_ids, so new rows cannot have any. Nothing was changed. Leave them "
            "out, or fit anew with the subjects of all rows."
        )
    return _check_ids(ids, "subject_ids", n_rows, None if store is None else store.subject_kind)


def _check_weight(sample_weight: Any, X: Any) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weight = check_sample_weight(sample_weight, X, dtype=np.float64)
    n_negative = int(np.count_nonzero(weight < 0))
    if n_negative:
        raise ValueError(
            f"{n_negative} of {len(weight)} sample weights are negative. Nothing was changed. Weights must be finite "
            "and at least 0; forget a row instead of giving it a negative weight."
        )
    return None if (weight == 1.0).all() else weight


def _in_layout_of(store: RowStore, X: Any) -> Any:
    if store.columns is not None:
        return store.columns.conform(X)
    if store.native.layout == "csr":
        X = sp.csr_array(X)
    elif sp.issparse(X):
        X = X.toarray()
    return _narrowed(X, store.native.dtype)


def _narrowed(X: Any, dtype: str) -> Any:
    """Return X as float32 where the store holds float32; what does not fit is refused."""
    if X.dtype == dtype:
        return X
    with np.errstate(over="ignore", under="ignore"):
        narrow = X.astype(dtype)
    wide, values = (X.data, narrow.data) if sp.issparse(narrow) else (X, narrow)
    n_lost = int(np.count_nonzero(np.isinf(values) | ((values == 0) & (wide != 0))))
    if n_lost:
        raise ValueError(
            f"{n_lost} of {values.size} values of X are too large or too small for {dtype}, which this model was "
            "fitted on. Nothing was changed. Scale them, or fit anew on float64."
        )
    return narrow
