"""Irises in two dimensions: those of most variance, and those that tell the species apart."""

import numpy as np
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


def main():
    iris = load_iris()
    pca = PCA(n_components=2)
    by_variance = pca.fit(iris.data).transform(iris.data)
    lda = LinearDiscriminantAnalysis(n_components=2)
    by_species = lda.fit(iris.data, iris.target).transform(iris.data)
    results = {
        "explained": pca.explained_variance_ratio_.tolist(),
        "noise": pca.noise_variance_,
        "lda_explained": lda.explained_variance_ratio_.tolist(),
        "lda_score": lda.score(iris.data, iris.target),
    }
    for name, points in (("pca", by_variance), ("lda", by_species)):
        results[name] = np.abs(points[:5]).ravel().tolist()
    back = pca.inverse_transform(by_variance)
    return {**results, "lost": float(((back - iris.data) ** 2).mean())}
