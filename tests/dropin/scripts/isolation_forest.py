"""Two clusters of ordinary rows and some that lie between them, told apart by how soon a random tree isolates them."""

from time import perf_counter

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split


def main():
    rng = np.random.RandomState(0)
    shape = np.array([[0.5, -0.1], [0.7, 0.4]])
    ordinary = np.vstack([0.4 * rng.randn(400, 2) @ shape + 2, 0.3 * rng.randn(400, 2) - 2])
    odd = rng.uniform(-4, 4, (120, 2))
    X = np.vstack([ordinary, odd])
    y = np.repeat([1, -1], [len(ordinary), len(odd)])
    X_train, X_test, _, y_test = train_test_split(X, y, stratify=y, random_state=42)
    start = perf_counter()
    model = IsolationForest(n_estimators=150, max_samples=100, random_state=0).fit(X_train)
    seconds = perf_counter() - start
    scores = model.decision_function(X_test)
    return {
        "auc": roc_auc_score(y_test, scores),
        "signs": bool(((scores < 0) == (model.predict(X_test) == -1)).all()),
        "offset": model.offset_,
        "max_samples": model.max_samples_,
        "fit_seconds": seconds,
    }
