"""Linear models that forget exactly: what they keep are integer sums, and what they publish is proved."""

from skunlearn.linear_model._linear_regression import LinearRegression
from skunlearn.linear_model._ridge import Ridge
from skunlearn.linear_model._ridge_classifier import RidgeClassifier
from skunlearn.linear_model._ridge_cv import RidgeCV

__all__ = ["LinearRegression", "Ridge", "RidgeCV", "RidgeClassifier"]
