"""The error on rows left out of the bootstrap, as a forest grows."""

from time import perf_counter

from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier


def main():
    X, y = make_classification(
        n_samples=2000, n_features=20, n_clusters_per_class=1, n_informative=10, class_sep=1.8, random_state=123
    )
    results, start = {}, perf_counter()
    for max_features in ("sqrt", "log2", None):
        forest = RandomForestClassifier(warm_start=True, oob_score=True, max_features=max_features, random_state=123)
        for n_estimators in (60, 90):
            forest.set_params(n_estimators=n_estimators).fit(X[:1000], y[:1000])
        results[f"{max_features} trees"] = len(forest.estimators_)
        results[f"{max_features} oob_error"] = 1 - forest.oob_score_
        results[f"{max_features} test_error"] = 1 - forest.score(X[1000:], y[1000:])
    return {**results, "fit_seconds": perf_counter() - start}
