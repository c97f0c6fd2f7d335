"""How good the clusterings are: ``python bench/kmeans_loss.py [TABLE ...]`` prints a table of losses.

The loss of a fit is its inertia over the least that any fit of the table has reached; every arm fits under `N_SEEDS`
seeds. No time is measured, so the machine need not be quiet.
"""

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
from sklearn.exceptions import ConvergenceWarning

from harness import datasets
from harness.cases import N_CLUSTERS
from skunlearn.cluster import KMeans

N_SEEDS = 20
TABLES = ("digits", "covtype_15k", "letter", "kddcup99_10pct", "nycflights13")
ARMS: dict[str, Callable[[int, int], Any]] = {
    "auto": lambda k, seed: KMeans(k, random_state=seed),
    "lloyd": lambda k, seed: KMeans(k, algorithm="lloyd", random_state=seed),
    "coreset": lambda k, seed: KMeans(k, algorithm="coreset", random_state=seed),
    "scikit-learn, 1 start": lambda k, seed: sklearn.cluster.KMeans(k, random_state=seed),
    "scikit-learn, 10 starts": lambda k, seed: sklearn.cluster.KMeans(k, n_init=10, random_state=seed),
}


def losses(name: str) -> dict[str, np.ndarray]:
    """Return the losses of every arm on a table, a seed each."""
    X, k = datasets.clustering(name).X, N_CLUSTERS.get(name, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = {
            arm: np.array([make(k, seed).fit(X).inertia_ for seed in range(N_SEEDS)]) for arm, make in ARMS.items()
        }
    least = min(inertias.min() for inertias in found.values())
    return {arm: inertias / least for arm, inertias in found.items()}


def main() -> None:
    """Print a row for every table and arm: mean and largest loss."""
    sys.stdout.write("| data | arm | mean loss | largest |\n| --- | --- | ---: | ---: |\n")
    for name in sys.argv[1:] or TABLES:
        reason = datasets.missing_file(name)
        if reason is not None:
            sys.stderr.write(f"{name} left out: {reason}\n")
            continue
        for arm, found in losses(name).items():
            sys.stdout.write(f"| {name} | {arm} | {found.mean():.4f} | {found.max():.4f} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
