"""A pipeline forgets in all of its steps, and equals a refit bit for bit."""

import copy
import pickle
import warnings
from contextlib import suppress
from inspect import signature

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.pipeline
import sklearn.preprocessing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeClassifier
from tests.composites.chains import assert_equals_refit, chains, outputs, run_history, table

from skunlearn import Key, can_forget, forget, reference_fit, state_digest
from skunlearn._faults import FAULT_POINTS, inject
from skunlearn.cluster import KMeans
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from skunlearn.exceptions import ForeignStepError, OwnedStepError, UnknownSampleError
from skunlearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, RidgeCV
from skunlearn.naive_bayes import GaussianNB, MultinomialNB
from skunlearn.neighbors import NearestCentroid
from skunlearn.pipeline import Pipeline, make_pipeline, make_union
from skunlearn.preprocessing import StandardScaler
from skunlearn.sharded import SISAClassifier

pytestmark = pytest.mark.filterwarnings("ignore")


def n_fits(pipeline):
    """Return how often each step was fitted on all rows."""
    return [part.n_fits for part in pipeline._live.core.parts]


def rows(n_rows=60, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_rows, 3))
    return X, (X[:, 0] + 0.3 * rng.standard_normal(n_rows) > 0).astype(int)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=list(Phase)[:3])
@given(chains(), st.data())
def test_any_history_of_any_chain_equals_refit(chain, data):
    """Learning and forgetting in any order, read in between or not, is a fit on the rows that are left."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    X, y = table(rng, 24)
    weight = rng.integers(0, 3, 24).astype(float) if data.draw(st.booleans()) else None
    run_history(chain, X, y, weight, data)


@pytest.mark.parametrize("scaler", [StandardScaler(random_state=0), "passthrough"])
def test_a_pipeline_without_steps_that_learn_is_a_step(scaler):
    X, y = rows()
    pipeline = make_pipeline(scaler, make_pipeline("passthrough", "passthrough"), Ridge()).fit(X, y)
    alone = make_pipeline(scaler, Ridge()).fit(X, y)
    for model in (pipeline, alone):
        model.partial_forget([0, 1, 2])
    np.testing.assert_array_equal(pipeline.predict(X), alone.predict(X))
    assert_equals_refit(pipeline, X)
    np.testing.assert_array_equal(pipeline.release().predict(X), alone.release().predict(X))


def test_steps_equal_those_fitted_alone_on_transformed_rows():
    """The core of a step is bitwise that of an estimator which was handed the transformed rows."""
    X, y = rows()
    key = Key(bytes(32))
    pipeline = make_pipeline(StandardScaler(random_state=0), PCA(2), LogisticRegression()).fit(X, y)
    pipeline.partial_forget(range(10))

    scaler = StandardScaler(random_state=0).fit(X[10:])
    pca = PCA(2, random_state=key).fit(scaler.transform(X[10:]))
    alone = LogisticRegression().fit(pca.transform(scaler.transform(X[10:])), y[10:])

    assert pipeline[0].transform_digest() == scaler.transform_digest()
    assert pipeline[1].transform_digest() == pca.transform_digest()
    np.testing.assert_array_equal(pipeline[2].coef_, alone.coef_)
    np.testing.assert_array_equal(pipeline.predict(X), alone.predict(pca.transform(scaler.transform(X))))


def test_a_step_is_refitted_only_where_a_map_before_it_moved():
    """While the scaler stays in its cell, nothing behind it is fitted again; where it leaves it, each once a read."""
    X, y = rows(2000)
    X[0] = 1e3
    pipeline = make_pipeline(StandardScaler(random_state=0), GaussianNB()).fit(X, y)

    for i in range(1, 40):
        pipeline.partial_forget([i]).predict(X[:1])
    within = n_fits(pipeline)[1]
    pipeline.partial_forget([0])
    before_read = n_fits(pipeline)
    pipeline.predict(X[:1])

    assert within <= 3  # of 39 deletions
    assert before_read == [1, within]
    assert n_fits(pipeline) == [1, within + 1]


def test_a_map_that_leaves_and_returns_between_reads_costs_nothing():
    """What counts is the map at the next read, not the path to it."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(random_state=0), Ridge()).fit(X, y)

    pipeline.partial_fit(1e3 * X[:1], y[:1], sample_ids=[99]).partial_forget([99]).predict(X)

    assert n_fits(pipeline) == [1, 1]
    assert_equals_refit(pipeline, X)


