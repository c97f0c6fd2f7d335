"""Steps of a composite that know nothing of forgetting, made functions of a set of rows and a key.

A foreign step has no way back from a fit, but a composite has the rows: where some came or went, the step is dropped,
and trained again when somebody reads, as a shard is (`skunlearn.sharded`): rows in the order of their keyed tags, every
``random_state`` that is None an integer derived from the key, one thread for BLAS.

What it makes of the live rows it makes of all of them at once, in that order, and these values are what later steps
learn from: a product of matrices gives a row other bits in other company. Only where a step learns nothing of rows, and
a row alone was found to give the bits that it gives in bulk, are rows transformed as they come.
"""

import copy
import pickle
import warnings
from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, Literal, Self

import joblib
import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import RBFSampler
from sklearn.preprocessing import Binarizer, FunctionTransformer, Normalizer, PolynomialFeatures, TargetEncoder
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import has_fit_parameter
from threadpoolctl import threadpool_limits

from skunlearn.base import ForgetMixin
from skunlearn.columns import CATEGORY_DTYPES, TableRows, as_rows
from skunlearn.digest import canonical
from skunlearn.exceptions import ForeignStepError, OwnedStepError
from skunlearn.guarantee import Guarantee
from skunlearn.key import Key
from skunlearn.live import Core, IncomingRows, Owner
from skunlearn.rows import CsrRows, RowBlock, RowStore
from skunlearn.sharded._self_test import SelfTest, other_global_generator
from skunlearn.sharded._training import check_seedable, fingerprint
from skunlearn.targets import Labels, Targets, Values
from skunlearn.transforms import TransformMap
from skunlearn.utils._sklearn_compat import check_feature_names

__all__ = [
    "POLICIES",
    "ForeignStep",
    "Kept",
    "OnForeign",
    "Role",
    "as_given",
    "as_step",
    "bare_twin",
    "check_foreign",
    "joined",
    "kept_as",
    "role_of",
]

OnForeign = Literal["refit", "keep", "raise"]
Role = Literal["stateless", "frozen", "kept", "refit"]

POLICIES: tuple[OnForeign, ...] = ("refit", "keep", "raise")

#: Types that learn nothing but the number of columns, and those that learn nothing more under an integer seed. By type,
#: not by the tag `requires_fit`, which is True for PolynomialFeatures.
_STATELESS = (Binarizer, FeatureHasher, FunctionTransformer, HashingVectorizer, Normalizer, PolynomialFeatures)
_SEEDED = (GaussianRandomProjection, RBFSampler, SparseRandomProjection)
#: Types that give the rows they are fitted on other values than `transform` does.
_FITS_ACROSS_FOLDS = (TargetEncoder,)

#: Rows that a self-test is about, and those on which a map is tried row by row.
_FEW_ROWS = 300
_PROBED_ROWS = 33


def role_of(estimator: Any) -> Role:
    """Return what becomes of a foreign estimator when rows come and go."""
    if isinstance(estimator, Kept):
        return "kept"
    if isinstance(estimator, FrozenEstimator):
        return "frozen"
    if type(estimator) in _STATELESS:
        return "stateless"
    if type(estimator) in _SEEDED and isinstance(estimator.random_state, (int, np.integer)):
        # "auto" derives the number of components from that of the rows.
        return "stateless" if isinstance(estimator.n_components, (int, np.integer)) else "refit"
    return "refit"


class Kept(BaseEstimator):
    """A foreign estimator that is fitted once, and then stays whatever becomes of the rows.

    It stands among the frozen parameters of a model: what was kept is a parameter of it, no function of its rows.

    Parameters
    ----------
    estimator : estimator
        Not fitted.
    """

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.model: Any = None

    def __sklearn_clone__(self) -> Self:
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or "estimator" not in vars(self):
            raise AttributeError(name)
        return getattr(self.estimator, name)


