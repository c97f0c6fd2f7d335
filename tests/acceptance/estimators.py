"""The estimators that rest on exact moments. A new one is one line here, and every acceptance test has it."""

from skunlearn.linear_model import LinearRegression, Ridge, RidgeClassifier, RidgeCV

MOMENT_ESTIMATORS = {
    "LinearRegression": LinearRegression(),
    "LinearRegression, no intercept": LinearRegression(fit_intercept=False),
    "Ridge": Ridge(alpha=0.1),
    "RidgeCV": RidgeCV(cv=3, random_state=0),
    "RidgeClassifier": RidgeClassifier(),
    "RidgeClassifier, balanced": RidgeClassifier(class_weight="balanced"),
}
