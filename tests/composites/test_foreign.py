"""Foreign steps: scikit-learn's own estimators, and others, inside composites that forget."""

import gc
import pickle
import weakref

import lightgbm
import numpy as np
import pandas as pd
import pytest
import sklearn.compose
import sklearn.preprocessing as theirs
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import CountVectorizer as TheirCountVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.frozen import FrozenEstimator
from sklearn.kernel_approximation import RBFSampler
from sklearn.linear_model import LogisticRegression as TheirLogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier
from tests.composites.chains import assert_equals_refit, run_history, table

from skunlearn import reference_fit, state_digest
from skunlearn.compose import ColumnTransformer, make_column_transformer
from skunlearn.exceptions import ForeignStepError, OwnedStepError
from skunlearn.feature_extraction.text import CountVectorizer
from skunlearn.linear_model import LogisticRegression, Ridge
from skunlearn.naive_bayes import GaussianNB
from skunlearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler

pytestmark = [
    pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning"),
    pytest.mark.filterwarnings("ignore:.*:sklearn.exceptions.ConvergenceWarning"),
]

N_ROWS = 60


def rows():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(N_ROWS, 4))
    return X, (X[:, 0] + rng.normal(size=N_ROWS) > 0).astype(int)


def frame():
    X, y = rows()
    mixed = pd.DataFrame(X, columns=list("abcd"))
    mixed["country"] = np.array(["fr", "de", "it"], dtype=object)[np.arange(N_ROWS) % 3]
    mixed.loc[7, "country"] = "vanishing"
    return mixed, y


class Noise(TransformerMixin, BaseEstimator):
    """A transformer that draws from NumPy's global generator: no function of its rows."""

    def fit(self, X, y=None):
        """Draw a shift."""
        self.shift_ = np.random.random_sample()  # noqa: NPY002
        return self

    def transform(self, X):
        """Shift rows."""
        return X + self.shift_


COMPOSITES = {
    "boosting behind ours": lambda: make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=3)),
    "lightgbm": lambda: make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)),
    "foreign before ours": lambda: make_pipeline(PCA(2), LogisticRegression()),
    "both": lambda: make_pipeline(theirs.MinMaxScaler(), StandardScaler(), TheirLogisticRegression()),
    "stateless": lambda: make_pipeline(theirs.Normalizer(), GaussianNB()),
    "function": lambda: make_pipeline(theirs.FunctionTransformer(np.abs), GaussianNB()),
    "products": lambda: make_pipeline(RBFSampler(n_components=3, random_state=0), GaussianNB()),
    "supervised": lambda: make_pipeline(SelectKBest(k=2), GaussianNB()),
    "all foreign": lambda: make_pipeline(theirs.StandardScaler(), DecisionTreeClassifier()),
    "union": lambda: make_pipeline(FeatureUnion([("a", PCA(1)), ("b", StandardScaler())]), GaussianNB()),
    "columns": lambda: make_pipeline(
        make_column_transformer((PCA(1), [0, 1]), (StandardScaler(), [2]), remainder="passthrough"),
        LogisticRegression(),
    ),
}
composites = pytest.mark.parametrize("make", COMPOSITES.values(), ids=COMPOSITES)


@composites
def test_forgetting_equals_a_refit(make):
    """Bit for bit, read or not between; learning the rows again gives the model back."""
    X, y = rows()
    model = make().fit(X, y, sample_ids=np.arange(N_ROWS))
    before = state_digest(model), model.predict(X).tobytes()

    model.partial_forget([0, 7, 59])
    assert_equals_refit(model, X)
    assert_equals_refit(pickle.loads(pickle.dumps(model)), X)
    model.partial_forget([1, 2])
    model.partial_fit(X[[59, 2, 7, 1, 0]], y[[59, 2, 7, 1, 0]], sample_ids=[59, 2, 7, 1, 0])

    assert (state_digest(model), model.predict(X).tobytes()) == before
    assert model.guarantee_.kind == "exact"
    assert model.n_live_ == N_ROWS


@composites
def test_release_is_scikit_learn_s_own(make):
    """What is deployed predicts the same, and holds steps of their own classes."""
    X, y = rows()
    model = make().fit(X, y)

    released = pickle.loads(pickle.dumps(model.release()))

    assert type(released).__module__.startswith("sklearn.")
    assert released.predict(X).tolist() == model.predict(X).tolist()


