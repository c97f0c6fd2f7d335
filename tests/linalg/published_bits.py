"""Print, as JSON, digests of what the certified solve publishes and of what LAPACK says, and the kernels in use."""

import hashlib
import json

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info

from skunlearn._linalg.solve import eigh_fixed, solve
from skunlearn.decomposition import PCA
from skunlearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis


def integer_gram(seed, n_rows, d, rank):
    random = np.random.default_rng(seed)
    table = random.integers(-1000, 1000, (n_rows, rank))
    if rank < d:
        table = table @ random.integers(-9, 9, (rank, d))
    target = random.integers(-1000, 1000, n_rows)
    return table.T @ table, table.T @ target


def published_by_estimators(d):
    """Return attributes and answers of the estimators whose bits rest on eigenvectors."""
    rng = np.random.default_rng(d)
    X, y = np.add.accumulate(rng.normal(size=(6 * d, d)), axis=1), rng.integers(0, 3, 6 * d)
    pca, linear = PCA().fit(X), LinearDiscriminantAnalysis().fit(X, y)
    quadratic = QuadraticDiscriminantAnalysis(reg_param=0.1).fit(X, y)
    yield from (pca.components_, pca.explained_variance_, pca.transform(X), pca.score_samples(X))
    yield from (linear.coef_, linear.intercept_, linear.scalings_, linear.predict_proba(X), linear.transform(X))
    yield from (*quadratic.rotations_, *quadratic.scalings_, quadratic.decision_function(X))


def main():
    certified, lapack = hashlib.sha256(), hashlib.sha256()
    for seed, (d, rank) in enumerate([(3, 3), (40, 40), (40, 31), (100, 100), (220, 220)]):
        gram, moments = integer_gram(seed, 2 * d, d, rank)
        certified.update(solve(gram, moments).coefficients.tobytes())
        floats = gram.astype(float)
        if d <= 100:
            for part in eigh_fixed(floats):
                certified.update(part.tobytes())
            for part in published_by_estimators(d):
                certified.update(part.tobytes())
        lapack.update(scipy.linalg.solve(floats + np.eye(d), moments.astype(float), assume_a="pos").tobytes())
    cores = sorted({str(pool["architecture"]) for pool in threadpool_info() if pool["internal_api"] == "openblas"})
    print(json.dumps({"certified": certified.hexdigest(), "lapack": lapack.hexdigest(), "cores": cores}))  # noqa: T201


main()
