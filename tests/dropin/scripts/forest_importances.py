"""Which columns a forest needs, by impurity and by permutation."""

from time import perf_counter

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import RandomForestClassifier
from sklearn.inspection import permutation_importance
from sklearn.model_selection import train_test_split


def main():
    X, y = make_classification(
        n_samples=1000, n_features=10, n_informative=3, n_redundant=0, n_classes=2, random_state=0, shuffle=False
    )
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=42)
    start = perf_counter()
    forest = RandomForestClassifier(n_estimators=150, random_state=0).fit(X_train, y_train)
    seconds = perf_counter() - start
    of_trees = np.array([tree.feature_importances_ for tree in forest.estimators_])
    permuted = permutation_importance(forest, X_test, y_test, n_repeats=2, random_state=42)
    return {
        "sum": forest.feature_importances_.sum(),
        "mean_of_trees": np.abs(of_trees.mean(axis=0) - forest.feature_importances_).max(),
        "leading": sorted(np.argsort(forest.feature_importances_)[-3:].tolist()),
        "leading_permuted": sorted(np.argsort(permuted.importances_mean)[-3:].tolist()),
        "n_trees": len(forest.estimators_),
        "fit_seconds": seconds,
    }
