"""Transformers side by side forget in all of them, and equal a refit bit for bit."""

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import sklearn.compose
import sklearn.preprocessing
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from tests.composites.chains import assert_equals_refit, outputs, run_history

from skunlearn import reference_fit, state_digest
from skunlearn.cluster import KMeans
from skunlearn.compose import ColumnTransformer, make_column_selector, make_column_transformer
from skunlearn.decomposition import PCA
from skunlearn.ensemble import ExtraTreesClassifier
from skunlearn.exceptions import ForeignStepError, OwnedStepError
from skunlearn.linear_model import LogisticRegression, Ridge
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore")

N_ROWS = 24


def frame(rng, n_rows=N_ROWS):
    """Return rows with two number columns, one of text and one of small integers; the last row bears its own values."""
    X = pd.DataFrame(rng.integers(-3, 4, size=(n_rows, 2)) * 0.5, columns=["age", "hours"])
    X["country"] = rng.choice(["France", "Peru", "Laos"], n_rows)
    X["level"] = rng.integers(0, 3, n_rows)
    X.loc[3, "country"] = "Holand-Netherlands"
    X.loc[n_rows - 1, ["country", "level"]] = ["Nauru", 9]
    X.loc[n_rows - 1, "age"] = 400.0
    return X, np.arange(n_rows) % 2


NUMERIC = [
    lambda: StandardScaler(random_state=0),
    lambda: StandardScaler(exact_statistics=True),
    lambda: MinMaxScaler(),
    lambda: PCA(1),
    lambda: KMeans(2, random_state=0),
    lambda: "passthrough",
    lambda: "drop",
    lambda: make_pipeline(StandardScaler(random_state=0), PCA()),
]
CATEGORICAL = [
    lambda: OneHotEncoder(handle_unknown="ignore"),
    lambda: OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=3),
    lambda: OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
    lambda: make_pipeline(OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), StandardScaler()),
]
BEHIND = [
    lambda: None,
    lambda: LogisticRegression(),
    lambda: KMeans(2, random_state=1),
    lambda: ExtraTreesClassifier(n_estimators=2, random_state=0),
    lambda: make_pipeline(StandardScaler(with_mean=False), Ridge()),
]


@st.composite
def composites(draw):
    """Draw an unfitted ColumnTransformer over the columns of `frame`, alone or before an estimator."""
    numeric, categorical = (draw(st.sampled_from(options))() for options in (NUMERIC, CATEGORICAL))
    of_numbers = draw(st.sampled_from([["age", "hours"], make_column_selector(dtype_include=float), slice(0, 2)]))
    side_by_side = ColumnTransformer(
        [("numbers", numeric, of_numbers), ("categories", categorical, ["country", "level"])],
        sparse_threshold=draw(st.sampled_from([0.0, 0.3, 0.55, 1.0])),
    )
    behind = draw(st.sampled_from(BEHIND))()
    return side_by_side if behind is None else make_pipeline(side_by_side, behind)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=list(Phase)[:3])
@given(composites(), st.data())
def test_any_history_of_any_composite_equals_refit(model, data):
    """Learning and forgetting in any order, read in between or not, is a fit on the rows that are left."""
    X, y = frame(np.random.default_rng(data.draw(st.integers(0, 2**20))))
    run_history(model, X, y, None, data)


def test_a_vanished_category_is_nowhere():
    """The last bearer of a country leaves, and with it the country: from names, columns, pickle and representation."""
    X, y = frame(np.random.default_rng(0))
    model = make_pipeline(
        make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["country"])),
        LogisticRegression(),
    ).fit(X, y, sample_ids=range(N_ROWS))
    assert "onehotencoder__country_Holand-Netherlands" in model[0].get_feature_names_out()
    assert b"Holand" in pickle.dumps(model)

    model.partial_forget([3])

    for told in (pickle.dumps(model), repr(model).encode(), str(model[0].get_feature_names_out()).encode()):
        assert b"Holand" not in told
    assert model[-1].coef_.shape == (1, 1 + 4)
    assert_equals_refit(model, X)


def test_a_density_that_crosses_the_threshold_moves_the_map():
    """Whether the output is sparse is a function of the rows that are left, counted in integers."""
    X = pd.DataFrame({"c": ["a", "b"] * 6 + list("defgh")})
    model = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["c"]), sparse_threshold=0.3)
    model.fit(X, sample_ids=range(17))
    assert model.sparse_output_  # 1 of 7

    model.partial_forget(range(12, 17))

    assert not model.sparse_output_  # 1 of 2
    assert_equals_refit(model, X)
    model.partial_fit(X.iloc[12:17], sample_ids=range(12, 17))
    assert model.sparse_output_
    assert_equals_refit(model, X)