@given(data=st.data(), seed=st.integers(0, 2**16))
@settings(max_examples=8, deadline=None)
def test_histories_of_chains_with_foreign_steps(data, seed):
    """Whatever came and went, read or not: digest and outputs are those of a fit on the rows that are left."""
    X, y = table(np.random.default_rng(seed), 24)
    transformers = (
        lambda: theirs.StandardScaler(),
        lambda: theirs.MaxAbsScaler(),
        lambda: theirs.PolynomialFeatures(2, include_bias=False),
        lambda: theirs.Binarizer(threshold=0.1),
        lambda: PCA(2),
        lambda: StandardScaler(random_state=0),
        lambda: FeatureUnion([("theirs", theirs.MinMaxScaler()), ("ours", StandardScaler(random_state=1))]),
    )
    predictors = (Ridge, GaussianNB, lambda: DecisionTreeClassifier(max_features=2), TheirLogisticRegression)
    steps = [make() for make in data.draw(st.lists(st.sampled_from(transformers), min_size=1, max_size=3))]
    if len(steps) == 3 and data.draw(st.booleans()):
        steps = [steps[0], make_pipeline(*steps[1:])]

    model = make_pipeline(*steps, data.draw(st.sampled_from(predictors))())

    run_history(model, X, y, None, data)


def test_columns_of_text_reach_foreign_steps_as_a_frame():
    """By name, in a foreign ColumnTransformer before ours and in ours before a foreign estimator."""
    X, y = frame()
    encode = theirs.OneHotEncoder(handle_unknown="ignore")
    inside = sklearn.compose.make_column_transformer((encode, ["country"]), (theirs.MinMaxScaler(), ["a", "b"]))
    ours = make_column_transformer((clone(encode), ["country"]), (StandardScaler(), ["a", "b"]))

    for model in (make_pipeline(inside, GaussianNB()), make_pipeline(ours, DecisionTreeClassifier())):
        model.fit(X, y).partial_forget([7])
        assert_equals_refit(model, X)
        names = model[0].get_feature_names_out()
        assert not any("vanishing" in name for name in names)
        assert any("country_de" in name for name in names)
        assert b"vanishing" not in pickle.dumps(model)
        assert b"vanishing" not in pickle.dumps(model.release())


def test_rows_that_leave_do_not_survive_in_a_foreign_step():
    """A fitted object that held a row is gone with the next read, whoever had looked at it, and is in no pickle."""
    X, y = rows()
    canary = np.float64(1.2345678901234567e-3)
    X[9] = canary
    keeps = KNeighborsClassifier(algorithm="brute")
    columns = make_column_transformer((theirs.QuantileTransformer(n_quantiles=20), [0, 1, 2, 3]))
    for model in (make_pipeline(theirs.Normalizer(), keeps), make_pipeline(theirs.FunctionTransformer(), keeps)):
        model.fit(X, y)
        assert len(model.named_steps["kneighborsclassifier"]._fit_X) == N_ROWS
        old = weakref.ref(model[-1]._model())
        pattern = model[0].transform(X[9:10])[0].tobytes()
        assert pattern in pickle.dumps(model[-1]._model())

        model.partial_forget([9])
        gc.collect()

        assert old() is None
        model.predict(X[:1])
        for kept in (model[-1]._model(), model.release(), model):
            assert pattern not in pickle.dumps(kept)

    model = make_pipeline(columns, GaussianNB()).fit(X, y)
    old = weakref.ref(model[0].named_transformers_["quantiletransformer"]._model())
    model.partial_forget([9])
    gc.collect()
    assert old() is None
    assert_equals_refit(model, X)


def test_a_step_that_is_no_function_of_its_rows_is_called_refit():
    """It is trained anew, which its self-test finds not to be reproducible."""
    X, y = rows()
    model = make_pipeline(Noise(), GaussianNB()).fit(X, y)
    shift = model[0].shift_

    assert model.partial_forget([3]).guarantee_.kind == "refit"
    assert "failed its self-test (repeated)" in model.guarantee_.basis
    assert model[0].shift_ != shift


