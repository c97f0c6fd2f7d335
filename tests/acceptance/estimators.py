"""The estimators that rest on exact moments. A new one is one line here, and every acceptance test has it."""

from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from skunlearn.feature_selection import VarianceThreshold
from skunlearn.linear_model import LinearRegression, Ridge, RidgeClassifier, RidgeCV
from skunlearn.naive_bayes import GaussianNB
from skunlearn.neighbors import NearestCentroid
from skunlearn.preprocessing import RobustScaler, StandardScaler

MOMENT_ESTIMATORS = {
    "LinearRegression": LinearRegression(),
    "LinearRegression, no intercept": LinearRegression(fit_intercept=False),
    "Ridge": Ridge(alpha=0.1),
    "RidgeCV": RidgeCV(cv=3, random_state=0),
    "RidgeClassifier": RidgeClassifier(),
    "RidgeClassifier, balanced": RidgeClassifier(class_weight="balanced"),
}

#: Those, and others whose bits must not depend on BLAS and processor.
PORTABLE_ESTIMATORS = MOMENT_ESTIMATORS | {
    "GaussianNB": GaussianNB(),
    "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis(),
    "LinearDiscriminantAnalysis, eigen": LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.1),
    "NearestCentroid": NearestCentroid(),
    "PCA": PCA(7),
    "QuadraticDiscriminantAnalysis": QuadraticDiscriminantAnalysis(reg_param=0.1),
    "RobustScaler": RobustScaler(random_state=0),
    "StandardScaler": StandardScaler(random_state=0),
    "VarianceThreshold": VarianceThreshold(),
}
