"""Certified removal beside the published method: ``python bench/certified_peers.py [MOST_REMOVALS [SECONDS]]``.

Rows leave one by one, and each time the coefficients are read. Both methods have the same epsilon, delta and penalty,
and rows of norm at most 1. The published one holds for one release, the certified model jointly for
N_RELEASES. An arm ends after MOST_REMOVALS (1,000) or SECONDS (60), the published one also where its budget is spent
and it trains anew; its implementation is ours. One core: set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1; nothing else
should run.
"""

import sys
import warnings
from collections.abc import Callable
from statistics import mean, median
from time import perf_counter
from typing import Any

import numpy as np

from harness import datasets
from skunlearn.exceptions import SkunlearnWarning
from skunlearn.linear_model import LogisticRegression

EPSILON, DELTA, N_RELEASES = 1.0, 1e-4, 1000
#: Of the table, penalties a row, and for each method the noise that costs it little accuracy.
PENALTIES = (1e-3, 1e-4)
ARMS: dict[str, dict[str, Any]] = {
    "guo2020": {"noise_scale": 10.0},
    "certified": {"noise_scale": 1e-2, "n_releases": N_RELEASES},
    "exact": {},
}


def adult() -> tuple[np.ndarray, np.ndarray]:
    """Return Adult in one-hot columns: all rows have equally many ones, so one factor gives norm 1."""
    table = datasets.binary("adult")
    X = np.asarray(table.X, dtype=np.float64)
    return X / np.sqrt(X.sum(axis=1).max()), table.y


def mnist_3_or_8() -> tuple[np.ndarray, np.ndarray]:
    """Return two digits of MNIST, every row divided by its norm."""
    saved = np.load(datasets.folder() / "mnist.npz")
    chosen = np.isin(saved["y"], (3, 8))
    X = saved["X"][chosen].reshape(np.count_nonzero(chosen), -1).astype(np.float64)
    return X / np.linalg.norm(X, axis=1)[:, None], (saved["y"][chosen] == 8).astype(np.int64)


TABLES: dict[str, tuple[Callable[[], tuple[np.ndarray, np.ndarray]], str]] = {
    "adult": (adult, "adult.parquet"),
    "mnist 3 or 8": (mnist_3_or_8, "mnist.npz"),
}


def measure(arm: str, penalty: float, X: np.ndarray, y: np.ndarray, most: int, seconds: float) -> str:
    """Return what one arm supports, takes and predicts."""
    order = np.random.default_rng(0).permutation(len(y))
    train, test = order[: len(y) * 4 // 5], order[len(y) * 4 // 5 :]
    settings = {"epsilon": EPSILON, "delta": DELTA, "guarantee": arm, "C": 1.0 / (penalty * len(train)), **ARMS[arm]}
    start = perf_counter()
    model = LogisticRegression(**settings).fit(X[train], y[train])
    accuracy, fit = model.score(X[test], y[test]), perf_counter() - start
    times: list[float] = []
    n_supported, begin = "no limit", perf_counter()
    for gone in range(most):
        start = perf_counter()
        model.partial_forget([gone]).coef_  # noqa: B018  (the read is what is measured)
        times.append(perf_counter() - start)
        if arm == "guo2020":
            is_spent = model._require_live().core.n_trainings > 1
            n_supported = str(gone) if is_spent else f"at least {gone + 1}"
            if is_spent:
                break
        if perf_counter() - begin > seconds:
            break
    after = model.score(X[test], y[test])
    cells = (n_supported, len(times), f"{fit:.2f} s", f"{1e3 * median(times):.3f} ms", f"{1e3 * mean(times):.3f} ms")
    return " | ".join(map(str, (*cells, f"{accuracy:.4f}", f"{after:.4f}")))


def main() -> None:
    """Print a row for every table, penalty and arm."""
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    warnings.simplefilter("ignore", SkunlearnWarning)
    head = (
        "data",
        "penalty",
        "guarantee",
        "removals in budget",
        "of",
        "fit",
        "median",
        "mean",
        "accuracy",
        "afterwards",
    )
    sys.stdout.write(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}\n")
    for name, (load, file) in TABLES.items():
        if not (datasets.folder() / file).exists():
            sys.stderr.write(
                f"{name} left out: {file} is not in the data folder (SKUNLEARN_DATA, else ../shared/data)\n"
            )
            continue
        X, y = load()
        for penalty in PENALTIES:
            for arm in ARMS:
                cells = measure(arm, penalty, X, y, most, seconds)
                sys.stdout.write(f"| {name} | {penalty:g} | {arm} | {cells} |\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