def test_steps_that_learn_nothing_are_followed_exactly():
    """Neither they nor what is behind them is fitted again."""
    X, y = rows()
    for step in (theirs.Normalizer(), theirs.PolynomialFeatures(2), FrozenEstimator(theirs.MaxAbsScaler().fit(X))):
        model = make_pipeline(step, GaussianNB()).fit(X, y)
        n_fits = [part.n_fits for part in model._live.core.parts]

        model.partial_forget([1, 4])
        assert_equals_refit(model, X)

        assert [part.n_fits for part in model._live.core.parts] == n_fits
        assert model.forget_report_.path == "update"
        assert model.guarantee_.kind == "exact"
        assert bool(model.guarantee_.not_covered) == isinstance(step, FrozenEstimator)
    assert "declared independent of these rows" in model.guarantee_.not_covered[0]


def test_a_product_of_matrices_is_not_transformed_row_by_row():
    """It learns nothing under its seed, but gives a row other bits in other company, so what follows is fitted again."""
    X, y = rows()
    model = make_pipeline(FrozenEstimator(PCA(3).fit(X)), GaussianNB()).fit(X, y)
    core = model._live.core.parts[0].core

    core._is_row_wise = False  # whatever this machine's BLAS does
    core._state = None
    model.partial_forget([5])

    assert_equals_refit(model, X)


def test_kept_steps_stay_and_are_named_wherever_somebody_looks():
    """on_foreign='keep' promises nothing, also of an empty model, and keeps through pickling."""
    X, y = rows()
    for model in (
        Pipeline([("pca", PCA(2)), ("nb", GaussianNB())], on_foreign="keep"),
        make_pipeline(ColumnTransformer([("pca", PCA(2), [0, 1])], on_foreign="keep"), GaussianNB()),
    ):
        model.fit(X, y)
        before = model[:-1].transform(X).tobytes()
        model.partial_forget(range(20))

        assert model[:-1].transform(X).tobytes() == before
        assert_equals_refit(model, X)
        again = pickle.loads(pickle.dumps(model))
        assert again[:-1].transform(X).tobytes() == before
        assert model.guarantee_.kind == again.guarantee_.kind == "none"
        assert "PCA was kept as it was first fitted" in model.guarantee_.not_covered[0]
        assert model.fit(X[20:], y[20:])[:-1].transform(X).tobytes() != before
        assert model.partial_forget(range(40)).guarantee_.kind == "none"


def test_steps_are_refused_by_policy_with_the_ways_out():
    """Nothing is changed; what learns nothing is no foreign step."""
    X, y = rows()
    steps = [("pca", PCA(2)), ("nb", GaussianNB())]
    with pytest.raises(ForeignStepError, match=r"1 of 2 .*'pca'.*skunlearn.*on_foreign='refit'.*on_foreign='keep'"):
        Pipeline(steps, on_foreign="raise").fit(X, y)
    with pytest.raises(ValueError, match="on_foreign must be one of"):
        Pipeline(steps, on_foreign="perhaps").fit(X, y)
    Pipeline([("same", theirs.Normalizer()), ("nb", GaussianNB())], on_foreign="raise").fit(X, y)
    with pytest.raises(ValueError, match="random number generator"):
        make_pipeline(PCA(2, random_state=np.random.RandomState(0)), GaussianNB()).fit(X, y)


def test_a_foreign_step_answers_as_its_estimator():
    """Attributes, methods, parameters and clones are the estimator's; learning is the composite's."""
    X, y = rows()
    model = make_pipeline(theirs.MinMaxScaler(), TheirLogisticRegression()).fit(X, y)

    step = model[-1]
    assert repr(step) == "LogisticRegression()"
    assert step.coef_.shape == (1, 4)
    assert model.predict_proba(X).shape == (N_ROWS, 2)
    assert not hasattr(model, "transform")
    assert isinstance(clone(step), TheirLogisticRegression)
    assert not hasattr(clone(model)[-1], "coef_")
    with pytest.raises(OwnedStepError):
        step.fit(X, y)
    with pytest.raises(OwnedStepError):
        step.partial_forget([0])
    model.set_params(logisticregression__C=1e-3).partial_forget([0])
    assert model[-1]._model().C == 1.0
    assert model.fit(X, y)[-1]._model().C == 1e-3


def test_rows_that_a_foreign_step_cannot_be_fitted_on():
    """Reading says so, without a value; other rows revive the model."""
    X, y = rows()
    model = make_pipeline(StandardScaler(), TheirLogisticRegression()).fit(X, y)

    model.partial_forget(np.flatnonzero(y == 1))
    with pytest.raises(NotFittedError, match=r"LogisticRegression could not be fitted on \d+ rows \(ValueError\)"):
        model.predict(X)
    assert state_digest(model) == state_digest(reference_fit(model))
    model.partial_fit(X[y == 1], y[y == 1], sample_ids=np.flatnonzero(y == 1))

    assert_equals_refit(model, X)
    model.partial_forget(range(N_ROWS))
    with pytest.raises(NotFittedError, match="no row"):
        model.predict(X)


