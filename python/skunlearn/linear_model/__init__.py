"""Linear models that forget exactly: what they publish is proved, whatever computed it."""

from skunlearn.linear_model._gamma_regressor import GammaRegressor
from skunlearn.linear_model._huber import HuberRegressor
from skunlearn.linear_model._linear_regression import LinearRegression
from skunlearn.linear_model._logistic import LogisticRegression
from skunlearn.linear_model._poisson_regressor import PoissonRegressor
from skunlearn.linear_model._ridge import Ridge
from skunlearn.linear_model._ridge_classifier import RidgeClassifier
from skunlearn.linear_model._ridge_cv import RidgeCV
from skunlearn.linear_model._tweedie_regressor import TweedieRegressor

__all__ = [
    "GammaRegressor",
    "HuberRegressor",
    "LinearRegression",
    "LogisticRegression",
    "PoissonRegressor",
    "Ridge",
    "RidgeCV",
    "RidgeClassifier",
    "TweedieRegressor",
]
