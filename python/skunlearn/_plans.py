"""What a model is made of, for forgetting: the parts that can, those that need not, and those that stand in the way.

`survey` walks through a fitted model of any library. A *member* is an estimator of this library with rows of its own;
a request is one to all members. Whatever else has learned from rows is blocked, unless it is to be kept.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import nan, prod
from typing import Any, Literal

from sklearn.base import BaseEstimator
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multiclass import OneVsRestClassifier, _ConstantPredictor
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import FeatureUnion, Pipeline

from skunlearn._composite import CompositeCore, CompositeMixin, adopted
from skunlearn._foreign import ForeignCore, ForeignStep, role_of
from skunlearn._retention import what_it_keeps
from skunlearn.base import ForgetMixin
from skunlearn.exceptions import DegenerateRowsError
from skunlearn.guarantee import Kind

__all__ = ["Action", "StepPlan", "Survey", "fits_of", "refit_probability", "share_refitted", "survey"]

Action = Literal["forget", "unchanged", "refit", "keep", "blocked"]


@dataclass(frozen=True, slots=True)
class StepPlan:
    """What a deletion would do to one part of a model, or in a receipt: what it did.

    Parameters
    ----------
    path : str
        Where the part is; "" for the model itself.
    type : str
        Its class.
    action : {"forget", "unchanged", "refit", "keep", "blocked"}
        What would happen to it: it follows the rows, has nothing to follow, is trained anew on those that are left,
        stays as it is although it learned from them, or stands in the way.
    kind : {"exact", "certified", "refit", "approximate", "none"}
        The guarantee afterwards.
    reason : str
        Why, in words.
    keeps : str
        What the part holds of rows.
    cost : str
        What the work is proportional to.
    """

    path: str
    type: str
    action: Action
    kind: Kind
    reason: str
    keeps: str
    cost: str


@dataclass(slots=True)
class Survey:
    """The parts of a model.

    Parameters
    ----------
    steps : list of StepPlan
        All of them.
    members : list of (str, ForgetMixin)
        Those with rows of their own by their paths, each once.
    fixed_classes : list of ForgetMixin
        Members whose classes an estimator around them has numbered: none may vanish.
    not_covered : list of str
        What was made with the rows and stays.
    searches : list of BaseSearchCV
        Searches on the way.
    """

    steps: list[StepPlan] = field(default_factory=list)
    members: list[tuple[str, ForgetMixin]] = field(default_factory=list)
    fixed_classes: list[ForgetMixin] = field(default_factory=list)
    not_covered: list[str] = field(default_factory=list)
    searches: list[Any] = field(default_factory=list)

    def add(self, path: str, model: Any, action: Action, kind: Kind, reason: str, keeps: str, cost: str) -> None:
        """Name a part."""
        self.steps.append(StepPlan(path, _name_of(model), action, kind, reason, keeps, cost))

    def add_blocked(self, path: str, model: Any, reason: str, keeps: str | None = None) -> None:
        """Name a part that stands in the way."""
        self.add(path, model, "blocked", "none", reason, what_it_keeps(model) if keeps is None else keeps, "a refit")

    def add_unchanged(self, path: str, model: Any, reason: str) -> None:
        """Name a part that has nothing to forget."""
        self.add(path, model, "unchanged", "exact", reason, "nothing", "nothing")


def survey(model: Any) -> Survey:
    """Return the parts of a model, which is not touched."""
    found = Survey()
    _visit(found, "", model)
    return found


def _name_of(model: Any) -> str:
    return type(model.estimator if isinstance(model, ForeignStep) else model).__name__


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _visit(found: Survey, path: str, model: Any) -> None:
    if isinstance(model, ForgetMixin):
        _visit_ours(found, path, model)
        return
    for kinds, visit in _VISITS:
        if isinstance(model, kinds):
            if _is_fitted(model):
                visit(found, path, model)
            else:
                found.add_blocked(path, model, "it is not fitted, or kept no fitted estimator", "no rows")
            return
    if isinstance(model, BaseEstimator) and role_of(model) in ("stateless", "frozen"):
        if role_of(model) == "frozen":
            found.not_covered.append(
                f"{type(model.estimator).__name__} is frozen: declared independent of these rows, which nothing checks"
            )
        found.add_unchanged(path, model, "it learned nothing of these rows")
        return
    found.add_blocked(path, model, "it is not an estimator of skunlearn and has no way back from a fit")


def _is_fitted(model: Any) -> bool:
    fitted = (
        "best_estimator_",
        "estimators_",
        "calibrated_classifiers_",
        "regressor_",
        "transformers_",
        "steps",
        "transformer_list",
    )
    return any(name in vars(model) for name in fitted)


# --- this library's own ----------------------------------------------------------------------------------------------


def _visit_ours(found: Survey, path: str, model: ForgetMixin) -> None:
    live = model._require_live()
    if live.is_owned:
        found.add_blocked(path, model, "it is a step, whose rows belong to the composite", "no rows")
        return
    if not live.forgettable:
        found.add_blocked(path, model, "it was fitted with forgettable=False and kept no rows", "no rows")
        return
    guarantee = model.guarantee_
    keeps = f"{len(live.rows)} rows until they are forgotten"
    found.add(path, model, "forget", guarantee.kind, guarantee.basis, keeps, model._cost_of_forgetting())
    if not any(model is member for _, member in found.members):
        found.members.append((path, model))
    found.not_covered += guarantee.not_covered
    if isinstance(model, CompositeMixin):
        _visit_steps(found, path, live.core, live)


_ACTIONS: dict[str, Action] = {"stateless": "unchanged", "frozen": "unchanged", "kept": "keep", "refit": "refit"}


def _visit_steps(found: Survey, path: str, core: Any, live: Any) -> None:
    for position, part in enumerate(core.parts):
        at = _inside(path, part.name)
        step = adopted(part.step, getattr(part.step, "on_foreign", "refit"), live, position)
        try:
            guarantee = step.guarantee_
        except DegenerateRowsError:
            guarantee = None
        kind: Kind = "exact" if guarantee is None else guarantee.kind
        reason = "there is nothing to be fitted on" if guarantee is None else guarantee.basis
        action: Action = _ACTIONS[step.role] if isinstance(step, ForeignStep) else "forget"
        keeps = what_it_keeps(step.estimator) if isinstance(step, ForeignStep) else "no rows of its own"
        found.add(at, step, action, kind, reason, keeps, step._cost_of_forgetting())
        if isinstance(part.core, CompositeCore):
            _visit_steps(found, at, part.core, step._live)


def parts_of(path: str, core: Any) -> dict[str, Any]:
    """Return the parts of a composite by their paths, those within others too; none of another core."""
    parts = {}
    for part in core.parts if isinstance(core, CompositeCore) else ():
        at = _inside(path, part.name)
        parts[at] = part
        parts |= parts_of(at, part.core)
    return parts


def _leaves(model: ForgetMixin) -> list[Any]:
    parts = parts_of("", model._require_live().core).values()
    return [part for part in parts if not isinstance(part.core, CompositeCore)]


def fits_of(path: str, member: ForgetMixin) -> dict[str, tuple[int, int]]:
    """Return how often each part of a member was fitted on all rows, by path."""
    parts = parts_of(path, member._require_live().core)
    return {at: (part.n_fits, getattr(part.core, "n_trained", 0)) for at, part in parts.items()}


def share_refitted(
    path: str, member: ForgetMixin, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]
) -> float:
    """Return the share of a member's learning parts, or of its shards, which the last request had trained anew."""
    live = member._require_live()
    if not isinstance(live.core, CompositeCore):
        report = live.report
        if report is None or report.path == "retrain":
            return 0.0 if report is None else report.work["shards_dropped"] / live.params["n_shards"]
        return 1.0 if report.path in ("rebuild", "reseed") else 0.0
    shares = []
    for at, part in parts_of(path, live.core).items():
        if isinstance(part.core, CompositeCore) or type(part.step).__name__ == "Unchanged":
            continue
        if not isinstance(part.step, ForeignStep) or part.step.role == "refit":
            shares.append(float(before.get(at) != after[at]))
    return sum(shares) / len(shares) if shares else 0.0


