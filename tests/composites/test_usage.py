"""What people do with a pipeline, from reading a frame to serving a row with a hole in it."""

import pickle

import numpy as np
import pandas as pd
import pytest

from skunlearn import forget, reference_fit, state_digest
from skunlearn.compose import make_column_transformer
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline, make_union
from skunlearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler
from skunlearn.sharded import SISAClassifier

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")


def frame(n_rows=24):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"age": rng.normal(40, 9, n_rows), "land": rng.choice(["be", "nl", "lu"], n_rows)},
    )


def chain():
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler(random_state=0)), ["age"]),
        (OneHotEncoder(handle_unknown="ignore"), ["land"]),
    )
    return make_pipeline(columns, LogisticRegression())


def test_text_is_learned_through_an_imputer():
    X = frame()[["land"]]
    model = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder()).fit(X)
    model.partial_fit(pd.DataFrame({"land": ["fr"]}), sample_ids=[99])
    assert "fr" in model[-1].categories_[0]
    assert state_digest(model) == state_digest(reference_fit(model))


@pytest.mark.parametrize("make", [OneHotEncoder, lambda: make_column_transformer((OneHotEncoder(), ["land"]))])
def test_an_emptied_model_of_text_can_be_saved(make):
    model = make().fit(frame()[["land"]]).partial_forget(range(24))
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.n_live_ == 0
    loaded.partial_fit(frame()[["land"]], sample_ids=range(24))
    assert loaded.transform(frame()[["land"]]).shape == (24, 3)


def test_a_union_takes_a_frame():
    X = frame()[["age"]]
    model = make_union(MinMaxScaler(), StandardScaler(random_state=0)).fit(X).partial_forget([3])
    assert model.feature_names_in_.tolist() == ["age"]
    assert model.n_features_in_ == 1
    assert state_digest(model) == state_digest(reference_fit(model))


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_a_missing_number_may_come_as_an_object(missing):
    model = chain().fit(frame(), np.arange(24) % 2)
    row = pd.DataFrame([{"age": missing, "land": "nl"}], dtype=object)
    expected = model.predict_proba(pd.DataFrame({"age": [np.nan], "land": ["nl"]}))
    np.testing.assert_array_equal(model.predict_proba(row), expected)


def test_text_in_a_column_of_numbers_is_refused_without_being_named():
    model = chain().fit(frame(), np.arange(24) % 2)
    with pytest.raises(ValueError, match="1 of 1 columns of X that were numbers") as caught:
        model.predict(pd.DataFrame({"age": ["secret"], "land": ["nl"]}))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("wrap", [chain, lambda: SISAClassifier(LogisticRegression(), 2, random_state=0)])
def test_forgetting_everything_gives_a_receipt(wrap):
    X = frame() if wrap is chain else frame()[["age"]]
    receipt = forget(wrap().fit(X, np.arange(24) % 2), range(24))
    assert receipt.rows_removed == 24


def test_shards_of_this_library_release_no_row():
    X = np.random.default_rng(0).standard_normal((40, 2))
    model = SISAClassifier(make_pipeline(MinMaxScaler(), LogisticRegression()), 2, random_state=0)
    model.fit(X, np.arange(40) % 2)
    pattern = X[20].tobytes()
    assert pattern in pickle.dumps(model)
    assert pattern not in pickle.dumps(model.release())
    assert not any(estimator.n_live_ for estimator in model.estimators_)