def test_stored_entries_are_counted_where_no_map_moves():
    """A transformer that never changes may still give fewer or more entries: the share is that of the live rows."""
    X = np.zeros((40, 4))
    X[:20] = 1.0
    X[20:, 0] = 1.0
    model = ColumnTransformer([("kept", "passthrough", [0, 1, 2, 3])], sparse_threshold=0.5)
    model.fit(sp.csr_array(X), sample_ids=range(40))
    assert not model.sparse_output_  # 100 of 160

    model.partial_forget(range(10))
    assert not model.sparse_output_  # 60 of 120
    model.partial_forget(range(10, 12))
    assert model.sparse_output_  # 52 of 112

    assert_equals_refit(model, sp.csr_array(X))


def test_parts_equal_those_fitted_alone_on_their_columns():
    """A transformer is bitwise the one that was handed its columns."""
    X, _ = frame(np.random.default_rng(1))
    model = ColumnTransformer([("s", StandardScaler(random_state=0), ["hours"]), ("o", OneHotEncoder(), ["country"])])
    model.fit(X, sample_ids=range(N_ROWS)).partial_forget(range(4))

    scaler = StandardScaler(random_state=0).fit(X[["hours"]].iloc[4:].to_numpy())
    encoder = OneHotEncoder().fit(X[["country"]].iloc[4:])

    assert model.named_transformers_["s"].transform_digest() == scaler.transform_digest()
    assert [c.tolist() for c in model.named_transformers_["o"].categories_] == [c.tolist() for c in encoder.categories_]


@pytest.mark.parametrize("remainder", ["drop", "passthrough", StandardScaler(exact_statistics=True)])
@pytest.mark.parametrize("verbose", [True, "{feature_name}_of_{transformer_name}"])
def test_scikit_learns_agrees(remainder, verbose):
    """Outputs and names are scikit-learn's, and so are those of the release."""
    X, _ = frame(np.random.default_rng(2))
    X = X[["hours", "country", "age"]]
    options = {"sparse_threshold": 0.0, "verbose_feature_names_out": verbose}
    ours = ColumnTransformer([("o", OneHotEncoder(), ["country"])], remainder=remainder, **options).fit(X)
    if not isinstance(remainder, str):
        remainder = sklearn.preprocessing.StandardScaler()
    theirs = sklearn.compose.ColumnTransformer(
        [("o", sklearn.preprocessing.OneHotEncoder(), ["country"])], remainder=remainder, **options
    ).fit(X)

    np.testing.assert_allclose(ours.transform(X), theirs.transform(X), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(ours.release().transform(X), ours.transform(X))
    assert type(ours.release()) is sklearn.compose.ColumnTransformer
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert ours.release().get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert ours.output_indices_ == theirs.output_indices_


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array])
def test_arrays_and_sparse_rows(form):
    """Dense rows and sparse ones give the same output, and forget alike."""
    rng = np.random.default_rng(3)
    X = rng.integers(0, 3, size=(30, 4)).astype(float)
    model = ColumnTransformer([("a", StandardScaler(with_mean=False), [2, 0]), ("b", "passthrough", [False, True] * 2)])

    model.fit(form(X), sample_ids=range(30)).partial_forget([4, 5])

    assert_equals_refit(model, form(X))
    np.testing.assert_array_equal(outputs(model, form(X))["transform"], outputs(model, X)["transform"])


def test_set_output_gives_data_frames():
    """As scikit-learn's: columns by name, and the index of the input."""
    X, _ = frame(np.random.default_rng(4))
    model = make_column_transformer((StandardScaler(), ["age", "hours"])).set_output(transform="pandas").fit(X)

    made = model.transform(X)

    assert made.columns.tolist() == ["standardscaler__age", "standardscaler__hours"]
    assert made.index.equals(X.index)


def test_saving_emptying_and_refusing():
    """What holds for a pipeline holds side by side."""
    X, _ = frame(np.random.default_rng(5))
    model = make_column_transformer((StandardScaler(), ["age"]), (OneHotEncoder(handle_unknown="ignore"), ["country"]))
    model.fit(X, sample_ids=range(N_ROWS))

    twin = pickle.loads(pickle.dumps(model))
    assert state_digest(twin) == state_digest(model)
    with pytest.raises(OwnedStepError):
        model.named_transformers_["standardscaler"].partial_forget([0])
    twin.partial_forget(range(N_ROWS))
    with pytest.raises(NotFittedError):
        twin.transform(X)
    twin.partial_fit(X, sample_ids=range(N_ROWS))
    assert state_digest(twin) == state_digest(reference_fit(twin)) == state_digest(model)

    with pytest.raises(ForeignStepError):
        make_column_transformer((sklearn.preprocessing.MaxAbsScaler(), ["age"]), on_foreign="raise").fit(X)
    with pytest.raises(ValueError, match="does not offer transformer_weights"):
        make_column_transformer((StandardScaler(), ["age"]), transformer_weights={}).fit(X)
    with pytest.raises(ValueError, match="Columns that are no numbers reach step 'standardscaler'"):
        make_column_transformer((StandardScaler(), ["age", "country"])).fit(X)