def kept_as(step: Any, on_foreign: OnForeign) -> Any:
    """Return a private copy of a step as a composite of this policy keeps it among its parameters."""
    is_foreign = not isinstance(step, (ForgetMixin, str)) and step is not None
    return Kept(step) if is_foreign and on_foreign == "keep" and role_of(step) == "refit" else step


def as_step(estimator: Any, on_foreign: OnForeign = "refit") -> Any:
    """Return an estimator of this library as it is, and any other one as a step that forgets."""
    return estimator if isinstance(estimator, ForgetMixin) else ForeignStep(estimator, on_foreign)


def check_foreign(name: str, estimator: Any) -> None:
    """Refuse a foreign step that cannot be made a function of rows and a key, or takes something else than rows."""
    check_seedable(estimator, f"A composite, of which {name!r} is a step,")
    if not get_tags(estimator).input_tags.two_d_array:
        raise ForeignStepError(
            f"Step {name!r} is a {type(estimator).__name__}, which takes documents, and foreign steps get tables. "
            "Nothing was changed. Use a vectorizer of skunlearn.feature_extraction.text, or vectorize rows beforehand."
        )


def bare_twin(step: Any) -> Any:
    """Return an unfitted instance for validation to leave its attributes on."""
    if isinstance(step, ForeignStep):
        return ForeignStep(step.estimator, step.on_foreign)
    bare = object.__new__(type(step))
    bare.__dict__.update(step.get_params(deep=False))
    return bare


