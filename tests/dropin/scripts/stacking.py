"""A linear model, a forest and boosted trees on a mixed table, and ridge regression on top of them."""

from time import perf_counter

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor, StackingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LassoCV, RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from tests.dropin.tables import houses


def main():
    X, y = houses(1200)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    text, numbers = make_column_selector(dtype_include=object), make_column_selector(dtype_include=np.number)
    for_trees = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), text),
        (SimpleImputer(strategy="mean", add_indicator=True), numbers),
    )
    for_linear = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), text),
        (make_pipeline(StandardScaler(), SimpleImputer(strategy="mean", add_indicator=True)), numbers),
    )
    members = [
        ("lasso", make_pipeline(for_linear, LassoCV(cv=3, alphas=20))),
        ("forest", make_pipeline(for_trees, RandomForestRegressor(n_estimators=30, random_state=42))),
        ("boosting", make_pipeline(for_trees, HistGradientBoostingRegressor(max_iter=20, random_state=0))),
    ]
    start = perf_counter()
    stack = StackingRegressor(members, final_estimator=RidgeCV(), cv=3).fit(X_train, y_train)
    seconds = perf_counter() - start
    linear = members[0][1].fit(X_train, y_train)
    boosted = members[2][1].fit(X_train, y_train)
    return {
        "stacked": stack.score(X_test, y_test),
        "linear": linear.score(X_test, y_test),
        "boosted": boosted.score(X_test, y_test),
        "fit_seconds": seconds,
    }
