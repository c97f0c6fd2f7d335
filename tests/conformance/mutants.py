"""Estimators that are wrong on purpose, each in one way. Every one must be rejected by the check that is named for it.

Each is a correct estimator but for the lines that are here; the docstring says what is wrong.
"""

import copy
import json
import pickle
import threading
import warnings
from typing import Any

import numpy as np

from skunlearn._linalg.moments import Moments
from skunlearn.class_codes import ClassCodes
from skunlearn.cluster import KMeans
from skunlearn.cluster._kmeans_core import KMeansCore
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis
from skunlearn.exceptions import DegenerateRowsError, SkunlearnWarning, UnknownSampleError
from skunlearn.linear_model import Ridge, RidgeClassifier, RidgeCV
from skunlearn.linear_model._ridge_classifier import _RidgeClassifierCore
from skunlearn.linear_model._ridge_cv import _RidgeCVCore
from skunlearn.live import LiveModel
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB
from skunlearn.naive_bayes._bernoulli import _BernoulliCore
from skunlearn.naive_bayes._categorical import _CategoricalCore
from skunlearn.rows import RowStore


class _Patched(BernoulliNB):
    """A BernoulliNB whose live model is of another class, which has other methods, but no other attributes."""

    _live_class: type = LiveModel

    @property
    def _live(self) -> Any:
        return vars(self).get("_live")

    @_live.setter
    def _live(self, live: Any) -> None:
        live.__class__ = self._live_class
        vars(self)["_live"] = live


def _quietly(method: Any, *args: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkunlearnWarning)
        return method(*args)


class ForgetsNothing(BernoulliNB):
    """It checks the request, and keeps the rows."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        self._require_live().rows.select(sample_ids, subject_ids, on_unknown)
        return self


class ForgetsPublicly(BernoulliNB):
    """What it says is that of a model which forgot; the rows are still there."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        twin = BernoulliNB(**self.get_params(deep=False))
        twin._live = copy.deepcopy(self)._live
        twin.partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        if twin.n_live_:
            self._live.published = twin._published()
        return self