class ForeignStep(ForgetMixin):
    """A foreign estimator as a step of a composite, which alone makes these.

    It answers as the fitted estimator of the version that is read: attributes and methods are that one's.

    Parameters
    ----------
    estimator : estimator
        Not fitted, unless it is frozen.
    on_foreign : {"refit", "keep", "raise"}, default="refit"
        The policy of the composite.
    """

    _tags_rows = True
    #: Targets that the composite has, it is given, as every step of scikit-learn's is.
    _is_given_targets = True
    _parameter_constraints: dict[str, Any] = {}

    def __init__(self, estimator: Any, on_foreign: OnForeign = "refit") -> None:
        self.estimator = estimator.estimator if isinstance(estimator, Kept) else estimator
        self.on_foreign = on_foreign
        self.given = estimator

    @property
    def role(self) -> Role:
        """What becomes of the estimator when rows come and go."""
        role = role_of(self.given)
        return "kept" if role == "refit" and self.on_foreign == "keep" else role

    @property
    def random_state(self) -> Any:
        """That of the estimator; what it takes for "not given" is None."""
        given = getattr(self.estimator, "random_state", None)
        return given if isinstance(given, (int, np.integer)) and not isinstance(given, bool) else None

    # --- as the estimator --------------------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        estimator = vars(self).get("estimator")
        if estimator is None or name.startswith("__"):
            raise AttributeError(name)
        if self._live is None:
            return getattr(estimator, name)
        if callable(getattr(estimator, name, None)) and not name.endswith("_"):
            # Whether there is such a method is known without a fitted estimator; which one it is, when it is called.
            return lambda *given, **named: getattr(self._model(), name)(*given, **named)
        return getattr(self._model(), name)

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        return repr(self.estimator)

    def __sklearn_clone__(self) -> Any:
        return clone(self.estimator)

    def __sklearn_tags__(self) -> Tags:
        return _tags_of(self.estimator)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters of the estimator."""
        params: dict[str, Any] = self.estimator.get_params(deep=deep)
        return params

    def set_params(self, **params: Any) -> Self:
        """Set parameters of the estimator, for the next fit."""
        self.estimator.set_params(**params)
        return self

    def fit(self, X: Any, y: Any = None) -> Self:
        """Refuse: the composite fits its steps."""
        raise OwnedStepError(
            f"This {type(self.estimator).__name__} is a step of a composite. Nothing was changed. Fit the composite, "
            "or a clone of the step."
        )

    def _model(self) -> Any:
        state: ForeignState = self._published()
        chosen = vars(self.estimator).get("_sklearn_output_config")
        if chosen:
            state.model.set_output(**chosen)
        return state.model

    @available_if(lambda step: hasattr(step.estimator, "set_output"))
    def set_output(self, *, transform: Any = None) -> Self:
        """Choose the container of the output, as the estimator does."""
        self.estimator.set_output(transform=transform)
        return self

    # --- as a step ---------------------------------------------------------------------------------------------------

    @property
    def guarantee_(self) -> Guarantee:
        """What becomes of forgotten rows in this step."""
        name, role = type(self.estimator).__name__, self.role
        if role == "stateless":
            return Guarantee("exact", f"{name} learns nothing of rows")
        if role == "frozen":
            inner = type(self.estimator.estimator).__name__
            what = f"{inner} is frozen: declared independent of these rows, which nothing checks"
            return Guarantee("exact", what, not_covered=(what,))
        if role == "kept":
            what = f"{name} was kept as it was first fitted, on rows that may be forgotten since"
            return Guarantee("none", what, not_covered=(what,))
        live = self._require_live()
        core: Any = live.core
        if core.self_test is None and not live.is_empty:
            live.publish()
        test = core.self_test
        if test is None or test.passed:
            return Guarantee(
                "exact",
                f"{name} is trained anew on the rows that are left; self-test: it gave the same bits when it was "
                "trained twice, with these versions on this machine",
            )
        return Guarantee(
            "refit",
            f"{name} is trained anew on the rows that are left, but failed its self-test ({', '.join(test.failures)}), "
            "so a refit need not give the same bits",
        )

    def release(self) -> Any:
        """Return a copy of the fitted estimator, under the ``random_state`` that it was given."""
        state: ForeignState = self._published()
        released = copy.deepcopy(state.model)
        if self.role == "refit":
            released.set_params(**dict.fromkeys(_unseeded(self.estimator)))
        return released

    def _frozen_params(self, schema: Any) -> dict[str, Any]:
        return {"estimator": clone(self.given)}

    def _validate_params(self) -> None:
        """Leave it to the estimator's `fit`."""

    def _make_core(self, params: dict[str, Any], rows: RowStore) -> "ForeignCore":
        return ForeignCore(kept_as(self.given, self.on_foreign), self.role)

    def _targets_type(self, params: Any) -> type[Targets]:
        if is_classifier(self.estimator):
            return Labels
        if is_regressor(self.estimator):
            return Values
        if not _needs_targets(self.estimator):
            return Targets
        return Labels if _wants_classes(self.estimator) else Values

    def _targets_like(self, y: Any, classes: Any) -> Targets:
        kind = self._targets_type({})
        if y is None or kind is Targets:
            return Targets()
        return super()._targets_like(y, classes) if kind is Labels and is_classifier(self) else _targets_of(kind, y)

    def _checked_targets(self, y: Any) -> Any:
        return y if self._targets_type({}) is Labels else super()._checked_targets(y)

    def _check_X(self, estimator: Any, X: Any, **options: Any) -> Any:
        has_y, y = "y" in options, options.pop("y", None)
        check_feature_names(estimator, X, reset=options["reset"])
        columns = None if options["reset"] else estimator._live.rows.columns
        X = as_rows(X, is_table=columns is not None)
        if columns is not None and X.shape[1] == len(columns.dtypes):
            X = columns.with_numbers(X)
        if not options["reset"] and X.shape[1] != estimator.n_features_in_:
            raise ValueError(
                f"X has {X.shape[1]} features, but {type(self.estimator).__name__} is expecting "
                f"{estimator.n_features_in_} features as input."
            )
        return (X, y) if has_y else X

    def _native_twin(self, state: Any, params: dict[str, Any]) -> Any:
        raise NotImplementedError  # `release` does without

    def _core_nbytes(self, X: Any, n_classes: int, n_targets: int) -> int:
        return 0  # what an estimator weighs is known when it is trained

    def _cost_of_forgetting(self) -> str:
        return "a fit on the rows that are left, at the next read" if self.role == "refit" else "nothing"


