"""Linear models that forget exactly: what they publish is proved, whatever computed it."""

from skunlearn.linear_model._linear_regression import LinearRegression
from skunlearn.linear_model._logistic import LogisticRegression
from skunlearn.linear_model._ridge import Ridge
from skunlearn.linear_model._ridge_classifier import RidgeClassifier
from skunlearn.linear_model._ridge_cv import RidgeCV

__all__ = ["LinearRegression", "LogisticRegression", "Ridge", "RidgeCV", "RidgeClassifier"]
