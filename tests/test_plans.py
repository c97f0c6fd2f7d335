"""`can_forget` and `forget` on everything that holds models: pipelines, searches, ensembles, plain scikit-learn."""

import json
import math
import pickle
import warnings

import numpy as np
import pytest
import sklearn
import sklearn.compose
import sklearn.pipeline
import sklearn.preprocessing as theirs
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA, KernelPCA
from sklearn.ensemble import (
    BaggingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.impute import KNNImputer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression as TheirLogisticRegression
from sklearn.linear_model import Ridge as TheirRidge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.naive_bayes import GaussianNB as TheirGaussianNB
from sklearn.neighbors import KernelDensity, KNeighborsClassifier, LocalOutlierFactor
from sklearn.svm import SVC, SVR, OneClassSVM
from tests.retention import MARKED, has_entry_a_row, marked_rows

from skunlearn import can_forget, forget, reference_fit, state_digest
from skunlearn.cluster import KMeans
from skunlearn.exceptions import DuplicateSampleError, ForeignModelError, ForeignStepError, UnknownSampleError
from skunlearn.linear_model import LogisticRegression, Ridge
from skunlearn.naive_bayes import BernoulliNB, GaussianNB
from skunlearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from skunlearn.preprocessing import MinMaxScaler, StandardScaler
from skunlearn.sharded import SISAClassifier
from skunlearn.utils import KeyedKFold

pytestmark = [
    pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 3))
Y = (X[:, 0] + RNG.normal(size=60) > 0).astype(int)
THREE = np.arange(60) % 3
IDS = np.array([f"id-{n}" for n in range(60)], dtype=object)


def actions(plan):
    return {step.path: step.action for step in plan.steps}


# --- composites ------------------------------------------------------------------------------------------------------


def chain():
    inner = FeatureUnion([("pca", PCA(1)), ("same", theirs.Normalizer())])
    steps = [("scale", StandardScaler(random_state=0)), ("union", inner), ("nb", GaussianNB())]
    return Pipeline(steps).fit(X, Y, sample_ids=IDS)


def test_a_plan_of_a_composite_goes_step_by_step_and_touches_nothing():
    """Steps within steps have paths; the chance of a refit is 1 where a step is trained anew in any case."""
    model = chain()
    before = pickle.dumps(model)

    plan = can_forget(model)

    assert actions(plan) == {
        "": "forget",
        "scale": "forget",
        "union": "forget",
        "union.pca": "refit",
        "union.same": "unchanged",
        "nb": "forget",
    }
    assert (plan.kind, plan.is_possible, plan.expected_refit_probability) == ("exact", True, 1.0)
    assert "union.pca" in str(plan)
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make_pipeline(MinMaxScaler(), GaussianNB()), 2 * 3 / 60),
        (make_pipeline(StandardScaler(), GaussianNB()), 4.4 * 3 / 60),
        (make_pipeline(StandardScaler(exact_statistics=True), GaussianNB()), 1.0),
        (make_pipeline(theirs.Normalizer(), GaussianNB()), 0.0),
        (make_pipeline(KMeans(2), GaussianNB()), 1.0),
        (make_pipeline(GaussianNB()), 0.0),
        (GaussianNB(), 0.0),
    ],
)
def test_the_chance_of_a_refit(model, expected):
    """By the law of the transformer, where there is a simple one."""
    assert can_forget(model.fit(X, Y)).expected_refit_probability == pytest.approx(expected)


def test_a_chance_that_is_not_known_is_no_number():
    """A promise of 0 would be untrue."""
    from skunlearn.preprocessing import KBinsDiscretizer

    model = make_pipeline(KBinsDiscretizer(3), GaussianNB()).fit(X, Y)
    assert math.isnan(can_forget(model).expected_refit_probability)