def _tags_of(estimator: Any) -> Tags:
    try:
        return get_tags(estimator)
    except (AttributeError, TypeError):  # no estimator of scikit-learn's interface: it says for itself
        tags = get_tags(BaseEstimator())
        tags.input_tags.allow_nan = tags.input_tags.sparse = True
        return tags


def _needs_targets(estimator: Any) -> bool:
    """Whether a transformer cannot be fitted without targets. The tag alone does not say so of SelectKBest."""
    y = signature(estimator.fit).parameters.get("y")
    is_required = y is not None and y.default is y.empty
    return is_required or hasattr(estimator, "score_func") or _tags_of(estimator).target_tags.required


def _wants_classes(estimator: Any) -> bool:
    """Whether a transformer that reads targets takes them for classes: its score function says so, if it has one."""
    score = getattr(estimator, "score_func", None)
    named = "" if score is None else getattr(score, "__name__", "")
    return not ("regression" in named or "PLS" in type(estimator).__name__ or "CCA" in type(estimator).__name__)


def _targets_of(kind: type[Targets], y: Any) -> Targets:
    from skunlearn.class_codes import ClassCodes

    return Labels(ClassCodes(None)) if kind is Labels else Values.like(y)


@dataclass(frozen=True, slots=True, eq=False)
class ForeignState(TransformMap):
    """The published state of one version.

    Parameters
    ----------
    model : estimator
        Fitted.
    mark : str
        Its fingerprint.
    names : ndarray of str or None
        Names of the columns that it sees, where it is given them.
    made : _Made or None
        What it makes of the live rows; None where it transforms rows as they come.
    n_features_in : int
        Number of columns that it sees.
    """

    model: Any
    mark: str
    names: np.ndarray | None
    made: "_Made | None"
    n_features_in: int

    def apply(self, X: Any) -> Any:
        """Return rows as the estimator transforms them, as numbers of a type that is stored."""
        with threadpool_limits(limits=1):
            return _as_stored(self.model.transform(as_given(X, self.names, self.n_features_in)))

    def apply_to_live(self, block: RowBlock) -> Any:
        """Return live rows as they were transformed when the estimator was trained; rows without tags are not live."""
        if self.made is None or block.tags is None:
            return TransformMap.apply_to_live(self, block)
        return self.made.rows(block.tags)

    def parts(self) -> list[bytes | np.ndarray]:
        """Return the fingerprint and, where they depend on each other's company, the transformed rows."""
        return [self.mark.encode(), *(() if self.made is None else self.made.parts())]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """What a transformer makes of all live rows at once; found by the tags of rows.

    Parameters
    ----------
    tags : ndarray of shape (n_rows, 2), uint64
        As (low, high), in the order of high, then low.
    values : ndarray, csr_array or TableRows
        One row each.
    """

    tags: np.ndarray
    values: Any

    def rows(self, tags: np.ndarray) -> Any:
        """Return the rows of these tags; raise ValueError where one is not there."""
        return self.values[_places(self.tags, tags)]

    def parts(self) -> list[bytes | np.ndarray]:
        """Return all of it."""
        values = self.values
        arrays = (values.indptr, values.indices, values.data) if sp.issparse(values) else (values,)
        return [self.tags, *(canonical(a) if a.dtype == object else a for a in arrays)]


def _places(ordered: np.ndarray, tags: np.ndarray) -> np.ndarray:
    low, high = tags.T
    at = np.searchsorted(ordered[:, 1], high)
    while True:
        inside = np.minimum(at, len(ordered) - 1)
        same = (at < len(ordered)) & (ordered[inside, 1] == high)
        if not same.all():
            raise ValueError(f"{int((~same).sum())} of {len(tags)} rows came after the step was fitted.")
        later = ordered[inside, 0] != low
        if not later.any():
            return at
        at = at + later  # two rows share the high half of their tags once in 2**64 pairs