def test_weights_reach_those_that_take_them():
    """A predictor without weights refuses them; a transformer without takes every row for one, as ours do."""
    X, y = rows()
    weight = np.linspace(1, 2, N_ROWS)
    model = make_pipeline(PCA(2), TheirLogisticRegression()).fit(X, y, sample_weight=weight)
    assert model[-1].coef_.tobytes() != make_pipeline(PCA(2), TheirLogisticRegression()).fit(X, y)[-1].coef_.tobytes()
    model.partial_forget([0])
    assert_equals_refit(model, X)
    with pytest.raises(ValueError, match="KNeighborsClassifier takes no sample_weight"):
        make_pipeline(PCA(2), KNeighborsClassifier()).fit(X, y, sample_weight=weight)


def test_target_encoding_across_folds_is_what_later_steps_learn_from():
    """What `fit_transform` gives the rows, not what `transform` gives them."""
    X, y = frame()
    model = make_pipeline(theirs.TargetEncoder(cv=StratifiedKFold(3)), GaussianNB()).fit(X[["country"]], y)

    learned = model._live.core.parts[0].map.made.values

    assert len(np.unique(learned)) > len(np.unique(model[0].transform(X[["country"]])))
    model.partial_forget([3, 7])
    assert_equals_refit(model, X[["country"]])


def test_one_hot_of_ours_before_boosting():
    """The commonest pipeline there is: sparse columns of ours, and a foreign model behind."""
    X, y = frame()
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["country"]), (StandardScaler(), list("abcd"))
    )
    model = make_pipeline(encode, lightgbm.LGBMClassifier(n_estimators=3, verbose=-1, n_jobs=1)).fit(X, y)
    assert_equals_refit(model.partial_forget([7, 8]), X)


@pytest.mark.parametrize("is_nested", [False, True])
def test_a_foreign_step_is_given_the_values_of_sparse_rows(is_nested):
    """Behind an encoder a foreign selector scores what it would alone, in a pipeline and as a part of one's columns."""
    mixed, y = frame()
    text = mixed[["country"]].assign(sign=np.where(y == 1, "plus", "minus")).astype(object)
    chain = make_pipeline(OneHotEncoder(), SelectKBest(chi2, k=2))
    model = make_pipeline(make_column_transformer((chain, list(text))) if is_nested else chain, GaussianNB())
    if not is_nested:
        model = chain
    expected = SelectKBest(chi2, k=2).fit(theirs.OneHotEncoder().fit_transform(text), y)

    fitted = model.fit(text, y)

    selector = fitted[0].transformers_[0][1][-1] if is_nested else fitted[-1]
    np.testing.assert_allclose(selector.scores_, expected.scores_)


def test_a_default_that_draws_is_seeded_and_a_splitter_that_does_is_found_out():
    rng = np.random.default_rng(0)
    X, y = rng.choice(list("ABC"), 90).astype(object)[:, None], rng.integers(0, 2, 90)
    seeded = make_pipeline(theirs.TargetEncoder(), LogisticRegression()).fit(X, y).partial_forget([3, 5])
    assert seeded.guarantee_.kind == "exact"
    assert (
        state_digest(seeded) == state_digest(reference_fit(seeded)) == state_digest(pickle.loads(pickle.dumps(seeded)))
    )
    drawn = make_pipeline(theirs.TargetEncoder(cv=StratifiedKFold(3, shuffle=True)), LogisticRegression()).fit(X, y)
    assert drawn.guarantee_.kind == "refit"


def test_documents_go_to_vectorizers_of_ours_alone():
    documents, y = pd.DataFrame({"text": ["a b", "b c", "c d", "d e"] * 5}), np.arange(20) % 2
    columns = make_column_transformer((CountVectorizer(token_pattern=r"\w"), "text"))
    model = make_pipeline(columns, LogisticRegression()).fit(documents, y).partial_forget([0])
    assert state_digest(model) == state_digest(reference_fit(model))
    with pytest.raises(ForeignStepError, match="takes documents, and foreign steps get tables"):
        make_column_transformer((TheirCountVectorizer(), "text")).fit(documents)
