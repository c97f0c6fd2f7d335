"""`skunlearn.forgetting`: plans, receipts, and the estimators within scikit-learn's own machinery."""

import copy
import json
import pickle
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import sklearn.naive_bayes
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import skunlearn
from skunlearn.cluster import KMeans
from skunlearn.exceptions import ForeignModelError, ForgettingDisabledError, UnknownSampleError
from skunlearn.naive_bayes import BernoulliNB, CategoricalNB

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
estimators = pytest.mark.parametrize("Estimator", [BernoulliNB, CategoricalNB])

X = np.random.default_rng(4).integers(0, 3, (30, 4)).astype(float)
X[:3] = 2
Y = np.arange(30) % 2
IDS = [f"id-{n}" for n in range(30)]
SUBJECTS = [f"subject-{n // 5}" for n in range(30)]


def fit(Estimator: Any, **params: Any) -> Any:
    return Estimator(**params).fit(X, Y, sample_ids=IDS, subject_ids=SUBJECTS)


# --- plans and receipts ----------------------------------------------------------------------------------------------


@estimators
def test_a_plan_says_what_would_happen_and_touches_nothing(Estimator: Any) -> None:
    """One exact step, as a table and as fields."""
    model = fit(Estimator)
    before = pickle.dumps(model)

    plan = skunlearn.can_forget(model)

    assert plan.is_possible
    assert (plan.kind, plan.needs_rows, plan.not_covered, plan.expected_refit_probability) == ("exact", False, (), 0.0)
    assert [(s.type, s.action, s.kind) for s in plan.steps] == [(Estimator.__name__, "forget", "exact")]
    assert "30 rows" in plan.steps[0].keeps
    header, row = str(plan).splitlines()
    assert header.split() == ["part", "class", "action", "guarantee", "why"]
    assert row.split()[:4] == ["(model)", Estimator.__name__, "forget", "exact"]
    assert pickle.dumps(model) == before


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (sklearn.naive_bayes.BernoulliNB().fit(X, Y), "not an estimator of skunlearn"),
        (fit(BernoulliNB).release(), "not an estimator of skunlearn"),
        (BernoulliNB().fit(X, Y, forgettable=False), "forgettable=False"),
        (object(), "not an estimator of skunlearn"),
        (None, "not an estimator of skunlearn"),
    ],
    ids=["twin", "release", "unforgettable", "object", "None"],
)
def test_a_model_that_cannot_forget_is_blocked_with_the_reason(model: Any, reason: str) -> None:
    """The plan says why, and forget raises the same."""
    plan = skunlearn.can_forget(model)

    assert not plan.is_possible
    assert (plan.kind, plan.needs_rows, plan.steps[0].action) == ("none", True, "blocked")
    assert reason in plan.steps[0].reason
    assert "blocked" in str(plan)
    with pytest.raises(ForeignModelError, match=f"{reason}.*Nothing was changed.*refit"):
        skunlearn.forget(model, [0])


@estimators
def test_a_receipt_counts_and_names_nobody(Estimator: Any) -> None:
    """What went, by whom it was asked for, and no id, value or digest."""
    model = fit(Estimator)

    receipt = skunlearn.forget(
        model, [IDS[0], IDS[7], IDS[7], "nobody"], subject_ids=["subject-1", "nobody"], on_unknown="ignore"
    )

    assert (receipt.requested, receipt.rows_removed, receipt.subjects_removed, receipt.unknown, receipt.duplicates) == (
        6,
        6,
        1,
        2,
        1,
    )
    assert receipt.model_class == Estimator.__name__
    assert receipt.guarantee == model.guarantee_
    assert receipt.library_versions["scikit-unlearn"] == skunlearn.__version__
    for text in (repr(receipt), receipt.to_json()):
        assert "id-" not in text
        assert "subject-" not in text
        assert "nobody" not in text
        assert repr(receipt.nonce) not in text
        assert receipt.nonce.hex() not in text
        assert skunlearn.state_digest(model).hex() not in text