def test_a_receipt_says_what_happened_to_each_step():
    """Where no map moves nothing is fitted again; where one does, all behind it is; and the share is of what learns."""
    model = make_pipeline(MinMaxScaler(), GaussianNB()).fit(X, Y, sample_ids=IDS)
    inner = [n for n in range(60) if not np.isin(n, np.r_[X.argmin(axis=0), X.argmax(axis=0)])]

    quiet = forget(model, IDS[inner[:2]])
    assert [step.action for step in quiet.steps] == ["forget", "forget", "forget"]
    assert quiet.fraction_refitted == 0.0
    loud = forget(model, [IDS[X[:, 1].argmax()]])
    assert [(s.path, s.action) for s in loud.steps] == [
        ("", "forget"),
        ("minmaxscaler", "forget"),
        ("gaussiannb", "refit"),
    ]
    assert loud.fraction_refitted == 0.5
    assert loud.matches(model)

    model = chain()
    assert forget(model, []).fraction_refitted == 0.0
    receipt = forget(model, IDS[:1])
    happened = {step.path: step.action for step in receipt.steps}
    assert (happened["union.pca"], happened["union.same"], happened["nb"]) == ("refit", "unchanged", "refit")
    assert "id-" not in receipt.to_json()
    assert json.loads(receipt.to_json())["steps"][3]["action"] == "refit"


def test_a_kept_step_is_named_in_plan_and_receipt():
    """kind none, at every call."""
    model = Pipeline([("pca", PCA(2)), ("nb", GaussianNB())], on_foreign="keep").fit(X, Y)
    for each in (can_forget(model), forget(model, [1]), forget(model, [2])):
        assert {step.path: step.action for step in each.steps}["pca"] == "keep"
        assert any("PCA was kept" in what for what in each.not_covered)
    assert can_forget(model).kind == "none"


def test_the_share_of_a_sharded_model_is_that_of_its_shards():
    """One row is in one of five."""
    model = SISAClassifier(TheirGaussianNB(), n_shards=5, random_state=0).fit(X, Y)
    assert forget(model, [4]).fraction_refitted == pytest.approx(0.2)


# --- scikit-learn's estimators of estimators -------------------------------------------------------------------------


def holder(name):
    """Return a fitted model around ours, whose members got ids 0, 1, ... with the rows."""
    targets = np.column_stack([Y, THREE > 0]).astype(int)
    make = {
        "grid": lambda: GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2]}, cv=2).fit(X, Y),
        "random": lambda: RandomizedSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2]}, n_iter=2, cv=2).fit(X, Y),
        "halving": lambda: HalvingGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1e-2]}, cv=2, random_state=0).fit(
            X, Y
        ),
        "voting": lambda: VotingClassifier([("a", GaussianNB()), ("b", BernoulliNB())], voting="soft").fit(X, THREE),
        "voting regressor": lambda: VotingRegressor(
            [("a", Ridge()), ("b", make_pipeline(StandardScaler(), Ridge()))]
        ).fit(X, Y),
        "outputs": lambda: MultiOutputClassifier(GaussianNB()).fit(X, targets),
        "outputs regressor": lambda: MultiOutputRegressor(Ridge()).fit(X, targets),
        "rest": lambda: OneVsRestClassifier(GaussianNB()).fit(X, THREE),
        "target": lambda: TransformedTargetRegressor(Ridge(), func=np.exp, inverse_func=np.log).fit(X, Y),
        "plain pipeline": lambda: sklearn.pipeline.make_pipeline(theirs.Normalizer(), GaussianNB()).fit(X, Y),
    }
    return make[name]()


HOLDERS = (
    "grid",
    "random",
    "halving",
    "voting",
    "voting regressor",
    "outputs",
    "outputs regressor",
    "rest",
    "target",
    "plain pipeline",
)