class ForeignCore(Core):
    """A foreign estimator, and what it makes of the rows.

    Parameters
    ----------
    given : estimator or Kept
        What is to be trained.
    role : {"stateless", "frozen", "kept", "refit"}
        What becomes of it when rows come and go.
    """

    def __init__(self, given: Any, role: Role) -> None:
        self._given = given
        self._estimator = given.estimator if isinstance(given, Kept) else given
        self._name = type(self._estimator).__name__
        self._role = role
        self._state: ForeignState | None = None
        #: How often it was trained. Kept for whoever measures; no part of the state.
        self.n_trained = 0
        #: What training twice has shown.
        self.self_test: SelfTest | None = None
        self._is_row_wise = False

    @property
    def moves(self) -> bool:  # type: ignore[override]
        """Whether the map is another one as soon as a row comes or goes."""
        return not self._is_row_wise

    # --- following the rows ------------------------------------------------------------------------------------------

    def check(self, incoming: IncomingRows) -> None:
        """Refuse weights where a predictor takes none; a transformer without takes every row for one."""
        if incoming.weight is None or self._takes_weights() or not hasattr(self._estimator, "predict"):
            return
        if ((incoming.weight == 0) | (incoming.weight == 1)).all():
            return
        raise ValueError(
            f"{self._name} takes no sample_weight, so it cannot weigh rows. Nothing was changed. Leave the weights "
            "out, or use an estimator that takes them."
        )

    def _takes_weights(self) -> bool:
        return bool(has_fit_parameter(self._estimator, "sample_weight"))

    def _learn(self, block: RowBlock) -> None:
        self._drop()

    def _forget(self, block: RowBlock) -> None:
        self._drop()

    def _drop(self) -> None:
        if self.moves:
            self._state = None

    def _rebuild(self, owner: Owner) -> None:
        self._state = None

    def last_path(self) -> tuple[str, dict[str, int]]:
        """Return whether it will be trained again."""
        return ("retrain", {}) if self._role == "refit" else ("update", {})

    def is_settled(self) -> bool:
        """Whether it was trained on the rows as they are."""
        return self._state is not None

    # --- training ----------------------------------------------------------------------------------------------------

    def _settle(self, owner: Owner) -> None:
        names = owner.feature_names
        width = int(owner.rows.native.n_features)
        rows = _canonical_rows(owner, names, width)
        model, made = self._trained(rows, owner)
        mark = _mark_of(model)
        self._is_row_wise = self._role != "refit" and (made is None or _is_row_wise(model, rows.X))
        keeps_made = made is not None and not self._is_row_wise
        self._state = ForeignState(
            model, mark, names, _Made(rows.tags, _as_stored(made)) if keeps_made else None, width
        )

    def _trained(self, rows: "_Rows", owner: Owner) -> tuple[Any, Any]:
        """Return the fitted estimator, and what it makes of the rows, or None where it is no transformer."""
        if self._role == "frozen":
            return self._estimator, self._transformed(self._estimator, rows)
        if self._role == "kept":
            kept = self._given
            if kept.model is None:
                kept.model = self._fit(seeded(self._estimator, owner.key), rows)[0]
            return kept.model, self._transformed(kept.model, rows)
        self.n_trained += self._role == "refit"
        estimator = seeded(self._estimator, owner.key) if self._role == "refit" else clone(self._estimator)
        if self._role == "refit" and self.self_test is None:
            self.self_test = self._tested(estimator, rows)
        return self._fit(estimator, rows)

    def _fit(self, estimator: Any, rows: "_Rows") -> tuple[Any, Any]:
        weights = {} if rows.weight is None or not self._takes_weights() else {"sample_weight": rows.weight}
        model = clone(estimator)
        try:
            with threadpool_limits(limits=1):
                if isinstance(model, _FITS_ACROSS_FOLDS):
                    with warnings.catch_warnings():  # the seed is ours, and no matter of its user's
                        warnings.simplefilter("ignore", FutureWarning)
                        return model, model.fit_transform(rows.X, rows.y)
                model.fit(rows.X, rows.y, **weights)
        except InvalidParameterError:
            raise
        except ValueError as error:  # what it says may be a value of a row
            raise ValueError(
                f"{self._name} could not be fitted on {len(rows.tags)} rows ({type(error).__name__}). Learn other "
                "rows, or put a step before it; fit the estimator alone to see why."
            ) from None
        return model, self._transformed(model, rows)

    def _transformed(self, model: Any, rows: "_Rows") -> Any:
        if not hasattr(model, "transform"):
            return None
        try:
            with threadpool_limits(limits=1):
                return model.transform(rows.X)
        except ValueError as error:
            raise ValueError(
                f"{self._name} could not transform {len(rows.tags)} rows ({type(error).__name__})."
            ) from None

    def _tested(self, estimator: Any, rows: "_Rows") -> SelfTest:
        few = rows.few(is_classifier(estimator))
        try:
            once, made = self._fit(estimator, few)
            with other_global_generator():
                twice, made_again = self._fit(estimator, few)
        except ValueError:
            return SelfTest({"trained on few rows": False}, len(few.tags))
        mark = _mark_of(once)
        same = mark == _mark_of(twice) and _mark_of(made) == _mark_of(made_again)
        arms = {"repeated": same, "pickled": mark != _UNKNOWN and _mark_of(_read(once)) == mark}
        return SelfTest(arms, len(few.tags))

    # --- reading -----------------------------------------------------------------------------------------------------

    def publish(self, owner: Owner) -> ForeignState:
        """Return the fitted estimator."""
        assert self._state is not None
        return self._state

    def digest_parts(self, owner: Owner) -> list[bytes]:
        """Return the fingerprint of what was trained."""
        return [] if self._state is None else [self._state.mark.encode()]

    def without_rows(self, published: ForeignState) -> ForeignState:
        """Let go of what was made of the rows."""
        return replace(published, made=None)

    def nbytes(self) -> int:
        """Return the size of what is kept of rows in bytes; how large an estimator is is its to know."""
        made = None if self._state is None else self._state.made
        return 0 if made is None else int(sum(np.asarray(part).nbytes for part in made.parts()))


