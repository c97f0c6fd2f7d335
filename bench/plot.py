"""Draw the committed results, an SVG beside each file of results.

    python bench/plot.py

FAMILY-scaling.svg: time a deletion against rows, with the refit. FAMILY-latency.svg: distribution of single deletions.
FAMILY-cumulative.svg: all time spent over the stream of deletions, with the work put off at its end.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from harness.records import latest, read
from table import amortised, committed, per_call

mpl.use("Agg")
import matplotlib.pyplot as plt  # (after the choice of a backend that needs no screen)

RESULTS = Path(__file__).resolve().parent / "results"
Record = dict[str, Any]

#: The same bytes for the same results.
mpl.rcParams.update({"svg.hashsalt": "skunlearn", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3})


def main(arguments: list[str] | None = None) -> int:
    """Draw all figures of a folder of results."""
    parser = argparse.ArgumentParser(prog="bench/plot.py", description="Draw the results.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    folder = parser.parse_args(arguments).results
    for path in committed(folder):
        runs = sorted(latest(read([path])).values(), key=lambda run: run["case"]["n"])
        runs = [run for run in runs if find(run, "forget_one")]
        if runs:
            for name, draw in (("scaling", scaling), ("latency", latency), ("cumulative", cumulative)):
                save(draw(runs), folder / f"{path.stem}-{name}.svg")
    return 0


def find(run: Record, operation: str, arm: str = "skunlearn") -> Record | None:
    """Return the first measurement of an operation."""
    entries = [m for m in run["measurements"] if (m["operation"], m["arm"]) == (operation, arm)]
    return entries[0] if entries else None


def scaling(runs: list[Record]) -> Any:
    """Draw time against rows, both in powers of ten; the generated tables, alike but for their size, are joined."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    series = {
        "forget one row, deferred work included": lambda run: amortised(
            find(run, "forget_one"), is_loud=run["is_loud"]
        ),
        "refit, scikit-learn": lambda run: middle(run, "refit", "scikit-learn"),
        "refit, skunlearn": lambda run: middle(run, "refit", "skunlearn"),
    }
    for i, (label, value) in enumerate(series.items()):
        points = {run["case"]["data"]: (run["case"]["n"], value(run) / 1e9) for run in runs}
        axes.scatter(*zip(*points.values(), strict=True), color=f"C{i}", marker="os^"[i], label=label)
        line = [point for name, point in points.items() if name.startswith("generated")]
        if line:
            axes.plot(*zip(*line, strict=True), color=f"C{i}")
    axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds")
    axes.legend()
    return figure


def latency(runs: list[Record]) -> Any:
    """Draw which share of single deletions took no longer than what; a loud run has no such distribution."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for i, run in enumerate(run for run in runs if not run["is_loud"]):
        times = np.sort(find(run, "forget_one")["wall_ns"]) / 1e3
        label = f"{run['case']['data']}, {run['case']['n']:,} rows"
        axes.step(times, np.arange(1, len(times) + 1) / len(times), where="post", color=f"C{i}", label=label)
    axes.set(xscale="log", xlabel="microseconds a deletion", ylabel="share of deletions")
    if axes.has_data():
        axes.legend()
    return figure


def cumulative(runs: list[Record]) -> Any:
    """Draw the time spent over the stream of single deletions; the step at its end is the work put off until then."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for i, run in enumerate(runs):
        entry = find(run, "forget_one")
        clock = "cpu_ns" if run["is_loud"] else "wall_ns"
        rows = np.cumsum([0, *entry["block_calls"]])
        spent = np.cumsum([0, *entry["cpu_ns" if run["is_loud"] else "block_wall_ns"]]) / 1e6
        end = spent[-1] + entry["deferred"][clock] / 1e6
        axes.plot(
            [*rows, rows[-1]], [*spent, end], color=f"C{i}", label=f"{run['case']['data']}, {run['case']['n']:,} rows"
        )
    axes.set(xlabel="rows forgotten", ylabel="milliseconds spent")
    axes.legend()
    return figure


def middle(run: Record, operation: str, arm: str) -> float:
    """Return the median of an operation."""
    return float(np.median(per_call(find(run, operation, arm), is_loud=run["is_loud"])))


def save(figure: Any, path: Path) -> None:
    """Write a figure without the date, so that equal figures are equal files."""
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