@pytest.mark.parametrize("name", HOLDERS)
def test_forgetting_reaches_every_member(name):
    """Each equals its own refit; the receipt commits to all of them, and names nobody."""
    model = holder(name)
    members = [step for step in can_forget(model).steps if step.keeps.startswith("60 rows")]
    assert can_forget(model).is_possible
    assert len(members) == {"voting": 2, "voting regressor": 2, "outputs": 2, "outputs regressor": 2, "rest": 3}.get(
        name, 1
    )

    receipt = forget(model, [3, 7, 7, 999], on_unknown="ignore")

    assert (receipt.rows_removed, receipt.unknown, receipt.duplicates, receipt.requested) == (2, 1, 1, 4)
    assert receipt.guarantee.kind == "exact"
    assert receipt.matches(model)
    for member in _members(model):
        assert member.n_live_ == 58
        assert state_digest(member) == state_digest(reference_fit(member))
    assert len(model.predict(X)) == 60
    is_search = name in ("grid", "random", "halving")
    assert any("best_params_" in what for what in receipt.not_covered) == is_search


def _members(model):
    from skunlearn._plans import survey

    return [member for _, member in survey(model).members]


@pytest.mark.parametrize("name", HOLDERS)
def test_a_refused_request_changes_no_member(name):
    """An id that no member has, of the wrong kind, or an unknown policy: all or nothing."""
    model = holder(name)
    before = [state_digest(member) for member in _members(model)]
    with pytest.raises(UnknownSampleError, match="1 of 2") as caught:
        forget(model, [3, 999])
    assert caught.value.ids == [999]
    with pytest.raises(TypeError):
        forget(model, ["three"])
    for wrong in ({"on_unknown": "what"}, {"on_foreign": "what"}, {"on_search": "what"}):
        with pytest.raises(ValueError, match="Nothing was changed"):
            forget(model, [3], **wrong)
    assert [state_digest(member) for member in _members(model)] == before


def test_a_request_that_one_member_cannot_read_changes_none():
    """The second one was fitted on other ids."""
    model = VotingRegressor([("a", Ridge()), ("b", Ridge())]).fit(X, Y)
    model.estimators_[1].fit(X, Y, sample_ids=IDS)
    before = [state_digest(member) for member in model.estimators_]
    with pytest.raises(TypeError, match="int64"):
        forget(model, IDS[:1])
    assert [state_digest(member) for member in model.estimators_] == before


def test_a_warning_turned_into_an_error_changes_no_member():
    """It is raised before the first one changes."""
    model = MultiOutputClassifier(GaussianNB()).fit(X, np.column_stack([Y, THREE == 9, np.arange(60) == 5]).astype(int))
    before = [state_digest(member) for member in model.estimators_]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Warning, match="1 of 2 classes"):
            forget(model, [5])
    assert [state_digest(member) for member in model.estimators_] == before


def test_no_class_may_vanish_where_the_estimator_around_has_numbered_them():
    """Columns would be another class's; with declared classes they stay where they are."""
    labels = np.where(np.arange(60) == 8, 0, Y + 1)
    model = VotingClassifier([("a", GaussianNB()), ("b", GaussianNB())], voting="soft").fit(X, labels)
    before = [state_digest(member) for member in model.estimators_]
    with pytest.raises(ForeignStepError, match=r"1 of 3 classes would have no rows left.*Nothing was changed"):
        forget(model, [8])
    assert [state_digest(member) for member in model.estimators_] == before

    declared = VotingClassifier([("a", GaussianNB(classes=[0, 1, 2]))], voting="soft").fit(X, labels)
    forget(declared, [8])
    assert declared.predict_proba(X)[:, 0].max() == 0.0


def test_a_search_is_run_again_on_the_rows_that_are_left():
    """Nothing of the choice then rests on forgotten rows: it is that of a search without them."""
    grid = {"var_smoothing": [1e-9, 1.0]}
    search = GridSearchCV(GaussianNB(), grid, cv=3).fit(X, Y, sample_ids=IDS)

    receipt = forget(search, IDS[:20], on_search="refit")

    alone = GridSearchCV(GaussianNB(), grid, cv=3).fit(X[20:], Y[20:], sample_ids=IDS[20:])
    assert search.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()
    assert state_digest(search.best_estimator_) == state_digest(alone.best_estimator_)
    assert receipt.matches(search)
    assert receipt.not_covered == ()
    assert receipt.fraction_refitted == 1.0