@pytest.mark.parametrize("point", [p for p in FAULT_POINTS if not p.startswith("fit")])
def test_whatever_fails_leaves_the_old_rows_or_the_new(point):
    """A fault before the commit changes nothing; one after it is made good at the next read."""
    X, _ = rows()
    pipeline = make_pipeline(StandardScaler(exact_statistics=True), PCA(2), KMeans(2)).fit(X[:50])

    class Fault(Exception):
        pass

    def fail(name):
        if name == point:
            raise Fault

    for change in (
        lambda: pipeline.partial_forget([0, 1, 2]).predict(X),
        lambda: pipeline.partial_fit(X[50:], sample_ids=range(50, 60)).predict(X),
    ):
        with inject(fail), suppress(Fault):
            change()
        assert_equals_refit(pipeline, X)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize(
    "steps",
    [
        [StandardScaler(), PCA(2), LogisticRegression()],
        [StandardScaler(), KMeans(2, random_state=0)],
        [StandardScaler(), make_pipeline(PCA(), StandardScaler()), RandomForestClassifier(n_estimators=2)],
    ],
)
def test_saving_keeps_the_model(steps, copied):
    """A copy is the same model under the same key, and forgets on."""
    X, y = rows()
    pipeline = make_pipeline(*steps).fit(X, y, subject_ids=[f"s{i // 4}" for i in range(60)])
    pipeline.partial_forget(subject_ids=["s3", "s7"])

    twin = copied(pipeline)

    assert state_digest(twin) == state_digest(pipeline)
    assert outputs(twin, X) == outputs(pipeline, X)
    twin.partial_forget(range(8))
    assert state_digest(twin) != state_digest(pipeline)
    pipeline.partial_forget(range(8))
    assert state_digest(twin) == state_digest(pipeline)


def test_saved_bytes_hold_rows_once_and_nothing_forgotten():
    """A value of a forgotten row is nowhere in the pickle, in no representation that occurs in memory."""
    X, y = rows()
    X[7] = [1234.5, 2345.25, 3456.125]
    pipeline = make_pipeline(StandardScaler(), KMeans(2), GaussianNB()).fit(X, y)

    with_row, n_bytes = pickle.dumps(pipeline), X.nbytes
    assert with_row.count(np.float64(1234.5).tobytes()) == 1
    assert len(with_row) < n_bytes + 6000

    assert np.float64(1234.5).tobytes() not in pickle.dumps(pipeline.partial_forget([7]))


def test_steps_do_not_learn_or_forget_for_themselves():
    """What only the owner of the rows can do, a step refuses, and changes nothing."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    before = state_digest(pipeline)

    for refused in (
        lambda: pipeline[0].partial_forget([1]),
        lambda: pipeline[1].partial_fit(X, y, sample_ids=range(60, 120)),
        lambda: pipeline[1].reseed(),
        lambda: state_digest(pipeline[0]),
        lambda: reference_fit(pipeline[1]),
        lambda: pickle.dumps(pipeline[0]),
    ):
        with pytest.raises(OwnedStepError, match="belong to the composite"):
            refused()

    assert state_digest(pipeline) == before


def test_steps_read_as_if_they_stood_alone():
    """Attributes, slices and releases of steps are those of the version that the pipeline has."""
    X, y = rows()
    pipeline = Pipeline([("scale", StandardScaler()), ("fit", Ridge())]).fit(X, y)

    pipeline.partial_forget(range(30))

    scaler = pipeline.named_steps["scale"]
    np.testing.assert_array_equal(pipeline[:-1].transform(X), scaler.transform(X))
    np.testing.assert_array_equal(pipeline["fit"].predict(scaler.transform(X)), pipeline.predict(X))
    np.testing.assert_allclose(scaler.exact_mean_, X[30:].mean(axis=0), rtol=1e-12)
    assert scaler.n_live_ == pipeline.n_live_ == 30
    assert type(scaler.release()) is sklearn.preprocessing.StandardScaler


def test_release_is_scikit_learns_own_pipeline():
    """It predicts the same and holds nothing of ours."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), "passthrough", LogisticRegression()).fit(X, y)

    released = pipeline.partial_forget(range(5)).release()

    assert type(released) is sklearn.pipeline.Pipeline
    assert released[1] == "passthrough"
    np.testing.assert_array_equal(released.predict(X), pipeline.predict(X))
    assert b"skunlearn" not in pickle.dumps(released)


def test_given_estimators_are_left_as_they_are():
    """Fitted steps stand in `steps`; those that were given stay unfitted, and two fits share nothing."""
    X, y = rows()
    scaler = StandardScaler()

    one = make_pipeline(scaler, Ridge()).fit(X, y)
    other = make_pipeline(scaler, Ridge()).fit(2 * X, y)

    assert scaler._live is None
    assert one[0].exact_mean_.tolist() != other[0].exact_mean_.tolist()
    assert clone(one)[0]._live is None


