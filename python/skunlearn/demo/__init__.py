"""The demo, ``python -m skunlearn``: models forget rows, and are compared with models that never saw them.

`exhibits` lists what is shown (one entry an estimator), `measure` fits, forgets, refits and compares, `screen` prints.
"""

import sys

from _unlearn_native._native import build_profile

from skunlearn.demo.exhibits import EXHIBITS, Exhibit
from skunlearn.demo.measure import Result, measure, n_steps
from skunlearn.demo.screen import Screen, make_screen

__all__ = ["EXHIBITS", "Exhibit", "Result", "main", "run"]

_ALL_EQUAL, _SOME_DIFFER, _REFUSED = 0, 1, 2


def main() -> int:
    """Run the demo on the terminal and return its exit code."""
    if build_profile() != "release":
        sys.stderr.write(
            "The native half is a dev build: its checks make every time meaningless, so the demo does not start. Run "
            "`make demo`, which builds the release profile first.\n"
        )
        return _REFUSED
    return run(EXHIBITS, make_screen(sys.stdout))


def run(exhibits: tuple[Exhibit, ...], screen: Screen) -> int:
    """Show `exhibits` on `screen`; return 0 if every model equals its refits, bit for bit, and 1 if one does not."""
    screen.introduce()
    with screen.progress(sum(map(n_steps, exhibits))) as step:
        results = [measure(exhibit, step) for exhibit in exhibits]
    screen.show(results)
    return _ALL_EQUAL if all(result.is_identical for result in results) else _SOME_DIFFER
