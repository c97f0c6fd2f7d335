"""Run benchmarks, a process a case, and append what they measured to bench/results.

python bench/run.py                        all cases, a quarter of an hour
python bench/run.py ids categorical_nb/adult
python bench/run.py --list
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

from _unlearn_native._native import build_profile

from harness import process
from harness.cases import CASES, Case, chosen
from harness.datasets import missing_file
from harness.forgetting import FULL, QUICK
from harness.records import append, record

RESULTS = Path(__file__).resolve().parent / "results"
#: A case that takes longer has gone wrong.
TIME_LIMIT_SECONDS = 900


def main(arguments: list[str] | None = None) -> int:
    """Run the cases that are named and return 0 if none of them failed."""
    options = _parse(arguments)
    if options.list:
        for case in CASES:
            say(f"{case.name:32} {missing_file(case.table) or 'ready'}")
        return 0
    if not options.quick:
        process.check_release(build_profile())
    if options.in_this_process:
        return run_here(chosen(options.cases, quick=options.quick)[0], options)
    return run_all(chosen(options.cases, quick=options.quick), options)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run.py", description="Run benchmarks, a process a case.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a family or a case; all by default")
    parser.add_argument("--list", action="store_true", help="say what there is, and what is missing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results (default: bench/results)")
    parser.add_argument("--local", action="store_true", help="write to files that git ignores")
    parser.add_argument("--core", type=int, help="the core to stay on (default: the last)")
    parser.add_argument("--quick", action="store_true", help="small sizes, on any build: its times mean nothing")
    parser.add_argument("--in-this-process", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def run_all(cases: list[Case], options: argparse.Namespace) -> int:
    """Start a process for every case, and sum up."""
    start = time.monotonic()
    skipped, failed = [], []
    for i, case in enumerate(cases):
        reason = missing_file(case.table)
        if reason is not None:
            skipped.append(case)
            say(f"[{i + 1}/{len(cases)}] {case.name}: skipped, {reason}")
            continue
        case_start = time.monotonic()
        say(f"[{i + 1}/{len(cases)}] {case.name}")
        if not _run_process(case, options):
            failed.append(case)
        say(f"  {'FAILED' if case in failed else 'done'} after {time.monotonic() - case_start:.0f} s")
    n_run = len(cases) - len(skipped) - len(failed)
    say(
        f"{n_run} cases measured, {len(skipped)} skipped, {len(failed)} failed, "
        f"{(time.monotonic() - start) / 60:.1f} minutes. {'; '.join(f'{c.name} failed' for c in failed)}"
    )
    return 1 if failed else 0


def _run_process(case: Case, options: argparse.Namespace) -> bool:
    command = [sys.executable, __file__, case.name, "--in-this-process", "--out", str(options.out)]
    command += ["--local"] * options.local + ["--quick"] * options.quick
    command += [] if options.core is None else ["--core", str(options.core)]
    environment = process.environment_for_case(os.environ)
    try:
        return subprocess.run(command, env=environment, timeout=TIME_LIMIT_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        say(f"  stopped after {TIME_LIMIT_SECONDS} s")
        return False


def run_here(case: Case, options: argparse.Namespace) -> int:
    """Measure one case in this process, which was started for it."""
    if not process.is_prepared(os.environ):
        raise SystemExit("The environment has threads in it. Start cases without --in-this-process.")
    affinity = process.pin_to_core(options.core)
    try:
        body = case.measure(QUICK if options.quick else FULL, lambda what: say(f"  {what}"))
    except Exception:
        say(traceback.format_exc())
        return 1
    header = {
        **process.commit(),
        "machine": process.machine(),
        "software": process.software(),
        "affinity": affinity,
        "profile": build_profile(),
    }
    body["case"]["name"] = case.name
    new = record(header, body)
    path = options.out / f"{case.family}{'.local' if options.local else ''}.jsonl"
    factor = append(path, new)
    if factor > 1:
        say(f"  thinned: one call in {factor} is kept, so that the file stays small")
    if new["is_loud"]:
        say(f"  LOUD: {new['loud_share']:.0%} of all samples waited for the core; tables use processor time, no p99")
    return 0


def say(text: str) -> None:
    """Write a line of progress."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
