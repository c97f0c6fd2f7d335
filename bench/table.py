"""Write every table of numbers in README.md and docs/benchmarks.md from the committed results: none is typed by hand.

python bench/table.py            write what stands between <!-- bench:NAME --> and <!-- /bench:NAME -->
python bench/table.py --check    change nothing; exit with 1 if a file is out of date
"""

import argparse
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from harness.records import latest, read
from harness.sampling import LOUD_SHARE
from skunlearn.demo.screen import duration, ratio

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "docs/benchmarks.md")
_MARKED = re.compile(r"(<!-- bench:(\w+) -->\n).*?(<!-- /bench:\2 -->)", re.DOTALL)
_NO_RUN = "No run is committed yet: `make bench`, then `python bench/table.py`.\n"

Record = dict[str, Any]
Row = list[str]


def main(arguments: list[str] | None = None) -> int:
    """Bring the documents up to date, or say whether they are."""
    parser = argparse.ArgumentParser(prog="bench/table.py", description="Write the tables of numbers.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    parser.add_argument("--results", type=Path, default=ROOT / "bench" / "results", help="folder of the results")
    options = parser.parse_args(arguments)
    tables = render(latest(read(committed(options.results))).values())
    stale = []
    for path in [ROOT / name for name in DOCUMENTS if (ROOT / name).exists()]:
        text = path.read_text(encoding="utf-8")
        filled = fill(text, tables)
        if filled != text:
            stale.append(path)
            if not options.check:
                path.write_text(filled, encoding="utf-8")
    for path in stale:
        sys.stderr.write(f"{path.relative_to(ROOT)} {'is out of date' if options.check else 'written'}\n")
    return 1 if stale and options.check else 0


def committed(folder: Path) -> list[Path]:
    """Return the files of results that git keeps."""
    return sorted(path for path in folder.glob("*.jsonl") if not path.name.endswith(".local.jsonl"))


def fill(text: str, tables: dict[str, str]) -> str:
    """Put tables between the markers of their names.

    Raises
    ------
    ValueError
        If a marker names no table.
    """

    def table_for(match: re.Match[str]) -> str:
        if match[2] not in tables:
            raise ValueError(f"A marker names the table {match[2]!r}; there are {', '.join(sorted(tables))}.")
        return match[1] + tables[match[2]] + match[3]

    return _MARKED.sub(table_for, text)


def render(records: Iterable[Record]) -> dict[str, str]:
    """Return all tables as Markdown, by name."""
    runs = sorted(records, key=_order)
    forgetting = [run for run in runs if _find(run, "forget_one")]
    return {
        "summary": _table(_SUMMARY_HEAD, _summary, forgetting) + _conditions(forgetting),
        "single": _table(_SINGLE_HEAD, _single, forgetting),
        "batch": _table(_BATCH_HEAD, _batch, [run for run in forgetting if _find(run, "forget_batch")]),
        "fit": _table(_FIT_HEAD, _fit, forgetting),
        "memory": _table(_MEMORY_HEAD, _memory, forgetting),
        "quality": _table(_QUALITY_HEAD, _quality, forgetting),
        "ids": _table(_IDS_HEAD, _ids, [run for run in runs if run["case"]["name"].startswith("ids/")]),
        "cadence": _table(_CADENCE_HEAD, _cadence, [run for run in runs if _find(run, "forget_and_read")]),
        "gram": _table(_GRAM_HEAD, _gram, [run for run in runs if _find(run, "gram")]),
        "overhead": _table(_OVERHEAD_HEAD, _overhead, [run for run in runs if _find(run, "core_forget")]),
        "conditions": _conditions(runs) or _NO_RUN,
    }


def _order(run: Record) -> tuple[str, int]:
    return run["case"]["name"].partition("/")[0], run["case"]["n"]


# --- times -----------------------------------------------------------------------------------------------------------


def per_call(entry: Record, *, is_loud: bool) -> list[float]:
    """Return nanoseconds a call: by the wall, or in a loud run by the processor, whose clock is read once a block."""
    if not is_loud:
        return list(entry["wall_ns"])
    calls = entry.get("block_calls") or [1] * len(entry["cpu_ns"])
    return [cpu / n for cpu, n in zip(entry["cpu_ns"], calls, strict=True)]


def amortised(entry: Record, *, is_loud: bool) -> float:
    """Return nanoseconds a row with all the work that was put off: what a deletion costs in the end."""
    blocks = entry["cpu_ns"] if is_loud else entry.get("block_wall_ns", entry["wall_ns"])
    n_calls = sum(entry["block_calls"]) if "block_calls" in entry else len(entry["cpu_ns"])
    deferred = entry["deferred"]["cpu_ns" if is_loud else "wall_ns"] if entry["deferred"] else 0
    return float(sum(blocks) + deferred) / (n_calls * entry["rows_per_call"])


def _find(run: Record, operation: str, arm: str = "skunlearn", **variant: Any) -> Record | None:
    for entry in run["measurements"]:
        if (entry["operation"], entry["arm"]) == (operation, arm) and variant.items() <= entry["variant"].items():
            return dict(entry)
    return None


def _median(run: Record, operation: str, arm: str = "skunlearn", **variant: Any) -> float:
    entry = _find(run, operation, arm, **variant)
    return float("nan") if entry is None else float(median(per_call(entry, is_loud=run["is_loud"])))


def _tail(run: Record, entry: Record, statistic: Callable[[list[float]], float]) -> str:
    """Return a tail of the single calls, or nothing where other work had the core: it would be the other work's."""
    if run["is_loud"] or entry["loud_share"] > LOUD_SHARE:
        return "-"
    return duration(statistic(entry["wall_ns"]))


# --- rows ------------------------------------------------------------------------------------------------------------

_SUMMARY_HEAD = [
    "estimator", "table", "rows x features", "forget one row", "and read", "refit, scikit-learn", "refit / forget",
    "refit / forget and read",
]  # fmt: skip
_SINGLE_HEAD = [
    "estimator", "table", "order", "median", "mean", "p99", "max", "mean with deferred work", "first predict after",
    "predict otherwise",
]  # fmt: skip
_BATCH_HEAD = ["estimator", "table", "10 rows", "100 rows", "1,000 rows", "a row, of 1,000"]
_FIT_HEAD = ["estimator", "table", "fit", "fit, scikit-learn", "refit on the rest", "refit, scikit-learn", "fit / fit"]
_MEMORY_HEAD = ["estimator", "table", "X", "rows and ids held", "of these, index", "core", "estimate_memory"]
_QUALITY_HEAD = ["estimator", "table", "held out", "before", "after", "refit, scikit-learn"]
_IDS_HEAD = [
    "ids", "rows", "check of input", "build", "look-up, an id", "index bytes a row", "build, dict", "look-up, dict",
    "bytes a row, dict",
]  # fmt: skip
_CADENCE_HEAD = [
    "forest", "table", "rows x features", "read after", "a deletion, flushed", "a deletion, one row read",
    "refit, scikit-learn", "refit, LightGBM", "LightGBM / flushed", "predict / scikit-learn's",
]  # fmt: skip
_GRAM_HEAD = [
    "table", "rows x features", "exact sums", "plain BLAS", "exact / plain", "fit", "fit, scikit-learn", "fit / fit",
]  # fmt: skip
_OVERHEAD_HEAD = ["estimator", "table", "features", "partial_forget of a row", "core alone", "difference"]


def _names(run: Record) -> Row:
    estimator = "".join(_CAMEL.get(word, word.capitalize()) for word in run["case"]["name"].split("/")[0].split("_"))
    return [f"`{estimator}`", run["case"]["data"] + (" \\*" if run["is_loud"] else "")]


_CAMEL = {"nb": "NB", "cv": "CV", "pca": "PCA", "kmeans": "KMeans"}


def _summary(run: Record) -> list[Row]:
    entry = _find(run, "forget_one", order="random")
    assert entry is not None
    forget = amortised(entry, is_loud=run["is_loud"])
    read = _median(run, "forget_one", order="random") + _median(run, "first_predict")
    refit = _median(run, "refit", "scikit-learn")
    case = run["case"]
    size = f"{case['n']:,} x {case['d']:,}"
    times = [duration(forget), duration(read), duration(refit)]
    return [[*_names(run), size, *times, ratio(refit / forget), ratio(refit / read)]]


def _single(run: Record) -> list[Row]:
    rows = []
    for entry in [e for e in run["measurements"] if e["operation"] == "forget_one"]:
        times = per_call(entry, is_loud=run["is_loud"])
        tails = [_tail(run, entry, lambda ns: float(np.quantile(ns, 0.99))), _tail(run, entry, max)]
        deferred = duration(amortised(entry, is_loud=run["is_loud"]))
        reads = [duration(_median(run, operation)) for operation in ("first_predict", "next_predict")]
        order = entry["variant"]["order"]
        rows.append([*_names(run), order, duration(median(times)), duration(fmean(times)), *tails, deferred, *reads])
    return rows


def _batch(run: Record) -> list[Row]:
    def cell(n_rows: int, per: int) -> str:
        entry = _find(run, "forget_batch", batch=n_rows)
        return "-" if entry is None else duration(median(per_call(entry, is_loud=run["is_loud"])) / per)

    return [[*_names(run), cell(10, 1), cell(100, 1), cell(1000, 1), cell(1000, 1000)]]


def _fit(run: Record) -> list[Row]:
    fit, peer = _median(run, "fit"), _median(run, "fit", "scikit-learn")
    refits = [duration(_median(run, "refit")), duration(_median(run, "refit", "scikit-learn"))]
    return [[*_names(run), duration(fit), duration(peer), *refits, f"{fit / peer:.2f}"]]


def _memory(run: Record) -> list[Row]:
    memory = run["memory"]
    names = ("X_bytes", "rows_and_index_bytes", "index_bytes", "core_bytes", "estimated_bytes")
    return [[*_names(run), *(_mebibytes(memory[name]) for name in names)]]


def _quality(run: Record) -> list[Row]:
    quality = run["quality"]
    scores = [" / ".join(f"{score:.4f}" for score in quality[w].values()) for w in ("before", "after", "refit")]
    return [[*_names(run), f"{quality['n_held_out']:,}", *scores]]


def _ids(run: Record) -> list[Row]:
    case, memory = run["case"], run["memory"]
    n = case["n"]

    def cell(operation: str, arm: str, *, is_per_id: bool = False) -> str:
        entry = _find(run, operation, arm)
        if entry is None:
            return "-"
        return duration(_median(run, operation, arm) / (entry["rows_per_call"] if is_per_id else 1))

    return [
        [
            case["parameters"]["kind"] + (" \\*" if run["is_loud"] else ""),
            f"{n:,}",
            cell("parse", "skunlearn"),
            cell("build", "skunlearn"),
            cell("find", "skunlearn", is_per_id=True),
            f"{memory['index_bytes'] / n:.1f}",
            cell("build", "dict"),
            cell("find", "dict", is_per_id=True),
            f"{memory['dict_bytes'] / n:.1f}" if "dict_bytes" in memory else "-",
        ]
    ]


def _cadence(run: Record) -> list[Row]:
    """Means a deletion, with all the work that it leaves to the read or the flush."""
    case, rows = run["case"], []
    name = "`" + case["name"].partition("/")[2].rpartition("-")[0] + "`"
    data = case["name"].rpartition("-")[2] + (" \\*" if run["is_loud"] else "")
    entry = _find(run, "refit", "LightGBM")
    peer, boosted = _median(run, "refit", "scikit-learn"), None if entry is None else _median(run, "refit", "LightGBM")
    predict = _median(run, "predict") / _median(run, "predict", "scikit-learn")
    for flushed in [e for e in run["measurements"] if e["operation"] == "forget_and_flush"]:
        cadence = flushed["variant"]["cadence"]
        read = _find(run, "forget_and_read", cadence=cadence)
        assert read is not None
        each, reading = (fmean(per_call(e, is_loud=run["is_loud"])) / cadence for e in (flushed, read))
        cells = ["-", "-"] if boosted is None else [duration(boosted), ratio(boosted / each)]
        rows.append(
            [
                name, data, f"{case['n']:,} x {case['d']:,}", f"{cadence:,}", duration(each), duration(reading),
                duration(peer), *cells, f"{predict:.2f}",
            ]
        )  # fmt: skip
    return rows


def _gram(run: Record) -> list[Row]:
    case = run["case"]
    exact, plain = _median(run, "gram"), _median(run, "gram", "BLAS")
    fit, peer = _median(run, "fit"), _median(run, "fit", "scikit-learn")
    size = f"{case['n']:,} x {case['d']:,}{', sparse' * (case['layout'] == 'csr')}"
    times = [duration(exact), duration(plain), f"{exact / plain:.2f}", duration(fit), duration(peer)]
    return [[case["data"] + (" \\*" if run["is_loud"] else ""), size, *times, f"{fit / peer:.2f}"]]


def _overhead(run: Record) -> list[Row]:
    whole, core = _median(run, "partial_forget"), _median(run, "core_forget")
    case = run["case"]
    names = [f"`{case['parameters']['estimator']}`", case["data"] + (" \\*" if run["is_loud"] else ""), str(case["d"])]
    return [[*names, duration(whole), duration(core), duration(whole - core)]]


# --- Markdown --------------------------------------------------------------------------------------------------------


def _table(head: Row, rows_of: Callable[[Record], list[Row]], runs: list[Record]) -> str:
    rows = [row for run in runs for row in rows_of(run)]
    if not rows:
        return _NO_RUN
    alignment = ["---" if not _is_number(cell) else "---:" for cell in rows[0]]
    lines = [f"| {' | '.join(row)} |" for row in (head, alignment, *rows)]
    note = "\n\\* A loud run: other work had the core in part. Processor time, and no p99.\n"
    return "\n".join(lines) + "\n" + (note if any(run["is_loud"] for run in runs) else "")


def _is_number(cell: str) -> bool:
    return cell[:1].isdigit() or cell == "-"


def _conditions(runs: list[Record]) -> str:
    """Say what the runs depend on: one sentence where they agree, and all values where they do not."""
    if not runs:
        return ""
    machine, software = [run["machine"] for run in runs], [run["software"] for run in runs]
    facts = [
        _values(f"{m['cpu']}, one of {m['n_cores']} cores, {m['memory_bytes'] / 2**30:.0f} GiB" for m in machine),
        _values(m["system"] for m in machine),
        "Python " + _values(s["python"] for s in software),
        *(f"{lib} " + _values(s["versions"][lib] for s in software) for lib in ("scikit-learn", "numpy", "scipy")),
        _values(run["profile"] for run in runs) + " build",
        "commit " + _values(f"{(run['commit'] or 'unknown')[:10]}{' (changed)' * bool(run['dirty'])}" for run in runs),
        _values(run["time"][:10] for run in runs),
    ]
    return "\n" + "; ".join(facts) + ".\n"


def _values(values: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(values))


def _mebibytes(n_bytes: int) -> str:
    return f"{n_bytes / 2**20:,.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
