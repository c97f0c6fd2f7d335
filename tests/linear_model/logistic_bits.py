"""Print, as JSON, a digest of what is published over a history, one of what LAPACK says, and the kernels in use."""

import hashlib
import json

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info

from skunlearn.linear_model import LogisticRegression


def main():
    published, lapack = hashlib.sha256(), hashlib.sha256()
    for seed, (n, d, n_classes) in enumerate([(60, 3, 2), (200, 20, 2), (150, 6, 4), (500, 110, 2)]):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, d))
        y = (X[:, 0] + rng.normal(size=n) > 0).astype(int) if n_classes == 2 else rng.integers(0, n_classes, n)
        model = LogisticRegression().fit(X, y)
        for going in (np.arange(3), np.arange(5, n // 10)):
            model.partial_forget(going)
            for part in (model.coef_, model.intercept_, model.predict_proba(X)):
                published.update(part.tobytes())
        lapack.update(scipy.linalg.solve(X.T @ X + np.eye(d), X.T @ y.astype(float), assume_a="pos").tobytes())
    cores = sorted({str(pool["architecture"]) for pool in threadpool_info() if pool["internal_api"] == "openblas"})
    print(json.dumps({"published": published.hexdigest(), "lapack": lapack.hexdigest(), "cores": cores}))  # noqa: T201


main()
