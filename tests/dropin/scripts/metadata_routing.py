"""Weights of rows on their way to the step that wants them, with metadata routing off and on."""

import numpy as np
from sklearn import config_context
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main():
    X, y = load_breast_cancer(return_X_y=True)
    rng = np.random.default_rng(0)
    weight, groups = rng.uniform(0.1, 2.0, len(y)), rng.integers(0, 20, len(y))
    Xs = X / X.max(axis=0)
    settings = {"C": [0.1, 1.0]}

    off = GridSearchCV(LogisticRegression(), settings, cv=3).fit(Xs, y, sample_weight=weight)
    piped = make_pipeline(StandardScaler(), LogisticRegression())
    piped.fit(X, y, logisticregression__sample_weight=weight)

    with config_context(enable_metadata_routing=True):
        wanting = LogisticRegression().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        chain = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), wanting)
        scores = cross_validate(chain, X, y, params={"sample_weight": weight, "groups": groups}, cv=GroupKFold(4))
        not_wanting = LogisticRegression().set_fit_request(sample_weight=False).set_score_request(sample_weight=True)
        on = GridSearchCV(not_wanting, settings, cv=3).fit(Xs, y, sample_weight=weight)
        both = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=True),
            LogisticRegression().set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=weight)

    return {
        "off": off.best_score_,
        "off_piped": log_loss(y, piped.predict_proba(X)),
        "on_cross_validated": scores["test_score"].mean(),
        "on_searched": on.best_score_,
        "on_both": log_loss(y, both.predict_proba(X)),
    }
