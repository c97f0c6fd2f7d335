"""A mixed table of real people: imputer, scaler, encoder and an estimator behind them, forgotten in bit by bit."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.composites.chains import assert_equals_refit

from skunlearn.cluster import KMeans
from skunlearn.compose import make_column_transformer
from skunlearn.ensemble import ExtraTreesClassifier
from skunlearn.impute import SimpleImputer
from skunlearn.linear_model import LogisticRegression
from skunlearn.pipeline import make_pipeline
from skunlearn.preprocessing import OneHotEncoder, StandardScaler

pytestmark = pytest.mark.filterwarnings("ignore")

N_ROWS = 600


def adult():
    """Return the first rows of Adult, the last of which is the one person from Holand-Netherlands."""
    folder = Path(os.environ.get("SKUNLEARN_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    if not (folder / "load.py").exists():
        pytest.skip("adult is not in the data folder (SKUNLEARN_DATA, else ../shared/data)")
    scope = {"__file__": str(folder / "load.py"), "__name__": "load"}
    exec((folder / "load.py").read_text(), scope)
    X, y, _ = scope["load"]("adult")
    X, y = pd.DataFrame(X), np.asarray(y)
    is_text = [not pd.api.types.is_numeric_dtype(dtype) for dtype in X.dtypes]
    text = list(X.columns[is_text])
    country = next(c for c in text if (X[c] == "Holand-Netherlands").any())
    bearer = int(np.flatnonzero(X[country] == "Holand-Netherlands")[0])
    kept = [*range(N_ROWS - 1), bearer] if bearer >= N_ROWS else list(range(N_ROWS))
    return X.iloc[kept].reset_index(drop=True), y[kept], text, int(np.flatnonzero(np.array(kept) == bearer)[0])


@pytest.mark.parametrize(
    "estimator",
    [LogisticRegression(), ExtraTreesClassifier(n_estimators=3, random_state=0), KMeans(4, random_state=0)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_adult_forgets_people(estimator):
    """At checkpoints the chain is a refit, bit for bit; few deletions fit again what is behind the transformers."""
    X, y, text, bearer = adult()
    numbers = [c for c in X.columns if c not in text]
    model = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median", random_state=0), StandardScaler(random_state=0)), numbers),
            (
                make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")),
                text,
            ),
        ),
        estimator,
    ).fit(X, y, sample_ids=np.arange(len(y)))
    probe = X.iloc[:50]

    people = [i for i in np.random.default_rng(0).permutation(len(y)).tolist() if i != bearer][:12]
    for person in people:
        model.partial_forget([person]).predict(probe)
    n_refits = model._live.core.parts[-1].n_fits - 1
    assert_equals_refit(model, probe)
    assert n_refits < len(people)
    n_columns = len(model[0].get_feature_names_out())

    model.partial_forget([bearer])

    assert len(model[0].get_feature_names_out()) < n_columns
    assert not any("Holand" in name for name in model[0].get_feature_names_out())
    assert_equals_refit(model, probe)
