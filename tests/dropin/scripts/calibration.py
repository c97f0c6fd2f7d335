"""Probabilities of a classifier that is sure of itself too often, mended two ways, with weights of rows."""

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_blobs
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB


def main():
    X, y = make_blobs(n_samples=8000, centers=[(-5, -5), (0, 0), (5, 5)], shuffle=False, random_state=42)
    y[: len(y) // 2] = 0
    y[len(y) // 2 :] = 1
    weight = np.random.RandomState(42).rand(len(y))
    X_train, X_test, y_train, y_test, weight_train, weight_test = train_test_split(
        X, y, weight, test_size=0.9, random_state=42
    )
    plain = GaussianNB().fit(X_train, y_train)
    isotonic = CalibratedClassifierCV(GaussianNB(), cv=2, method="isotonic").fit(X_train, y_train, weight_train)
    sigmoid = CalibratedClassifierCV(GaussianNB(), cv=2, method="sigmoid").fit(
        X_train, y_train, sample_weight=weight_train
    )
    return {
        name: brier_score_loss(y_test, model.predict_proba(X_test)[:, 1], sample_weight=weight_test)
        for name, model in {"plain": plain, "isotonic": isotonic, "sigmoid": sigmoid}.items()
    }