#: How often one random deletion moves the map of a transformer, by class: (per column and row, at most). Measured and
#: derived; of normal columns for StandardScaler. All others: not known.
_MOVES_A_COLUMN = {"StandardScaler": 4.4, "MinMaxScaler": 2.0, "MaxAbsScaler": 1.0}
_NEVER_MOVES = {"Unchanged", "VarianceThreshold"}
_ALWAYS_MOVES = {"PCA", "KMeans", "LinearDiscriminantAnalysis"}


def refit_probability(model: ForgetMixin) -> float:
    """Return the chance that one random deletion leads to a refit of some step; NaN where it is not known."""
    core: Any = model._require_live().core
    if not isinstance(core, CompositeCore):
        return 0.0
    if any(isinstance(p.core, ForeignCore) and p.core._role == "refit" for p in _leaves(model)):
        return 1.0
    n_rows = max(model._require_live().n_effective, 1)
    last = core.parts[-1] if core.parts else None
    return 1.0 - prod(1.0 - _moving(part, n_rows) for part in _leaves(model) if part is not last)


def _moving(part: Any, n_rows: int) -> float:
    if isinstance(part.core, ForeignCore):
        return 1.0 if part.core.moves else 0.0
    name = type(part.step).__name__
    if name in _NEVER_MOVES:
        return 0.0
    if name in _ALWAYS_MOVES or part.params.get("exact_statistics"):
        return 1.0
    width = 0 if part.rows is None else int(part.rows.native.n_features)
    return min(1.0, _MOVES_A_COLUMN[name] * width / n_rows) if name in _MOVES_A_COLUMN else nan