def test_parameters_take_effect_at_the_next_fit():
    """They are frozen at `fit`, those of steps included."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=1.0)).fit(X, y)
    before = pipeline.predict(X)

    pipeline.set_params(ridge__alpha=1e6)

    np.testing.assert_array_equal(pipeline.partial_forget([]).predict(X), before)
    assert (pipeline.fit(X, y).predict(X) != before).all()


def test_ids_travel_through_a_search():
    """A search splits the ids with the rows, and its best pipeline forgets by them."""
    X, y = rows()
    ids = [f"row {i}" for i in range(60)]
    search = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [0.1, 1.0]})

    search.fit(X, y, sample_ids=ids)
    search.best_estimator_.partial_forget(ids[:5])

    assert_equals_refit(search.best_estimator_, X)
    with pytest.raises(UnknownSampleError):
        search.best_estimator_.partial_forget(ids[:1])


def test_a_search_over_steps_themselves():
    """A whole step may be a parameter."""
    X, y = rows()
    search = GridSearchCV(
        Pipeline([("scale", "passthrough"), ("fit", GaussianNB())]),
        {"scale": [StandardScaler(), PCA(2), "passthrough"]},
    )

    assert_equals_refit(search.fit(X, y).best_estimator_, X)


def test_nothing_left_is_no_error_until_somebody_reads():
    """The pipeline keeps no row and raises NotFittedError when read; rows revive it."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), PCA(2), Ridge()).fit(X, y)

    pipeline.partial_forget(range(60))

    with pytest.raises(NotFittedError):
        pipeline.predict(X)
    pipeline.partial_fit(X, y, sample_ids=range(60))
    assert_equals_refit(pipeline, X)


def test_rows_that_a_later_step_cannot_take_are_refused():
    """Before anything changes: in `fit`, and in `partial_fit` as far as the maps there are now tell."""
    X, y = rows()
    with pytest.raises(ValueError, match="egative"):
        make_pipeline(StandardScaler(), MultinomialNB()).fit(X, y)

    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y)
    before = state_digest(pipeline)
    with pytest.raises(ValueError, match="1 of 3 values are NaN or infinite as they reach step 'ridge'"):
        pipeline.partial_fit([[np.nan, 0, 0]], [1], sample_ids=[77])
    assert state_digest(pipeline) == before


def test_what_is_not_offered_says_why():
    """Nothing that would make a promise untrue is taken silently."""
    X, y = rows()
    with pytest.raises(ValueError, match="cache of fitted steps on disk"):
        make_pipeline(StandardScaler(), Ridge(), memory="somewhere").fit(X, y)
    with pytest.raises(ForeignStepError, match="1 of 2 steps"):
        Pipeline([("scale", sklearn.preprocessing.MaxAbsScaler()), ("ridge", Ridge())], on_foreign="raise").fit(X, y)
    with pytest.raises(ValueError, match="does not accept the alpha parameter"):
        make_pipeline(StandardScaler(), Ridge()).fit(X, y, alpha=3)
    with pytest.raises(ValueError, match="1 of 2 steps were given sample weights"):
        make_pipeline(StandardScaler(), Ridge()).fit(X, y, ridge__sample_weight=np.ones(60))


def test_chains_of_steps_that_change_nothing():
    """Alone, and first in another chain, where columns are counted although no step sees them."""
    X, y = rows()
    inner = make_pipeline("passthrough", "passthrough")
    assert make_pipeline("passthrough").fit(X).partial_forget([3]).transform(X).tobytes() == X.tobytes()
    assert_equals_refit(make_pipeline(inner, Ridge()).fit(X, y).partial_forget([3]), X)


def test_plan_and_receipt():
    """`can_forget` and `forget` take a pipeline as any other model."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), Ridge()).fit(X, y)

    assert can_forget(pipeline).is_possible
    receipt = forget(pipeline, [1, 2])

    assert receipt.rows_removed == 2
    assert receipt.guarantee.kind == "exact"
    assert receipt.matches(pipeline)


def test_scikit_learns_pipeline_agrees():
    """With exact statistics, predictions are scikit-learn's to its rounding."""
    X, y = rows()
    ours = make_pipeline(StandardScaler(exact_statistics=True), Ridge()).fit(X, y)
    theirs = sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), sklearn.linear_model.Ridge())

    np.testing.assert_allclose(ours.predict(X), theirs.fit(X, y).predict(X), rtol=1e-9)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-9)