class FirstRowOfSubject(BernoulliNB):
    """Of every subject it forgets the first row only."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        if subject_ids is None:
            return super().partial_forget(sample_ids, on_unknown=on_unknown)
        live = self._require_live()
        selection = live.rows.select(sample_ids, subject_ids, on_unknown)
        owners = live.rows.subjects(selection.slots)[0]
        first = sorted({owner: i for i, owner in reversed(list(enumerate(list(owners))))}.values())
        live.forget(selection._replace(slots=selection.slots[first]))
        return self


class _Wrapped:
    """A core around another one; what it does not define goes to that one."""

    def __init__(self, core: Any) -> None:
        self.core = core

    def __getattr__(self, name: str) -> Any:
        if name == "core":
            raise AttributeError(name)
        return getattr(self.core, name)

    def _learn(self, block):
        self.core._learn(block)

    def _forget(self, block):
        self.core._forget(block)

    def _rebuild(self, owner):
        self.core._rebuild(owner)


class _FloatSumCore(_Wrapped):
    def __init__(self, core: Any) -> None:
        super().__init__(core)
        self.total = 0.0

    def _move(self, block, sign):
        X = block.X if isinstance(block.X, np.ndarray) else block.X.data
        self.total += sign * float(np.asarray(X, dtype=np.float64).sum() * 0.1)

    def _learn(self, block):
        super()._learn(block)
        self._move(block, 1)

    def _forget(self, block):
        super()._forget(block)
        self._move(block, -1)

    def _rebuild(self, owner):
        self.total = 0.0
        self.core._rebuild(owner)
        for block in owner.effective_blocks():
            self._move(block, 1)

    def digest_parts(self, owner):
        return [*self.core.digest_parts(owner), np.float64(self.total).tobytes()]


class FloatSums(BernoulliNB):
    """It keeps a running float sum over rows, which drifts."""

    def _make_core(self, params, rows):
        return _FloatSumCore(super()._make_core(params, rows))


class OverclaimsExact(FloatSums):
    """It claims to be exact on sums that are only close."""


class _StreamCore(_Wrapped):
    def __init__(self, core: Any) -> None:
        super().__init__(core)
        self.stream = np.random.RandomState(0)
        self.drawn = 0.0

    def _learn(self, block):
        super()._learn(block)
        self.drawn = self.stream.random_sample()

    def digest_parts(self, owner):
        return [*self.core.digest_parts(owner), np.float64(self.drawn).tobytes()]


class RandomStream(BernoulliNB):
    """It draws from a stream, so what is drawn for a row depends on the calls before."""

    def _make_core(self, params, rows):
        return _StreamCore(super()._make_core(params, rows))


class TieByPosition(BernoulliNB):
    """Of classes of equal weight it prefers the one whose row lies first."""

    @property
    def majority_(self):
        live, published = self._require_live(), self._published()
        largest = published.class_count_ == published.class_count_.max()
        codes = [block.y[:, 0].astype(int) for block in live.rows.blocks_in_order("insertion")]
        labels = live.codes.decode(np.concatenate(codes))
        return next(label for label in labels.tolist() if label in published.classes_[largest].tolist())


class _StickyCodes(ClassCodes):
    def prune(self):
        pass

    def classes(self):
        live = [c for c, label in enumerate(self._labels) if label is not None]
        live.sort(key=self._labels.__getitem__)
        return np.array(live, dtype=np.intp), self._as_array([self._labels[c] for c in live])


class ClassStays(BernoulliNB):
    """A class that lost its last row stays in classes_."""

    def _fit_rows(self, *args, **kwargs):
        super()._fit_rows(*args, **kwargs)
        self._live.codes.__class__ = _StickyCodes
        return self


class _StickyCategories(_CategoricalCore):
    def _learn(self, block):
        super()._learn(block)
        self._min_categories = np.maximum(self._min_categories, self._counts.n_categories())


class CategoryStays(CategoricalNB):
    """A category that lost its last row still counts."""

    def _make_core(self, params, rows):
        return _StickyCategories(type(self).__name__, params, rows.native.n_features)

    def _fit_rows(self, *args, **kwargs):
        super()._fit_rows(*args, **kwargs)
        self._live.published = None
        return self


class KeepsTombstones(BernoulliNB):
    """It keeps a list of what it forgot."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        if sample_ids is not None:
            self._forgotten = [*vars(self).get("_forgotten", []), *sample_ids]
        return self


class KeepsCounter(BernoulliNB):
    """It counts how often it was asked to forget."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        self._n_forgets = vars(self).get("_n_forgets", 0) + 1
        return self


class KeepsCapacity(BernoulliNB):
    """Its saved form has room for as many rows as there ever were."""

    def __getstate__(self):
        capacity = max(vars(self).get("_capacity", 0), self.n_live_)
        vars(self)["_capacity"] = capacity
        return {**super().__getstate__(), "_spare": bytes(capacity)}

    def partial_forget(self, *args, **kwargs):
        vars(self)["_capacity"] = max(vars(self).get("_capacity", 0), self.n_live_)
        return super().partial_forget(*args, **kwargs)


class _UnweightedForget(_BernoulliCore):
    def _forget(self, block):
        self._add(type(block)(block.slots, block.X, block.y), -1)


class WeightIgnored(BernoulliNB):
    """It forgets every row as if its weight were 1."""

    def _make_core(self, params, rows):
        return _UnweightedForget(type(self).__name__, params, rows.native.n_features)


class _UnitForget(_BernoulliCore):
    def _forget(self, block):
        if block.weight is not None:
            block = block.take(block.weight == 1.0)
        if len(block):
            super()._forget(block)


class ForgetsUnitWeights(BernoulliNB):
    """It forgets the rows of weight 1 only."""

    def _make_core(self, params, rows):
        return _UnitForget(type(self).__name__, params, rows.native.n_features)


class HalfDone(BernoulliNB):
    """It forgets id by id, until it meets one that it does not know."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        parsed = self._require_live()
        is_list = isinstance(sample_ids, (list, np.ndarray)) and len(sample_ids) > 1
        if not is_list or len(set(map(type, list(sample_ids)))) > 1 or subject_ids is not None:
            return super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        unknown = []
        for i in list(sample_ids):
            try:
                super().partial_forget([i], on_unknown=on_unknown)
            except UnknownSampleError as error:
                unknown += error.ids
        if unknown:
            raise UnknownSampleError(f"{len(unknown)} ids are not live in {parsed.model_name}.", unknown)
        return self