@estimators
def test_a_receipt_round_trips_through_json(Estimator: Any) -> None:
    """Sorted keys, plain values."""
    receipt = skunlearn.forget(fit(Estimator), IDS[:3])

    plain = json.loads(receipt.to_json())

    assert plain == json.loads(json.dumps(receipt.to_dict()))
    assert list(plain) == sorted(plain)
    assert plain["guarantee"]["kind"] == "exact"
    assert plain["steps"][0]["action"] == "forget"
    assert "nonce" not in plain


@estimators
def test_a_receipt_matches_the_state_it_commits_to(Estimator: Any) -> None:
    """A copy and a reference fit match; another set of rows, and another receipt's nonce, do not."""
    model = fit(Estimator)
    receipt = skunlearn.forget(model, IDS[3:6])

    assert receipt.matches(model)
    assert receipt.matches(skunlearn.reference_fit(model))
    assert receipt.matches(fit(Estimator).partial_forget(IDS[3:6]))
    assert not receipt.matches(fit(Estimator))
    later = skunlearn.forget(model, IDS[6:7])
    assert not receipt.matches(model)
    assert later.matches(model)
    again = skunlearn.forget(model, [])
    assert again.matches(model)
    assert again.state_commitment_after != later.state_commitment_after
    assert again.receipt_id != later.receipt_id


@estimators
def test_a_refused_request_gives_no_receipt_and_changes_nothing(Estimator: Any) -> None:
    """All or nothing."""
    model = fit(Estimator)
    before = skunlearn.state_digest(model)
    with pytest.raises(UnknownSampleError, match="1 of 2"):
        skunlearn.forget(model, [IDS[0], "nobody"])
    assert skunlearn.state_digest(model) == before


# --- the life of a model ---------------------------------------------------------------------------------------------


@estimators
def test_forgetting_everything_and_learning_revives_the_model(Estimator: Any) -> None:
    """Emptied, it has no classes; revived, it is the model of the new rows, the old ids included."""
    model = fit(Estimator).partial_forget(IDS)

    assert model.n_live_ == 0
    assert not hasattr(model, "classes_") or model.classes_ is None
    assert model.n_features_in_ == 4
    with pytest.raises(NotFittedError, match="partial_fit"):
        model.predict(X)
    again = pickle.loads(pickle.dumps(model))
    for each in (model, again, skunlearn.reference_fit(model)):
        each.partial_fit(X, Y, sample_ids=IDS, subject_ids=SUBJECTS)
        assert skunlearn.state_digest(each) == skunlearn.state_digest(fit(Estimator))
        assert each.predict(X).tolist() == fit(Estimator).predict(X).tolist()


@estimators
def test_a_subject_s_rows_may_arrive_at_any_time(Estimator: Any) -> None:
    """All of them go together, the rows of others stay."""
    model = fit(Estimator)
    model.partial_fit(X[:2], Y[:2], sample_ids=["late-1", "late-2"], subject_ids=["subject-1", "new"])
    model.partial_fit(X[:1], Y[:1], sample_ids=["nobody's"])

    model.partial_forget(subject_ids=["subject-1"])

    report = model.forget_report_
    assert (report.rows_removed, report.n_subjects, report.path) == (6, 1, "update")
    assert model.n_live_ == 27
    model.partial_forget(["late-2", "nobody's"])
    assert skunlearn.state_digest(model) == skunlearn.state_digest(fit(Estimator).partial_forget(IDS[5:10]))