def test_emptying_warns_before_a_class_goes():
    """As a classifier that stands alone does."""
    X, y = rows()
    pipeline = make_pipeline(StandardScaler(), GaussianNB()).fit(X, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pipeline.partial_forget(np.flatnonzero(y == 1))
    assert [w.category.__name__ for w in caught] == ["ClassVanishedWarning"]
    assert pipeline.classes_.tolist() == [0]


@pytest.mark.parametrize(
    "estimator",
    [
        ExtraTreesClassifier(n_estimators=3, random_state=0),
        GaussianNB(),
        KMeans(3, random_state=0),
        LinearDiscriminantAnalysis(),
        LinearRegression(),
        LogisticRegression(),
        NearestCentroid(),
        QuadraticDiscriminantAnalysis(),
        RandomForestClassifier(n_estimators=3, random_state=0),
        RidgeCV(cv=2, random_state=0),
        RidgeClassifier(),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_an_estimator_behind_a_scaler_is_the_one_on_scaled_rows(estimator):
    """After forgetting, weights included, it says bitwise what one does that was handed the scaled rows."""
    X, y = rows(90, seed=5)
    weight = None if "sample_weight" not in signature(estimator.fit).parameters else 1.0 + np.arange(90) % 3
    pipeline = make_pipeline(StandardScaler(random_state=0), estimator).fit(X, y, sample_weight=weight)

    pipeline.partial_forget(range(30))

    scaler = StandardScaler(random_state=0)
    scaler.fit(X[30:], sample_weight=None if weight is None else weight[30:])
    options = {} if weight is None else {"sample_weight": weight[30:]}
    alone = clone(estimator).fit(scaler.transform(X[30:]), y[30:], sample_ids=range(30, 90), **options)
    assert {m: v for m, v in outputs(pipeline, X).items() if m != "transform"} == {
        m: v for m, v in outputs(alone, scaler.transform(X)).items() if m != "transform"
    }


def test_a_union_equals_refit_and_agrees_with_scikit_learns():
    """Transformers of the same rows, side by side, alone and in a pipeline."""
    X, y = rows()
    union = make_union(StandardScaler(exact_statistics=True), PCA(2), "passthrough").fit(X)
    theirs = sklearn.pipeline.make_union(sklearn.preprocessing.StandardScaler(), "passthrough").fit(X)

    np.testing.assert_allclose(union.transform(X)[:, [0, 1, 2, 5, 6, 7]], theirs.transform(X), rtol=1e-9, atol=1e-12)
    assert union.get_feature_names_out().tolist()[:5] == [
        *(f"standardscaler__x{j}" for j in range(3)),
        "pca__pca0",
        "pca__pca1",
    ]
    union.partial_forget(range(9))
    assert_equals_refit(union, X)
    np.testing.assert_allclose(union.release().transform(X), union.transform(X), rtol=1e-9, atol=1e-12)
    assert state_digest(pickle.loads(pickle.dumps(union))) == state_digest(union)

    chain = make_pipeline(make_union(StandardScaler(random_state=0), PCA(1)), LogisticRegression()).fit(X, y)
    assert_equals_refit(chain.partial_forget(range(9)), X)


def test_a_pipeline_that_is_not_forgettable_predicts_and_keeps_no_row():
    """Search clones that are thrown away need no rows; what they predict is the same."""
    X, _ = rows()
    steps = [StandardScaler(random_state=0), KMeans(2, random_state=0)]
    kept, thrown = make_pipeline(*steps).fit(X), make_pipeline(*steps).fit(X, forgettable=False)

    assert thrown.n_live_ == 0
    np.testing.assert_array_equal(thrown.predict(X), kept.predict(X))
    twin = pickle.loads(pickle.dumps(thrown))
    np.testing.assert_array_equal(twin.predict(X), kept.predict(X))
    assert X[0].tobytes() not in pickle.dumps(thrown)


def test_what_needs_rows_of_its_own_is_refused():
    forest = RandomForestClassifier(n_estimators=2, bootstrap=True, oob_score=True)
    with pytest.raises(ValueError, match="keeps no rows"):
        make_pipeline(StandardScaler(), forest).fit(np.zeros((4, 2)), [0, 0, 1, 1])


def test_shards_behind_a_scaler_keep_a_subject_together():
    rng = np.random.default_rng(0)
    X, people = rng.standard_normal((60, 3)), rng.integers(0, 12, 60)
    y = (X[:, 0] > 0).astype(int)
    shards = SISAClassifier(DecisionTreeClassifier(max_features=1), n_shards=3, random_state=0)
    model = make_pipeline(StandardScaler(random_state=1), shards).fit(X, y, subject_ids=people)
    for person in range(6):
        before = model[-1].shard_sizes_
        model.partial_forget(subject_ids=[person])
        assert (model[-1].shard_sizes_ != before).sum() == 1
        assert state_digest(model) == state_digest(reference_fit(model))
        np.testing.assert_array_equal(model.predict_proba(X), reference_fit(model).predict_proba(X))