class _NeverStale(LiveModel):
    __slots__ = ()

    def _mark_stale(self):
        self.published = None


class NeverStale(_Patched):
    """An error after the commit leaves a model in which the rows are gone and their counts are not."""

    _live_class = _NeverStale


class _EarlyErase(LiveModel):
    __slots__ = ()

    def forget(self, selection):
        block = self.rows.take(selection.slots)
        self._mark_stale()
        self.rows.erase(selection.slots)
        if block.y is not None and len(block):
            self._warn_before_forget(block)
        self.report = None


class WarnsAfterCommit(_Patched):
    """Its warning comes when the rows are gone already."""

    _live_class = _EarlyErase


class _Silent(LiveModel):
    __slots__ = ()

    def _warn_before_forget(self, block):
        pass


class NeverWarns(_Patched):
    """A class vanishes without a word."""

    _live_class = _Silent


class _UnhashedRows(RowStore):
    __slots__ = ()

    def blocks_in_order(self, by, *args, **kwargs):
        return iter(()) if by == "id" else super().blocks_in_order(by, *args, **kwargs)


class DigestWithoutRows(BernoulliNB):
    """Its digest sees what is derived from the rows, and not the rows."""

    def _new_store(self, *args):
        store = super()._new_store(*args)
        store.__class__ = _UnhashedRows
        return store


class ReleaseKeepsIds(BernoulliNB):
    """Its release remembers the ids."""

    def release(self):
        released = super().release()
        rows = self._live.rows
        released.ids_ = [block.ids for block in rows.blocks_in_order("id")]
        return released


class ReleaseKeepsKey(BernoulliNB):
    """Its release remembers the key."""

    def release(self):
        released = super().release()
        released.key_ = self._live.key._secret
        return released


class ReleaseIsView(BernoulliNB):
    """Its release is another model than itself."""

    def release(self):
        released = super().release()
        released.feature_log_prob_ = released.feature_log_prob_ * (1 + 1e-6)
        return released


class StaleCache(BernoulliNB):
    """It answers a question again as it answered it before."""

    def predict_proba(self, X):
        cache = self.__dict__.setdefault("_cache", {})
        asked = np.asarray(X).tobytes()
        if asked not in cache:
            cache[asked] = super().predict_proba(X)
        return cache[asked]

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_cache"}


class JobsShow(BernoulliNB):
    """It adds floats in as many parts as it has jobs."""

    def __init__(
        self, *, alpha=1.0, force_alpha=True, binarize=0.0, fit_prior=True, class_prior=None, classes=None, n_jobs=None
    ):
        super().__init__(
            alpha=alpha,
            force_alpha=force_alpha,
            binarize=binarize,
            fit_prior=fit_prior,
            class_prior=class_prior,
            classes=classes,
        )
        self.n_jobs = n_jobs

    def _native_twin(self, state, params):
        return super()._native_twin(state, {name: value for name, value in params.items() if name != "n_jobs"})

    @property
    def mean_(self):
        values = np.concatenate([block.X.ravel() for block in self._live.rows.blocks()]) * 0.1 + 0.7
        parts = np.array_split(values, self.n_jobs or 1)
        return float(sum(float(np.add.accumulate(part)[-1]) for part in parts))


class NoLock(BernoulliNB):
    """Two threads find the slots of their rows, and then both use what only the first may rely on."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        live = self._require_live()
        selection = live.rows.select(sample_ids, subject_ids, on_unknown)
        if threading.current_thread() is not threading.main_thread():
            threading.Event().wait(0.001)
        live.forget(selection)
        return self


class SavesStale(BernoulliNB):
    """It puts deletions off, and is saved before they are done."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        self._live.rows.select(sample_ids, subject_ids, on_unknown)
        vars(self).setdefault("_pending", []).append((sample_ids, subject_ids))
        return self

    def _require_live(self):
        live = super()._require_live()
        for sample_ids, subject_ids in vars(self).pop("_pending", []):
            _quietly(live.forget, live.rows.select(sample_ids, subject_ids, "ignore"))
        return live