#: The fingerprint of what cannot be pickled.
_UNKNOWN = "unknown"


def _mark_of(model: Any) -> str:
    try:
        return fingerprint(model)
    except (TypeError, AttributeError, pickle.PicklingError):
        return _UNKNOWN


def _read(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))


def seeded(estimator: Any, key: Key) -> Any:
    """Return a copy with an integer of the key's in every nested ``random_state`` that names none."""
    copied = clone(estimator)
    # 31 bits: what every library takes.
    seeds = {name: int.from_bytes(key.derive(name)._secret[:4], "little") >> 1 for name in _unseeded(copied)}
    return copied.set_params(**seeds)


def _unseeded(estimator: Any) -> list[str]:
    params = estimator.get_params(deep=True)
    # Text stands for a default that draws.
    draws = {name for name, value in params.items() if value is None or isinstance(value, str)}
    return [name for name in params if name in draws and name.split("__")[-1] == "random_state"]


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows as a foreign estimator takes them, in the order of their tags."""

    X: Any
    y: Any
    weight: np.ndarray | None
    tags: np.ndarray

    def take(self, chosen: np.ndarray) -> "_Rows":
        """Return some rows, by position."""
        X = self.X.iloc[chosen].reset_index(drop=True) if hasattr(self.X, "iloc") else self.X[chosen]
        weight = None if self.weight is None else self.weight[chosen]
        return _Rows(X, None if self.y is None else self.y[chosen], weight, self.tags[chosen])

    def few(self, by_class: bool) -> "_Rows":
        """Return a few rows; of every class as many as there is room for."""
        if not by_class:
            return self.take(np.arange(min(_FEW_ROWS, len(self.tags))))
        labels, codes = np.unique(self.y, return_inverse=True)
        of_each = -(-_FEW_ROWS // len(labels))
        return self.take(np.sort(np.concatenate([np.flatnonzero(codes == c)[:of_each] for c in range(len(labels))])))


def _canonical_rows(owner: Owner, names: np.ndarray | None, width: int) -> _Rows:
    X: list[Any] = []
    y: list[Any] = []
    weight, tags = [], []
    for block in owner.effective_blocks():
        assert block.tags is not None
        given = as_given(block.X, names, width)
        # Values of a block are zeroed once it has been passed; frames hold copies already.
        X.append(given.copy() if isinstance(given, np.ndarray) or sp.issparse(given) else given)
        y.append(None if block.y is None else np.asarray(owner.targets.decode(block.y)))
        weight.append(np.ones(len(block)) if block.weight is None else block.weight.copy())
        tags.append(block.tags.copy())
    tag = np.concatenate(tags)
    order = np.lexsort((tag[:, 0], tag[:, 1]))
    weights = np.concatenate(weight)
    targets: Any = None if y[0] is None else np.concatenate(y)
    if targets is not None and targets.dtype.kind in "US":  # a width would remember longer labels
        targets = np.array(targets.tolist())
    rows = _Rows(joined(X), targets, weights if (weights != 1.0).any() else None, tag).take(order)
    if sp.issparse(rows.X):
        rows.X.sort_indices()
    return rows


def joined(parts: list[Any]) -> Any:
    if sp.issparse(parts[0]):
        return sp.vstack(parts, format="csr")
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts, ignore_index=True)
    return np.concatenate(parts)


def as_given(X: Any, names: np.ndarray | None, width: int) -> Any:
    """Return rows as a foreign estimator takes them: a frame where columns have names, else an array."""
    if isinstance(X, CsrRows):
        return sp.csr_matrix((X.data, X.indices, X.indptr), shape=(len(X.indptr) - 1, width))
    if sp.issparse(X):
        return sp.csr_matrix((X.data, X.indices, X.indptr), shape=X.shape)
    columns = _columns_of(X) if isinstance(X, TableRows) else None
    if names is not None:
        try:
            import pandas as pd
        except ImportError:
            pass
        else:
            if columns is None:
                return pd.DataFrame(np.array(X), columns=list(names))
            return pd.DataFrame(dict(enumerate(columns))).set_axis(list(names), axis=1)
    if columns is None:
        return np.ascontiguousarray(X)
    table = np.empty(X.shape, dtype=object)
    for j, column in enumerate(columns):
        table[:, j] = column
    return table


def _columns_of(X: TableRows) -> list[np.ndarray]:
    columns = [X.column(j) for j in range(X.shape[1])]
    return [c if d in CATEGORY_DTYPES else c.astype(d) for c, d in zip(columns, X.dtypes, strict=True)]


def _as_stored(made: Any) -> Any:
    """Return the output of a transformer in a form that steps take: numbers as float32 or float64."""
    if sp.issparse(made):
        made = sp.csr_array(made)
        made.sort_indices()
        return made if made.dtype in (np.float32, np.float64) else made.astype(np.float64)
    made = np.asarray(made)
    if made.dtype == object:
        try:
            return np.asarray(made, dtype=np.float64)
        except (TypeError, ValueError):
            return made
    return np.ascontiguousarray(made if made.dtype in (np.float32, np.float64) else made.astype(np.float64))


def _is_row_wise(model: Any, X: Any) -> bool:
    """Whether a row alone is transformed to the bits that it gets in bulk, on the first few."""
    n_rows = min(_PROBED_ROWS, X.shape[0])

    def taken(chosen: np.ndarray) -> Any:
        return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]

    with threadpool_limits(limits=1):
        bulk = _bits(model.transform(taken(np.arange(n_rows))))
        alone = [_bits(model.transform(taken(np.array([row]))))[0] for row in range(n_rows)]
        reverse = _bits(model.transform(taken(np.arange(n_rows)[::-1])))[::-1]
    return bulk == alone == reverse


def _bits(made: Any) -> list[str]:
    stored = _as_stored(made)
    if not sp.issparse(stored):
        return [joblib.hash(row) for row in stored]
    return [
        joblib.hash((row.indices.astype(np.int64), row.data)) for row in (stored[[r]] for r in range(stored.shape[0]))
    ]
