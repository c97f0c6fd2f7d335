"""A forest of many rows: ``python bench/forest_10m.py [--rows N] [--trees N]``; ten million of 28 columns by default.

Rows are generated. What is said: time of the fit, median and 99th percentile of single deletions at `max_samples=0.1`,
a flush after the last, and the peak of the memory of the process beside what `estimate_memory` said before. Times are
of the wall; the release build is needed for them to mean something.
"""

import argparse
import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from _unlearn_native._native import build_profile

from skunlearn.ensemble import RandomForestClassifier

N_FEATURES = 28
N_DELETIONS = 1000
MIB = 2**20


def main(arguments: list[str] | None = None) -> None:
    """Generate, fit, forget, and print what it took, a line of JSON."""
    parser = argparse.ArgumentParser(prog="bench/forest_10m.py", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows to generate (default: 10,000,000)")
    parser.add_argument("--trees", type=int, default=100, help="trees (default: 100)")
    options = parser.parse_args(arguments)
    X, y = generated(options.rows)
    model = RandomForestClassifier(options.trees, max_samples=0.1, n_jobs=1, random_state=0)
    ids = np.random.default_rng(1).permutation(10 * options.rows)[: options.rows]
    estimate = model.estimate_memory(X, n_classes=2, sample_ids=ids)
    before = resident()
    with Peak() as peak:
        start = time.perf_counter()
        model.fit(X, y, sample_ids=ids)
        fit_seconds = time.perf_counter() - start
        deletions, flush_seconds = forget(model, ids)
    print_result(
        {
            "profile": build_profile(),
            "rows": options.rows,
            "features": N_FEATURES,
            "trees": options.trees,
            "fit_seconds": round(fit_seconds, 3),
            "forget_p50_us": round(float(np.quantile(deletions, 0.5)) / 1e3, 1),
            "forget_p99_us": round(float(np.quantile(deletions, 0.99)) / 1e3, 1),
            "flush_after_seconds": round(flush_seconds, 3),
            "X_mib": round(X.nbytes / MIB, 1),
            "held_mib": round((model._live.rows.native.nbytes + model._live.core.nbytes()) / MIB, 1),
            "peak_growth_mib": round((peak.bytes - before) / MIB, 1),
            "estimate_mib": round(estimate.total / MIB, 1),
        }
    )


def generated(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of float32 numbers, of which some tell the class: a rank-like, a skewed and a coarse third."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n_rows, N_FEATURES), dtype=np.float32)
    y = (X[:, 0] + X[:, 1] * X[:, 2] + 0.5 * X[:, 3] + rng.standard_normal(n_rows, dtype=np.float32) > 0).astype(
        np.int64
    )
    np.exp(X[:, 10:19], out=X[:, 10:19])
    np.round(X[:, 19:], 1, out=X[:, 19:])
    return X, y


def forget(model: Any, ids: np.ndarray) -> tuple[list[int], float]:
    """Return the nanoseconds of single deletions, and the seconds of the flush after them."""
    going = np.random.default_rng(2).permutation(ids)[: min(N_DELETIONS, len(ids) // 2)].tolist()
    taken = []
    for sample_id in going:
        start = time.perf_counter_ns()
        model.partial_forget([sample_id])
        taken.append(time.perf_counter_ns() - start)
    start = time.perf_counter()
    model.flush()
    return taken, time.perf_counter() - start


class Peak:
    """The most memory that this process has held, looked at a hundred times a second."""

    def __enter__(self) -> "Peak":
        self.bytes, self._is_over = resident(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(0.01):
            self.bytes = max(self.bytes, resident())


def resident() -> int:
    """Return the bytes that this process holds in memory now; where the system does not say, the most it ever did."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def print_result(result: dict[str, Any]) -> None:
    """Write a line."""
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
