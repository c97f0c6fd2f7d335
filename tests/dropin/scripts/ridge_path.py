"""Coefficients of ridge regression on a Hilbert matrix, as the penalty grows."""

from time import perf_counter

import numpy as np
from sklearn.linear_model import Ridge


def main():
    X = 1.0 / (np.arange(1, 11) + np.arange(0, 10)[:, np.newaxis])
    y = np.ones(10)
    alphas = np.logspace(-10, -2, 60)
    start = perf_counter()
    path = np.array([Ridge(alpha=alpha, fit_intercept=False).fit(X, y).coef_ for alpha in alphas])
    seconds = perf_counter() - start
    return {"path": path.ravel().tolist(), "largest": np.abs(path).max(), "fit_seconds": seconds}
