"""Columns are known by their names, wherever a frame goes."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skunlearn import reference_fit, state_digest
from skunlearn.compose import ColumnTransformer
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline, make_union
from skunlearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore::skunlearn.exceptions.SkunlearnWarning")
Y = np.arange(20) % 2


def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"age": rng.normal(40, 9, 20), "hours": rng.normal(size=20), "land": rng.choice(["be", "nl"], 20)}
    )


def by_name():
    return ColumnTransformer(
        [("numbers", MinMaxScaler(), ["age"]), ("land", OneHotEncoder(), ["land"])], remainder="passthrough"
    )


@pytest.mark.parametrize("make", [by_name, lambda: make_pipeline(by_name(), LogisticRegression())])
@pytest.mark.parametrize("library", [pd.DataFrame, pl.from_pandas], ids=["pandas", "polars"])
def test_columns_may_come_in_another_order_and_with_others(make, library):
    """As in scikit-learn: they are found by their names, where rows are read and where they are learned."""
    X = frame()
    given, other = library(X), library(X.assign(shoe=7)[["shoe", "land", "hours", "age"]])
    model = make().fit(given, Y)
    said = model.predict_proba if hasattr(model, "predict_proba") else model.transform
    np.testing.assert_array_equal(said(other), said(given))

    model.partial_forget(range(5)).partial_fit(other[:5], Y[:5], sample_ids=range(5))

    assert state_digest(model) == state_digest(make().fit(given, Y))
    assert state_digest(model) == state_digest(reference_fit(model))


def test_a_column_that_is_missing_is_refused():
    model = by_name().fit(frame())
    with pytest.raises(ValueError, match="feature names"):
        model.transform(frame()[["land", "age"]])


@pytest.mark.parametrize(
    "wrap", [lambda inner: inner, lambda inner: make_pipeline(inner, StandardScaler(random_state=0))]
)
def test_columns_are_chosen_by_name_within_others(wrap):
    inner = wrap(ColumnTransformer([("age", MinMaxScaler(), ["age"])], remainder="passthrough"))
    by_position = wrap(ColumnTransformer([("age", MinMaxScaler(), [1])], remainder="passthrough"))
    model, want = (
        ColumnTransformer([("numbers", each, ["hours", "age"])]).fit(frame(), sample_ids=range(20))
        for each in (inner, by_position)
    )
    np.testing.assert_array_equal(model.transform(frame()), want.transform(frame()))

    model.partial_forget([3, 7])

    assert state_digest(model) == state_digest(reference_fit(model))
    np.testing.assert_array_equal(model.transform(frame()), want.partial_forget([3, 7]).transform(frame()))


def test_names_reach_the_steps_behind_the_first():
    """With frames between the steps, as in scikit-learn, names are known to all, and nobody warns that they are not."""
    X = frame()[["age", "hours"]]
    choice = ColumnTransformer([("chosen", MinMaxScaler(), ["hours"])], remainder="passthrough")
    model = make_pipeline(SimpleImputer(), choice, LogisticRegression()).set_output(transform="pandas")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, Y).predict(X)
        model.release().predict(X)
    assert model[1].feature_names_in_.tolist() == ["age", "hours"]
    assert model[-1].feature_names_in_.tolist() == ["chosen__hours", "remainder__age"]
    assert model.release()[-1].feature_names_in_.tolist() == ["chosen__hours", "remainder__age"]

    model.partial_forget([0, 1])

    assert state_digest(model) == state_digest(reference_fit(model))
    np.testing.assert_array_equal(model.predict_proba(X), reference_fit(model).predict_proba(X))


def test_a_released_union_knows_what_passes_through():
    X = frame()[["age", "hours"]]
    model = make_union(MinMaxScaler(), "passthrough").fit(X)
    released = model.release()
    assert released.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    assert released.n_features_in_ == 2
    np.testing.assert_array_equal(released.transform(X), model.transform(X))


def test_names_that_move_are_followed():
    """A category that vanishes moves the columns behind it, and who chose by name goes on with those names."""
    X = pd.DataFrame({"c": ["a", *"bcbcbcbc"]})
    choice = ColumnTransformer([("c", MinMaxScaler((0, 5)), ["c_c"])])
    model = make_pipeline(OneHotEncoder(sparse_output=False), choice).set_output(transform="pandas")
    model.fit(X, sample_ids=range(9))

    model.partial_forget([0])

    assert model.transform(X[1:]).columns.tolist() == ["c__c_c"]
    assert model.transform(X[1:])["c__c_c"].tolist() == [0, 5] * 4
    assert state_digest(model) == state_digest(reference_fit(model))


def test_nested_lists_have_columns_too():
    rows = [[1.0, 2.0, 3.0], [4.0, 6.0, 8.0], [0.0, 1.0, 5.0]]
    model = ColumnTransformer([("last", MinMaxScaler(), slice(1, 3))]).fit(rows)
    np.testing.assert_array_equal(model.transform(rows), model.transform(np.array(rows)))
