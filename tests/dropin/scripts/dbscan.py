"""Clusters by density: as many as there are, and rows that belong to none."""

from time import perf_counter

import numpy as np
from sklearn import metrics
from sklearn.cluster import DBSCAN
from sklearn.datasets import make_blobs
from sklearn.preprocessing import StandardScaler


def main():
    X, y = make_blobs(n_samples=750, centers=[[1, 1], [-1, -1], [1, -1]], cluster_std=0.4, random_state=0)
    X = StandardScaler().fit_transform(X)
    start = perf_counter()
    model = DBSCAN(eps=0.3, min_samples=10).fit(X)
    seconds = perf_counter() - start
    labels = model.labels_
    return {
        "n_clusters": len(set(labels.tolist()) - {-1}),
        "share_of_noise": np.mean(labels == -1),
        "share_of_core": len(model.core_sample_indices_) / len(X),
        "homogeneity": metrics.homogeneity_score(y, labels),
        "completeness": metrics.completeness_score(y, labels),
        "rand": metrics.adjusted_rand_score(y, labels),
        "silhouette": metrics.silhouette_score(X, labels),
        "fit_seconds": seconds,
    }