class LoadsDamaged(BernoulliNB):
    """A saved model that does not load is taken for an empty one."""

    def __setstate__(self, state):
        try:
            super().__setstate__(state)
        except ValueError:
            vars(self).update({name: value for name, value in state.items() if name != "_live"})


class SavesNoSubjects(BernoulliNB):
    """A saved model no longer knows whose rows it has."""

    def __getstate__(self):
        live = self._live
        if live is None or live.rows.subject_kind is None:
            return super().__getstate__()
        twin = BernoulliNB(**self.get_params(deep=False))
        at = np.arange(len(live.rows), dtype=np.uint32)
        block = live.rows.take(at, with_ids=True)
        labels = live.codes.decode(block.y[:, 0].astype(int))
        X = block.X if isinstance(block.X, np.ndarray) else None
        twin.fit(X, labels, sample_weight=block.weight, sample_ids=block.ids, subject_ids=[f"x{i}" for i in at])
        return {**super().__getstate__(), "_live": twin.__getstate__()["_live"]}


class IdsInErrors(BernoulliNB):
    """It says which ids it does not know."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        try:
            return super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        except UnknownSampleError as error:
            raise UnknownSampleError(f"not live: {error.ids}", error.ids) from None


class ValuesInErrors(CategoricalNB):
    """It says how heavy the rows are that it cannot forget."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        weights = [block.weight for block in self._live.rows.blocks()]
        try:
            return super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        except UnknownSampleError as error:
            first = None if not weights or weights[0] is None else weights[0].tolist()
            raise UnknownSampleError(f"unknown, beside rows of weight {first}", error.ids) from None


class KeyInRepr(BernoulliNB):
    """Its repr shows the key."""

    def __repr__(self, N_CHAR_MAX=700):
        key = "" if self._live is None else f", key={self._live.key._secret.hex()}"
        return f"KeyInRepr({json.dumps(key)})"


class RefusesLastRow(BernoulliNB):
    """It refuses to forget its last row."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        going = self._live.rows.select(sample_ids, subject_ids, on_unknown).slots
        if len(going) and len(going) == self.n_live_:
            raise ValueError("The last row cannot be forgotten.")
        return super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)


class MemoryOrder(BernoulliNB):
    """It takes the values as they lie in memory."""

    def _check_X(self, estimator, X, **options):
        in_fortran_order = isinstance(X, np.ndarray) and X.flags.f_contiguous and not X.flags.c_contiguous
        checked = super()._check_X(estimator, X, **options)
        if in_fortran_order and isinstance(checked, tuple):
            return np.ascontiguousarray(checked[0].ravel(order="K").reshape(checked[0].shape)), checked[1]
        return checked


class RemembersReturn(BernoulliNB):
    """An id that was forgotten and came back is not forgotten a second time."""

    def partial_forget(self, sample_ids=None, *, subject_ids=None, on_unknown="raise"):
        gone = vars(self).setdefault("_gone", set())
        if sample_ids is None or subject_ids is not None:
            return super().partial_forget(sample_ids, subject_ids=subject_ids, on_unknown=on_unknown)
        self._live.rows.select(sample_ids, None, on_unknown)
        again = gone.intersection(list(sample_ids))
        gone.update(list(sample_ids))
        return super().partial_forget([i for i in list(sample_ids) if i not in again], on_unknown=on_unknown)

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_gone"}

    def __deepcopy__(self, memo):
        twin = pickle.loads(pickle.dumps(self))
        vars(twin)["_gone"] = set(vars(self).get("_gone", ()))
        return twin


class WeightSquared(BernoulliNB):
    """A row of weight k counts as k * k rows."""

    def _incoming(self, X, y, sample_weight, sample_ids, subject_ids, store=None):
        squared = None if sample_weight is None else np.asarray(sample_weight, dtype=float) ** 2
        return super()._incoming(X, y, squared, sample_ids, subject_ids, store)


class StaleProjection(PCA):
    """It transforms with the components of the first time."""

    def transform(self, X):
        first = vars(self).setdefault("_first", self._published())
        return first.apply(self._check_X(self, X, reset=False))


class _StickyStateCore(_Wrapped):
    last = None

    def publish(self, owner):
        try:
            self.last = self.core.publish(owner)
        except DegenerateRowsError:
            if self.last is None:
                raise
        return self.last


class AnswersAsBefore(LinearDiscriminantAnalysis):
    """Where the rows that are left determine no model, it goes on answering with the last one."""

    def _make_core(self, params, rows):
        return _StickyStateCore(super()._make_core(params, rows))


# --- models of exact moments -----------------------------------------------------------------------------------------


class _FloatGramCore(_Wrapped):
    def __init__(self, core: Any) -> None:
        super().__init__(core)
        self.gram: Any = 0.0

    def _move(self, block, sign):
        X = block.X if isinstance(block.X, np.ndarray) else block.X.data[:, None]
        self.gram = self.gram + sign * (0.1 * X.T @ X)

    def _learn(self, block):
        super()._learn(block)
        self._move(block, 1)

    def _forget(self, block):
        super()._forget(block)
        self._move(block, -1)

    def _rebuild(self, owner):
        super()._rebuild(owner)
        self.gram = 0.0
        for block in owner.effective_blocks():
            self._move(block, 1)

    def digest_parts(self, owner):
        return [*self.core.digest_parts(owner), np.asarray(self.gram, dtype=np.float64).tobytes()]


class FloatGram(Ridge):
    """It keeps its Gram matrix in floats, and takes x x' away again."""

    def _make_core(self, params, rows):
        return _FloatGramCore(super()._make_core(params, rows))


