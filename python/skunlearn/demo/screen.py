"""What the demo prints: the same words with rich (the optional extra ``report``) and without."""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from textwrap import fill
from typing import Any, Protocol, TextIO

import numpy as np

from skunlearn.demo.measure import ROWS_OF_SUBJECT, Result

__all__ = ["PlainScreen", "RichScreen", "Screen", "make_screen"]

_WIDTH = 80
_NAME_WIDTH = 13
_INTRODUCTION = (
    "Each estimator learns a table, then forgets rows one by one and all rows of one person at once. What is left is "
    "compared, bit for bit, with models fitted afresh on the rows that remain."
)
_LEGEND = (
    "Wall time on this machine, one process, one thread. median, p99: one partial_forget call. ready: its median with "
    f"the work that it puts off until the next read. person: {ROWS_OF_SUBJECT} rows at once, made ready. Ratio: refit "
    "/ ready. Identical: state and predictions, to skunlearn.reference_fit and to a fresh fit on the rows left. A "
    "refit reads every row and a forget only its own, so ratios on small tables are small: compare the two tables."
)
_HEADER = ("Estimator", "Data", "Forget", "Refit", "Ratio", "Identical")
_RATIO, _IDENTICAL = 4, 5

#: A row of the table: a cell a column, of some lines each.
Cells = list[list[str]]


class Screen(Protocol):
    """Where the demo is shown."""

    def introduce(self) -> None:
        """Say what is being shown."""

    def progress(self, n_steps: int) -> AbstractContextManager[Callable[[str], None]]:
        """Follow the work; the function returned is told what was done, `n_steps` times."""

    def show(self, results: list[Result]) -> None:
        """Show the table and the verdict."""


def make_screen(out: TextIO) -> Screen:
    """Return a screen with rich where it is installed, without where it is not."""
    try:
        return RichScreen(out)
    except ImportError:
        return PlainScreen(out)