@estimators
def test_parameters_are_frozen_at_fit(Estimator: Any) -> None:
    """set_params takes effect at the next fit, and not between."""
    model = fit(Estimator, alpha=1.0)
    expected = skunlearn.state_digest(fit(Estimator, alpha=1.0).partial_forget(IDS[:2]))

    model.set_params(alpha=0.25).partial_forget(IDS[:2])

    assert skunlearn.state_digest(model) == expected
    assert skunlearn.state_digest(pickle.loads(pickle.dumps(model))) == expected
    assert model.release().alpha == 1.0
    assert model.get_params()["alpha"] == 0.25
    model.fit(X, Y, sample_ids=IDS, subject_ids=SUBJECTS)
    assert skunlearn.state_digest(model) == skunlearn.state_digest(fit(Estimator, alpha=0.25))


@estimators
def test_a_parameter_array_is_the_user_s_own(Estimator: Any) -> None:
    """Changing it in place later changes no model."""
    prior = np.array([0.25, 0.75])
    model = Estimator(class_prior=prior).fit(X, Y)
    before = skunlearn.state_digest(model), model.predict_proba(X).tobytes()
    prior[:] = 0.5
    model.partial_forget([29])
    model.partial_fit(X[29:], Y[29:], sample_ids=[29])
    assert (skunlearn.state_digest(model), model.predict_proba(X).tobytes()) == before


@estimators
def test_clone_copies_parameters_and_the_other_copies_everything(Estimator: Any) -> None:
    """clone is unfitted; deepcopy and pickle are models of their own."""
    model = fit(Estimator, alpha=0.5)
    assert clone(model)._live is None
    assert clone(model).alpha == 0.5
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert skunlearn.state_digest(twin) == skunlearn.state_digest(model)
        twin.partial_forget(IDS[:1])
        assert model.n_live_ == 30


@estimators
def test_a_model_that_keeps_no_rows_predicts_and_holds_none(Estimator: Any) -> None:
    """forgettable=False: for search clones."""
    model = Estimator().fit(X, Y, sample_ids=IDS, forgettable=False)

    assert model.n_live_ == 0
    assert model.predict_proba(X).tobytes() == Estimator().fit(X, Y).predict_proba(X).tobytes()
    again = pickle.loads(pickle.dumps(model))
    assert again.predict_proba(X).tobytes() == model.predict_proba(X).tobytes()
    assert model.classes_.tolist() == again.classes_.tolist() == [0, 1]
    with pytest.raises(ForgettingDisabledError):
        again.partial_forget(IDS[:1])
    assert model.fit(X, Y, sample_ids=IDS).partial_forget(IDS[:1]).n_live_ == 29


@estimators
def test_a_release_gives_a_class_without_rows_probability_0(Estimator: Any) -> None:
    """With alpha=0, too, where 0 of 0 rows is NaN, which scikit-learn's argmax takes for the largest."""
    model = Estimator(alpha=0.0, classes=[0, 1, 2]).fit([[0, 1], [1, 0], [0, 0], [1, 1]], [1, 1, 2, 2])
    X = [[0, 1], [1, 0]]

    with np.errstate(divide="ignore"):
        released = model.release().predict_proba(X)

    assert released[:, 0].tolist() == model.predict_proba(X)[:, 0].tolist() == [0.0, 0.0]
    np.testing.assert_allclose(released, model.predict_proba(X), rtol=1e-12)


@estimators
def test_a_release_is_scikit_learn_s_own_and_has_the_same_attributes(Estimator: Any) -> None:
    """Bit for bit, and without a way back."""
    model = fit(Estimator).partial_forget(IDS[4:9])

    released = model.release()

    assert type(released) is getattr(sklearn.naive_bayes, Estimator.__name__)
    for name in ("classes_", "class_count_", "class_log_prior_", "n_features_in_"):
        assert np.asarray(getattr(released, name)).tobytes() == np.asarray(getattr(model, name)).tobytes()
    for mine, theirs in zip(model.feature_log_prob_, released.feature_log_prob_, strict=True):
        assert mine.tobytes() == theirs.tobytes()
    assert released.predict(X).tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(released.predict_proba(X), model.predict_proba(X), rtol=1e-12)
    released.class_count_[:] = 0
    assert model.class_count_.sum() == 25
    with pytest.raises(ValueError, match="read-only"):
        model.class_count_[:] = 0


