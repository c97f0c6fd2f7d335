"""Scikit-learn's answers at rtol 1e-9 on every shared table of numbers, as far as it has an answer.

Columns are standardised: scikit-learn judges rank, and rounds, in their units. Left out:

* LinearRegression where numbers depend on each other (covtype: soil types; nycflights13: a time and its hours and
  minutes; a9a: one column a category): of many optima the two libraries choose others on purpose;
* mnist: several hundred columns, of which a third are constant, and the same on the diagonal as a9a;
* mushroom and sms_spam: they have no numbers.
"""

import numpy as np
import pytest
import sklearn.linear_model

from skunlearn.linear_model import LinearRegression, Ridge, RidgeClassifier

from .data import numeric

REGRESSIONS = ("bike_hour", "california_housing", "ccpp", "nycflights13")
CLASSES = (
    "adult", "bank_marketing", "covtype_15k", "diabetes130", "fertility254k", "flchain", "higgs_7500", "kddcup99_10pct",
    "lending_club", "letter", "mpls_stops", "online_shoppers", "satellite", "a9a",
)  # fmt: skip
DEPENDENT = ("covtype_15k", "nycflights13", "a9a")


def assert_close(ours, theirs, X):
    """Coefficients by their size in each target, as they are of standardised columns; predictions by their range."""
    for got, want in ((ours.coef_, theirs.coef_), (ours.intercept_, theirs.intercept_)):
        want = np.asarray(want)
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * np.abs(want).max())
    ask = "decision_function" if hasattr(ours, "decision_function") else "predict"
    want = getattr(theirs, ask)(X)
    np.testing.assert_allclose(getattr(ours, ask)(X), want, rtol=1e-9, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("name", [*REGRESSIONS, *CLASSES])
def test_regressions_as_scikit_learn(name):
    """Ridge on every table, LinearRegression where its optimum is one."""
    X, y = numeric(name)
    y = y.astype(np.float64) if name in REGRESSIONS else np.unique(y, return_inverse=True)[1].astype(np.float64)
    pairs = [(Ridge, sklearn.linear_model.Ridge)]
    if name not in DEPENDENT:
        pairs.append((LinearRegression, sklearn.linear_model.LinearRegression))
    for Ours, Theirs in pairs:
        assert_close(Ours().fit(X, y), Theirs().fit(X, y), X)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
@pytest.mark.parametrize("name", CLASSES)
def test_ridge_classifier_as_scikit_learn(name, class_weight):
    """Every table with classes, the 26 of letter among them."""
    X, y = numeric(name)
    ours, theirs = (
        R(class_weight=class_weight).fit(X, y) for R in (RidgeClassifier, sklearn.linear_model.RidgeClassifier)
    )
    assert_close(ours, theirs, X)
    assert (ours.predict(X) == theirs.predict(X)).mean() > 0.9999