def test_what_learned_across_folds_is_blocked_or_kept_by_name():
    """Stacks and calibrators: members forget, what was trained on their answers is named."""
    stack = StackingClassifier([("a", GaussianNB())], TheirLogisticRegression(), cv=2).fit(X, Y)
    folds = list(KeyedKFold(3, random_state=0).split(X, groups=np.arange(60)))
    calibrated = CalibratedClassifierCV(GaussianNB(), cv=folds).fit(X, Y, sample_ids=np.arange(60))
    for model, path in ((stack, "final_estimator_"), (calibrated, "calibrated_classifiers_[0].calibrators")):
        plan = can_forget(model)
        assert actions(plan)[path] == "blocked"
        assert not plan.is_possible
        with pytest.raises(ForeignStepError, match=r"skunlearn.*on_foreign='refit'.*on_foreign='keep'"):
            forget(model, [3])
        with pytest.raises(ForeignStepError):
            forget(model, [3], on_foreign="refit")

        receipt = forget(model, [3], on_foreign="keep")

        assert receipt.guarantee.kind == "none"
        assert (receipt.rows_removed, receipt.unknown) == (1, 0)
        assert any(path in what for what in receipt.not_covered)
        assert sum(60 - len(member._live.rows) for member in _members(model)) > 0
        for member in _members(model):
            assert state_digest(member) == state_digest(reference_fit(member))
            with pytest.raises(UnknownSampleError):
                member.partial_forget([3])


def test_what_is_in_the_way_says_why():
    """Bagging, plain steps that learned, ours behind a step that learned, and what was not fitted."""
    bagging = BaggingClassifier(GaussianNB(), n_estimators=2).fit(X, Y)
    assert "bootstrap" in can_forget(bagging).steps[0].reason
    with pytest.raises(ForeignModelError, match="bootstrap"):
        forget(bagging, [3])
    behind = sklearn.pipeline.make_pipeline(StandardScaler(), Ridge()).fit(X, Y)
    assert actions(can_forget(behind)) == {"": "unchanged", "standardscaler": "forget", "ridge": "blocked"}
    frozen = sklearn.pipeline.make_pipeline(FrozenEstimator(PCA(2).fit(X)), GaussianNB()).fit(X, Y)
    assert can_forget(frozen).is_possible
    assert "declared independent" in can_forget(frozen).not_covered[0]
    unfitted = GridSearchCV(GaussianNB(), {}, refit=False).fit(X, Y)
    assert "kept no fitted estimator" in can_forget(unfitted).steps[0].reason
    with pytest.raises(ForeignModelError, match="no part of it has rows"):
        forget(sklearn.pipeline.make_pipeline(theirs.Normalizer()).fit(X), [3])


# --- plain scikit-learn ----------------------------------------------------------------------------------------------

PLAIN = [
    KNeighborsClassifier(),
    SVC(),
    SVR(),
    OneClassSVM(),
    KernelRidge(),
    KernelPCA(2),
    KernelDensity(),
    KNNImputer(),
    GaussianProcessRegressor(),
    LocalOutlierFactor(),
    DBSCAN(),
    PCA(2),
    TheirRidge(),
    TheirGaussianNB(),
    RandomForestClassifier(3),
]