class PlainScreen:
    """Plain text, a line a stage of the work."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def introduce(self) -> None:
        """Say what is being shown."""
        self._print(fill(_INTRODUCTION, _WIDTH))
        self._print()

    @contextmanager
    def progress(self, n_steps: int) -> Iterator[Callable[[str], None]]:
        """Print a line for every model."""
        shown = ""

        def step(what: str) -> None:
            nonlocal shown
            model = what.partition(":")[0]
            if model != shown:
                self._print(f"running {model} ...")
                shown = model

        yield step
        self._print()

    def show(self, results: list[Result]) -> None:
        """Print the table and the verdict."""
        rows = [cells(result) for result in results]
        widths = [
            max(len(header), *(len(line) for row in rows for line in row[column]))
            for column, header in enumerate(_HEADER)
        ]
        self._print_lines([[header] for header in _HEADER], widths)
        self._print("-" * (sum(widths) + 2 * (len(widths) - 1)))
        for row in rows:
            self._print_lines(row, widths)
            self._print()
        self._print(fill(_LEGEND, _WIDTH))
        self._print()
        self._print(fill(verdict(results), _WIDTH))
        self._print('For colours and a progress bar: pip install "scikit-unlearn[report]"')

    def _print_lines(self, row: Cells, widths: list[int]) -> None:
        for line in range(max(map(len, row))):
            texts = [cell[line] if line < len(cell) else "" for cell in row]
            texts[_RATIO] = texts[_RATIO].rjust(widths[_RATIO])
            self._print("  ".join(t.ljust(w) for t, w in zip(texts, widths, strict=True)).rstrip())

    def _print(self, text: str = "") -> None:
        encoding = getattr(self._out, "encoding", None) or "utf-8"
        self._out.write(text.replace("µs", "us").encode(encoding, "replace").decode(encoding) + "\n")
        self._out.flush()


class RichScreen:
    """Colours and a progress bar.

    Raises
    ------
    ImportError
        If rich is not installed.
    """

    def __init__(self, out: TextIO) -> None:
        from rich.console import Console

        self._console: Any = Console(file=out, highlight=False)
        self._console.width = _WIDTH if not self._console.is_terminal else min(self._console.width, _WIDTH)

    def introduce(self) -> None:
        """Say what is being shown."""
        self._console.print(_INTRODUCTION)
        self._console.print()

    @contextmanager
    def progress(self, n_steps: int) -> Iterator[Callable[[str], None]]:
        """Show a bar while it runs. It is drawn between measurements, never by a thread beside them."""
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (BarColumn(20), TaskProgressColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=self._console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task("starting", total=n_steps)

            def step(what: str) -> None:
                bar.update(task, advance=1, description=what, refresh=True)

            yield step

    def show(self, results: list[Result]) -> None:
        """Show the table and the verdict."""
        from rich import box
        from rich.table import Table

        # Padded by hand: rich's own padding would make the table wider than 80 columns.
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
        for header in _HEADER:
            table.add_column(header, no_wrap=True, justify="right" if header == "Ratio" else "left")
        for result in results:
            if result is not results[0]:
                table.add_row()
            table.add_row(*_styled(cells(result), result.is_identical))
        self._console.print(table)
        self._console.print()
        self._console.print(_LEGEND, style="dim")
        self._console.print()
        is_good = all(result.is_identical for result in results)
        self._console.print(verdict(results), style="bold green" if is_good else "bold red")


def _styled(row: Cells, is_identical: bool) -> list[str]:
    """Return the cells as rich markup: what matters stands out."""
    *name, guarantee = row[0]
    texts = ["\n".join(cell) for cell in ([*(f"[bold]{line}[/]" for line in name), guarantee], *row[1:])]
    texts[_RATIO] = f"[cyan]{texts[_RATIO]}[/]"
    texts[_IDENTICAL] = f"[{'green' if is_identical else 'bold red'}]{texts[_IDENTICAL]}[/]"
    return texts


def cells(result: Result) -> Cells:
    """Return the row of the table that stands for `result`."""
    ready = median(result.ready_ns)
    refits = {"sklearn": result.sklearn_refit_ns, "ours": result.our_refit_ns}
    forgets = {
        "median": median(result.forget_ns),
        "p99": float(np.quantile(result.forget_ns, 0.99)),
        "ready": ready,
        "person": float(result.subject_ns),
    }
    return [
        [*_name_lines(result.estimator), result.guarantee],
        [result.data, f"{result.n_rows:,} x {result.n_features:,}", f"{result.n_forgotten:,} gone"],
        [f"{name:<6} {duration(ns):>7}" for name, ns in forgets.items()],
        [f"{name:<7} {duration(ns):>7}" for name, ns in refits.items()],
        [ratio(ns / ready) for ns in refits.values()],
        ["yes" if result.is_identical else "NO"],
    ]


def _name_lines(name: str) -> list[str]:
    """Break the name of a class before capitals, where it is too long for its column."""
    lines = [""]
    for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name):
        if lines[-1] and len(lines[-1]) + len(word) > _NAME_WIDTH:
            lines.append("")
        lines[-1] += word
    return lines


def verdict(results: list[Result]) -> str:
    """Say in words whether all models equal their refits, and name those that do not."""
    wrong = [result for result in results if not result.is_identical]
    if not wrong:
        return f"All {len(results)} models are, bit for bit, models that never saw the rows they forgot."
    named = "; ".join(f"{r.estimator} on {r.data} differs from {' and '.join(r.differs_from)}" for r in wrong)
    return f"{len(wrong)} of {len(results)} models are NOT what they must be: {named}. Please report this as a bug."


def duration(ns: float) -> str:
    """Return a time to three digits in a unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= 0.9995 * size:
            return f"{_three_digits(ns / size)} {unit}"
    return f"{ns:.0f} ns"


def ratio(value: float) -> str:
    """Return how many times, without digits that would mean nothing."""
    return f"{value:,.0f}x" if value >= 10 else f"{value:.1f}x"


def _three_digits(value: float) -> str:
    return f"{value:.0f}" if value >= 99.95 else f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"
