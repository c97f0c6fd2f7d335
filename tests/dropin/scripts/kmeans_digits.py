"""Clusters of handwritten digits from three kinds of start."""

from time import perf_counter

import numpy as np
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA


def main():
    X, y = load_digits(return_X_y=True)
    total = ((X - X.mean(axis=0)) ** 2).sum()
    components = PCA(n_components=10).fit(X).components_
    starts = {
        "k-means++": KMeans(init="k-means++", n_clusters=10, n_init=10, random_state=0),
        "random": KMeans(init="random", n_clusters=10, n_init=10, random_state=0),
        "PCA": KMeans(init=components, n_clusters=10, n_init=1),
    }
    results, seconds = {}, 0.0
    for name, model in starts.items():
        start = perf_counter()
        model.fit(X)
        seconds += perf_counter() - start
        results[f"{name} share of variance"] = model.inertia_ / total
        results[f"{name} clusters"] = len(np.unique(model.labels_))
    labels = starts["PCA"].labels_
    for score in (
        metrics.homogeneity_score,
        metrics.completeness_score,
        metrics.v_measure_score,
        metrics.adjusted_rand_score,
        metrics.adjusted_mutual_info_score,
    ):
        results[f"PCA {score.__name__}"] = score(y, labels)
    reduced = PCA(n_components=2).fit_transform(X)
    plane = KMeans(init="k-means++", n_clusters=10, n_init=4, random_state=0).fit(reduced)
    results["plane"] = plane.inertia_ / ((reduced - reduced.mean(axis=0)) ** 2).sum()
    return {**results, "fit_seconds": seconds}