@pytest.mark.parametrize("estimator", PLAIN, ids=lambda estimator: type(estimator).__name__)
def test_a_plain_pipeline_is_blocked_and_names_what_keeps_rows(estimator):
    """Every learned step is named, and what the plan says of it is what a scan of its pickle finds."""
    rows, y, marked = marked_rows()
    model = sklearn.pipeline.make_pipeline(theirs.FunctionTransformer(), theirs.MaxAbsScaler(), estimator)
    model.fit(rows, y)
    fitted = type(estimator)(**estimator.get_params()).fit(rows, y)  # on the rows as they are, to find their bytes

    plan = can_forget(model)
    same, scaler, last = plan.steps[1:]

    assert (same.action, scaler.action, last.action) == ("unchanged", "blocked", "blocked")
    assert (plan.kind, plan.needs_rows, plan.is_possible) == ("none", True, False)
    held = any(value.tobytes() in pickle.dumps(fitted) for value in marked)
    assert held == (last.keeps == "values of rows, bit for bit"), MARKED
    if not held:
        assert has_entry_a_row(fitted) == (last.keeps == "one entry a row")
    with pytest.raises(ForeignStepError, match=r"2 of 4 parts .*MaxAbsScaler"):
        forget(model, [3])


# --- how ids travel --------------------------------------------------------------------------------------------------


def test_ids_travel_without_routing():
    """What names fit parameters hands them on, split with the folds; ensembles refuse them."""
    model = make_pipeline(StandardScaler(), GaussianNB())
    search = GridSearchCV(model, {"gaussiannb__var_smoothing": [1e-9]}, cv=2).fit(X, Y, sample_ids=IDS)
    assert forget(search, IDS[:2]).rows_removed == 2
    plain = sklearn.pipeline.make_pipeline(theirs.Normalizer(), GaussianNB()).fit(X, Y, gaussiannb__sample_ids=IDS)
    assert forget(plain, IDS[:2]).rows_removed == 2
    calibrated = CalibratedClassifierCV(GaussianNB(), cv=3).fit(X, Y, sample_ids=IDS)
    sizes = [len(pair.estimator._live.rows) for pair in calibrated.calibrated_classifiers_]
    assert sizes == [40, 40, 40]
    fitted = cross_validate(GaussianNB(), X, Y, params={"sample_ids": IDS}, return_estimator=True, cv=3)["estimator"]
    assert {member.n_live_ for member in fitted} == {40}
    outputs = MultiOutputClassifier(GaussianNB()).fit(X, Y[:, None], sample_ids=IDS)
    assert forget(outputs, IDS[:2]).rows_removed == 2
    for refusing in (VotingClassifier([("a", GaussianNB())]), BaggingClassifier(GaussianNB())):
        with pytest.raises(ValueError, match="enable_metadata_routing"):
            refusing.fit(X, Y, sample_ids=IDS)
    with pytest.raises((ValueError, TypeError), match=r"enable_metadata_routing|unexpected keyword"):
        StackingClassifier([("a", GaussianNB())]).fit(X, Y, sample_ids=IDS)


def test_ids_travel_with_routing():
    """Where our classes request them; bagging draws rows with repetition, a stack hands ids to its last model, too."""
    with sklearn.config_context(enable_metadata_routing=True):
        asking = GaussianNB().set_fit_request(sample_ids=True)
        voting = VotingClassifier([("a", asking), ("b", asking)], voting="soft").fit(X, Y, sample_ids=IDS)
        assert forget(voting, IDS[:2]).rows_removed == 2
        search = GridSearchCV(asking, {"var_smoothing": [1e-9]}, cv=2).fit(X, Y, sample_ids=IDS)
        assert forget(search, IDS[:2]).rows_removed == 2
        with pytest.raises(DuplicateSampleError):
            BaggingClassifier(asking, bootstrap=True, random_state=0).fit(X, Y, sample_ids=IDS)
        with pytest.raises(TypeError, match="sample_ids"):
            StackingClassifier([("a", asking)], TheirLogisticRegression()).fit(X, Y, sample_ids=IDS)
        last = LogisticRegression().set_fit_request(sample_ids=True)
        stack = StackingClassifier([("a", asking)], last, cv=2).fit(X, Y, sample_ids=IDS)
        assert stack.final_estimator_.n_live_ == 60
