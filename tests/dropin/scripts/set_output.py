"""Frames out of every transformer, and names of columns behind the first."""

from sklearn import config_context
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.feature_selection import SelectPercentile
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from tests.dropin.tables import adult


def main():
    X, y = load_iris(as_frame=True, return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    scaled = StandardScaler().set_output(transform="pandas").fit(X_train).transform(X_test)
    chain = make_pipeline(StandardScaler(), SelectPercentile(percentile=75), LogisticRegression())
    chain.set_output(transform="pandas").fit(X_train, y_train)

    people, earns = adult(600)
    numbers, text = ["age", "capital_gain"], ["sex", "race"]
    columns = ColumnTransformer(
        [
            ("num", make_pipeline(SimpleImputer(), StandardScaler()), numbers),
            ("cat", OneHotEncoder(sparse_output=False, handle_unknown="ignore"), text),
        ],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    model = make_pipeline(columns, LogisticRegression()).fit(people, earns)
    with config_context(transform_output="pandas"):
        globally = StandardScaler().fit_transform(X_train)
    return {
        "type": type(scaled).__name__,
        "columns": list(scaled.columns),
        "index": [int(i) for i in scaled.index[:5]],
        "names_in": list(chain[-1].feature_names_in_),
        "score": chain.score(X_test, y_test),
        "mixed_names": list(model[-1].feature_names_in_),
        "mixed_score": model.score(people, earns),
        "first_row_names": list(columns.fit_transform(people).columns),
        "global_type": type(globally).__name__,
        "global_means": float(abs(globally.to_numpy().mean(axis=0)).max() < 0.3),
    }
