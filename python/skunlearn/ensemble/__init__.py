"""Forests that forget exactly: every tree is a function of the live rows, the parameters and the key."""

from skunlearn.ensemble._extra_trees_classifier import ExtraTreesClassifier
from skunlearn.ensemble._extra_trees_regressor import ExtraTreesRegressor
from skunlearn.ensemble._isolation_forest import IsolationForest
from skunlearn.ensemble._random_forest_classifier import RandomForestClassifier
from skunlearn.ensemble._random_forest_regressor import RandomForestRegressor

__all__ = [
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "IsolationForest",
    "RandomForestClassifier",
    "RandomForestRegressor",
]