# --- scikit-learn's estimators of estimators -------------------------------------------------------------------------


def _visit_search(found: Survey, path: str, search: Any) -> None:
    found.add_unchanged(path, search, "it holds its best estimator, and which one that was")
    found.not_covered.append(
        f"{type(search).__name__}: cv_results_ and best_params_ were found with all rows, those to be forgotten too"
    )
    found.searches.append(search)
    _visit(found, _inside(path, "best_estimator_"), search.best_estimator_)


def _visit_pipeline(found: Survey, path: str, pipeline: Any) -> None:
    found.add_unchanged(path, pipeline, "it holds its steps")
    learning = 0
    for name, step in pipeline.steps:
        if step is None or isinstance(step, str):
            continue
        at = _inside(path, name)
        if learning and isinstance(step, ForgetMixin):
            reason = "a step before it learned from the rows, too; skunlearn.pipeline.Pipeline forgets in both"
            found.add_blocked(at, step, reason, "its rows, as that step showed them")
        else:
            _visit(found, at, step)
        learning += found.steps[-1].action != "unchanged"


def _visit_columns(found: Survey, path: str, columns: Any) -> None:
    found.add_unchanged(path, columns, "it holds its transformers")
    is_union = isinstance(columns, FeatureUnion)
    for name, step, *_ in columns.transformer_list if is_union else columns.transformers_:
        if not isinstance(step, str):
            _visit(found, _inside(path, name), step)


def _visit_estimators(found: Survey, path: str, model: Any) -> None:
    """All members were fitted on all rows; classes are numbered by the estimator around them."""
    found.add_unchanged(path, model, "it holds its estimators")
    names = [name for name, step in getattr(model, "estimators", []) if not isinstance(step, str)]
    for n, estimator in enumerate(model.estimators_):
        at = _inside(path, names[n] if n < len(names) else f"estimators_[{n}]")
        if isinstance(estimator, _ConstantPredictor):
            found.add_unchanged(at, estimator, "all rows are of one class here")
            continue
        before = len(found.members)
        _visit(found, at, estimator)
        if not isinstance(model, (MultiOutputClassifier, MultiOutputRegressor)):
            found.fixed_classes += [member for _, member in found.members[before:]]


def _visit_stacking(found: Survey, path: str, model: Any) -> None:
    _visit_estimators(found, path, model)
    reason = "it was trained on what models that saw the rows said of others; the stack has to be fitted anew"
    found.add_blocked(_inside(path, "final_estimator_"), model.final_estimator_, reason)


def _visit_calibrated(found: Survey, path: str, model: Any) -> None:
    found.add_unchanged(path, model, "it holds its estimators and their calibrators")
    for n, pair in enumerate(model.calibrated_classifiers_):
        at = _inside(path, f"calibrated_classifiers_[{n}]")
        before = len(found.members)
        _visit(found, _inside(at, "estimator"), pair.estimator)
        found.fixed_classes += [member for _, member in found.members[before:]]
        for calibrator in pair.calibrators[:1]:
            reason = "it was trained on the rows that its estimator had not seen; it has to be fitted anew"
            found.add_blocked(_inside(at, "calibrators"), calibrator, reason, "values made of rows")


def _visit_target(found: Survey, path: str, model: Any) -> None:
    found.add_unchanged(path, model, "it holds its regressor")
    transformer = model.transformer_
    if isinstance(transformer, ForgetMixin):
        reason = "it was fitted on targets without their ids"
        found.add_blocked(_inside(path, "transformer_"), transformer, reason, "all targets")
    else:
        _visit(found, _inside(path, "transformer_"), transformer)
    _visit(found, _inside(path, "regressor_"), model.regressor_)


def _visit_bagging(found: Survey, path: str, model: Any) -> None:
    reason = "its bootstrap is drawn by position and repeats rows; use a forest of skunlearn, or SISA"
    found.add_blocked(path, model, reason, what_it_keeps(model.estimators_[0]))


_VISITS: tuple[tuple[Any, Callable[[Survey, str, Any], None]], ...] = (
    (BaseSearchCV, _visit_search),
    (Pipeline, _visit_pipeline),
    ((ColumnTransformer, FeatureUnion), _visit_columns),
    ((StackingClassifier, StackingRegressor), _visit_stacking),
    ((BaggingClassifier, BaggingRegressor), _visit_bagging),
    (CalibratedClassifierCV, _visit_calibrated),
    (TransformedTargetRegressor, _visit_target),
    (
        (
            VotingClassifier,
            VotingRegressor,
            MultiOutputClassifier,
            MultiOutputRegressor,
            OneVsRestClassifier,
        ),
        _visit_estimators,
    ),
)
