"""DBSCAN beside incdbscan: ``python bench/dbscan_peers.py [TABLE ...]`` prints the median time of a deletion of each.

Both hold the same rows and forget the same ones, one by one; scikit-learn's refit on what is left stands beside them.
Labels are compared at the end: incdbscan numbers clusters otherwise, and may give a row at a border to another cluster,
so the partition of the cores is what must be the same. Times are for a quiet machine.
"""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import sklearn.cluster
from incdbscan import IncrementalDBSCAN

from harness import datasets
from harness.cases import EPS
from skunlearn.cluster import DBSCAN

N_ROWS, N_FORGOTTEN = 5_000, 200


def seconds(call: Callable[[], Any]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def same_partition(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two labellings are equal up to names."""
    pairs = {*zip(one.tolist(), other.tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def row_of(name: str) -> str:
    """Measure a table, and return its line."""
    X = datasets.clustering(name).X
    rng = np.random.default_rng(0)
    X = np.unique(X[rng.permutation(len(X))[:N_ROWS]], axis=0)  # incdbscan knows rows by their values
    ours, theirs = DBSCAN(EPS[name]).fit(X), IncrementalDBSCAN(EPS[name], min_pts=5).insert(X)
    going = rng.choice(len(X), N_FORGOTTEN, replace=False)
    our_times = [seconds(lambda row=row: ours.partial_forget([row])) for row in going.tolist()]
    their_times = [seconds(lambda row=row: theirs.delete(X[row : row + 1])) for row in going.tolist()]
    read = seconds(lambda: ours.labels_)
    left = np.delete(X, going, axis=0)
    refit = seconds(lambda: sklearn.cluster.DBSCAN(EPS[name]).fit(left))
    cores = ours.core_sample_indices_
    is_same = len(cores) == 0 or same_partition(ours.labels_[cores], theirs.get_cluster_labels(left[cores]))
    medians = [1e6 * statistics.median(times) for times in (our_times, their_times)]
    return (
        f"| {name} | {len(X)} | {medians[0]:.1f} | {1e3 * read:.2f} | {medians[1]:.1f} | {1e3 * refit:.1f} | "
        f"{'yes' if is_same else 'no'} |"
    )


def main() -> None:
    """Print a line for every table."""
    sys.stdout.write("| data | rows | forget one, µs | read, ms | incdbscan, µs | refit, ms | same cores |\n")
    sys.stdout.write("| --- | ---: | ---: | ---: | ---: | ---: | --- |\n")
    for name in sys.argv[1:] or EPS:
        reason = datasets.missing_file(name)
        if reason is not None:
            sys.stderr.write(f"{name} left out: {reason}\n")
            continue
        sys.stdout.write(row_of(name) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
