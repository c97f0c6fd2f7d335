"""Print, as JSON, digests of what the certified solve publishes and of what LAPACK says, and the kernels in use."""

import hashlib
import json

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_info

from skunlearn._linalg.solve import eigh_fixed, solve


def integer_gram(seed, n_rows, d, rank):
    random = np.random.default_rng(seed)
    table = random.integers(-1000, 1000, (n_rows, rank))
    if rank < d:
        table = table @ random.integers(-9, 9, (rank, d))
    target = random.integers(-1000, 1000, n_rows)
    return table.T @ table, table.T @ target


def main():
    certified, lapack = hashlib.sha256(), hashlib.sha256()
    for seed, (d, rank) in enumerate([(3, 3), (40, 40), (40, 31), (100, 100), (220, 220)]):
        gram, moments = integer_gram(seed, 2 * d, d, rank)
        certified.update(solve(gram, moments).coefficients.tobytes())
        floats = gram.astype(float)
        if d <= 100:
            for part in eigh_fixed(floats):
                certified.update(part.tobytes())
        lapack.update(scipy.linalg.solve(floats + np.eye(d), moments.astype(float), assume_a="pos").tobytes())
    cores = sorted({str(pool["architecture"]) for pool in threadpool_info() if pool["internal_api"] == "openblas"})
    print(json.dumps({"certified": certified.hexdigest(), "lapack": lapack.hexdigest(), "cores": cores}))  # noqa: T201


main()