@estimators
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_frames_give_their_names(Estimator: Any, frame: Any) -> None:
    """Names of columns are kept, saved and released; ids never come from an index."""
    table = frame(dict(zip("abcd", X.T, strict=True)))
    model = Estimator().fit(table, Y, sample_ids=IDS)

    for each in (model, pickle.loads(pickle.dumps(model)), model.release(), skunlearn.reference_fit(model)):
        assert list(each.feature_names_in_) == list("abcd")
        assert each.predict(table).tolist() == fit(Estimator).predict(X).tolist()
    with pytest.raises(AttributeError, match="columns without names"):
        fit(Estimator).feature_names_in_  # noqa: B018
    assert Estimator().fit(table, Y)._live.rows.native.ids(np.arange(3, dtype=np.uint32)).tolist() == [0, 1, 2]


def test_a_receipt_says_what_was_refitted() -> None:
    """Where the next read derives all anew, all of the model is refitted; where a deletion is followed, nothing is."""
    model = KMeans(2, init=np.array([[0.0], [9.0]])).fit([[0.0], [1.0], [8.0], [9.0]])

    assert skunlearn.forget(model, [1]).fraction_refitted == 0.0
    model._live.core._engine = None
    assert skunlearn.forget(model, [2]).fraction_refitted == 1.0


def test_ids_are_not_inferred_from_an_index() -> None:
    """A frame's index is no promise that its entries name rows."""
    table = pd.DataFrame(X, columns=list("abcd"), index=IDS)
    with pytest.raises(TypeError, match="str, but this model was fitted with int64"):
        BernoulliNB().fit(table, Y).partial_forget(IDS[:1])


# --- within scikit-learn's machinery ---------------------------------------------------------------------------------


@estimators
def test_a_step_of_a_pipeline_gets_its_ids_by_name(Estimator: Any) -> None:
    """step__sample_ids, without routing."""
    pipeline = Pipeline([("same", FunctionTransformer()), ("model", Estimator())])
    pipeline.fit(X, Y, model__sample_ids=IDS, model__subject_ids=SUBJECTS)
    pipeline[-1].partial_forget(subject_ids=["subject-2"])
    assert skunlearn.state_digest(pipeline[-1]) == skunlearn.state_digest(fit(Estimator).partial_forget(IDS[10:15]))


@estimators
def test_ids_are_routed_to_where_they_are_asked_for(Estimator: Any) -> None:
    """set_fit_request through a Pipeline and a GridSearchCV, with routing on."""
    with sklearn.config_context(enable_metadata_routing=True):
        model = Estimator().set_fit_request(sample_ids=True, subject_ids=True, sample_weight=False)
        pipeline = Pipeline([("same", FunctionTransformer()), ("model", model)])
        pipeline.fit(X, Y, sample_ids=np.array(IDS, dtype=object), subject_ids=np.array(SUBJECTS, dtype=object))
        assert skunlearn.state_digest(pipeline[-1]) == skunlearn.state_digest(fit(Estimator))

        search = GridSearchCV(pipeline, {"model__alpha": [0.5, 1.0]}, cv=3, error_score="raise")
        search.fit(X, Y, sample_ids=np.array(IDS, dtype=object), subject_ids=np.array(SUBJECTS, dtype=object))
        best = search.best_estimator_[-1]
        assert skunlearn.state_digest(best) == skunlearn.state_digest(fit(Estimator, alpha=best.alpha))
        assert best.partial_forget(IDS[:4]).n_live_ == 26


@estimators
def test_a_search_over_models_without_rows_fits_its_clones(Estimator: Any) -> None:
    """forgettable=False passes through fit parameters."""
    search = GridSearchCV(Estimator(), {"alpha": [0.5, 1.0]}, cv=3, refit=False, error_score="raise")
    search.fit(X, Y, forgettable=False)
    assert len(search.cv_results_["params"]) == 2