class _StickyScales(Moments):
    def _loose(self):
        return np.zeros(self.n_columns, dtype=bool)


class ScaleStays(Ridge):
    """A column keeps the scale of its largest value when that has gone."""

    def _make_core(self, params, rows):
        core = super()._make_core(params, rows)
        core._moments.__class__ = _StickyScales
        return core


class _BalancedOnce(_RidgeClassifierCore):
    def _weights(self, labels, counts):
        kept = vars(self).setdefault("kept", {})
        for label, weight in zip(labels, super()._weights(labels, counts), strict=True):
            kept.setdefault(label, weight)
        return [kept[label] for label in labels]

    def _rebuild(self, owner):
        vars(self).pop("kept", None)
        super()._rebuild(owner)


class BalancedOnce(RidgeClassifier):
    """Its balanced class weights are those of the rows that it was fitted on."""

    def _make_core(self, params, rows):
        return _BalancedOnce(type(self).__name__, params, rows.native.n_features)


class _ChoosesOnce(_RidgeCVCore):
    def _choose(self, folds, total):
        alpha, score = super()._choose(folds, total)
        return vars(self).setdefault("kept", alpha), score


class ChoosesOnce(RidgeCV):
    """The penalty that it once chose stays when the rows that spoke for it have gone."""

    def _make_core(self, params, rows):
        return _ChoosesOnce(type(self).__name__, params, rows)


class _FoldsInTurn(_RidgeCVCore):
    n_seen = 0

    def _as_rows(self, block):
        rows = super()._as_rows(block)
        codes = (self.n_seen + np.arange(len(block), dtype=np.int32)) % self._n_folds
        self.n_seen += len(block)
        return type(rows)(rows.X, rows.y, rows.weight, codes.astype(np.int32))

    def _forget(self, block):
        self._moments._go_stale()

    def _settle(self, owner):
        self.n_seen = 0
        super()._settle(owner)

    def _rebuild(self, owner):
        self.n_seen = 0
        super()._rebuild(owner)


class FoldsInTurn(RidgeCV):
    """Rows are dealt to the folds in turn, so a row's fold depends on those before it."""

    def _make_core(self, params, rows):
        return _FoldsInTurn(type(self).__name__, params, rows)


class KeepsLabels(KMeans):
    """Its labels are those of the first time somebody asked."""

    @property
    def labels_(self):
        return vars(self).setdefault("_labels", KMeans.labels_.__get__(self))


class _FirstRowsCore(KMeansCore):
    def _fitted(self, owner, init):
        if owner.n_effective < self._n_clusters:
            return super()._fitted(owner, init)
        first = owner.rows.native.order("insertion")[: self._n_clusters]
        return super()._fitted(owner, np.array(owner.rows.take(first).X, dtype=np.float64))


class StartsAtFirstRows(KMeans):
    """Its runs start at the rows that came first."""

    def _make_core(self, params, rows):
        return _FirstRowsCore(type(self).__name__, params, rows)
