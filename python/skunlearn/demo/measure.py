"""Fit, forget, refit, compare: what one line of the demo stands on."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skunlearn.demo.exhibits import Exhibit
from skunlearn.digest import reference_fit, state_digest

__all__ = ["ROWS_OF_SUBJECT", "Result", "measure", "n_steps"]

#: The bundled tables name no persons, so the demo gives every 40 consecutive rows to one.
ROWS_OF_SUBJECT = 40
#: The progress bar moves this often while rows go one by one, and never inside a measurement.
_N_BLOCKS = 20

Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What was measured of one exhibit; times in nanoseconds of wall time.

    Parameters
    ----------
    estimator, data, guarantee : str
        Names, and the kind of guarantee.
    n_rows, n_features, n_forgotten : int
        Size of the table, and how many of its rows went.
    forget_ns : list of int
        Every `partial_forget` of one row.
    ready_ns : list of int
        The same with the work that it put off until the next read.
    subject_ns : int
        `partial_forget` of one subject, with the work put off.
    sklearn_refit_ns, our_refit_ns : float
        Median time of a fit on the rows that are left.
    differs_from : tuple of str
        The refits that the model does not equal: none, if all is well.
    """

    estimator: str
    data: str
    guarantee: str
    n_rows: int
    n_features: int
    n_forgotten: int
    forget_ns: list[int]
    ready_ns: list[int]
    subject_ns: int
    sklearn_refit_ns: float
    our_refit_ns: float
    differs_from: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether the model equals every refit, bit for bit."""
        return not self.differs_from


def n_steps(exhibit: Exhibit) -> int:
    """Return how often `measure` calls its `step`."""
    return 1 + _N_BLOCKS + 1 + exhibit.n_refits + 1


def measure(exhibit: Exhibit, step: Step) -> Result:
    """Run one exhibit on one thread; `step` is told what has just been done."""
    with threadpool_limits(limits=1):
        return _measure(exhibit, step)


def _measure(exhibit: Exhibit, step: Step) -> Result:
    X, y = exhibit.load()
    sample_ids = np.array([f"row-{i}" for i in range(len(X))])
    subject_ids = np.array([f"person-{i // ROWS_OF_SUBJECT}" for i in range(len(X))])
    model: Any = clone(exhibit.model).fit(X, y, sample_ids=sample_ids, subject_ids=subject_ids)
    label = f"{type(model).__name__} on {exhibit.data}"
    step(f"{label}: fitted {len(X):,} rows")

    one_by_one, subject = _choose(subject_ids, exhibit.n_single)
    forget_ns, ready_ns = _forget_one_by_one(model, sample_ids[one_by_one].tolist(), label, step)
    start = perf_counter_ns()
    model.partial_forget(subject_ids=[subject])
    model._published()
    subject_ns = perf_counter_ns() - start
    step(f"{label}: forgot a person")

    left = subject_ids != subject
    left[one_by_one] = False
    sklearn_refit_ns, our_refit_ns, refitted = _refit(
        model, (X[left], y[left]), (sample_ids[left], subject_ids[left]), exhibit.n_refits, label, step
    )
    differs_from = _differences(model, refitted, X)
    step(f"{label}: compared")
    return Result(
        estimator=type(model).__name__,
        data=exhibit.data,
        guarantee=model.guarantee_.kind,
        n_rows=X.shape[0],
        n_features=X.shape[1],
        n_forgotten=int(np.count_nonzero(~left)),
        forget_ns=forget_ns,
        ready_ns=ready_ns,
        subject_ns=subject_ns,
        sklearn_refit_ns=sklearn_refit_ns,
        our_refit_ns=our_refit_ns,
        differs_from=differs_from,
    )


def _choose(subject_ids: np.ndarray, n_single: int | None) -> tuple[np.ndarray, str]:
    """Choose rows to forget one by one, at random, and a subject to forget afterwards, who still has all rows."""
    subject = str(subject_ids[0])
    others = np.flatnonzero(subject_ids != subject)
    n_single = len(subject_ids) // 10 if n_single is None else n_single
    return np.random.default_rng(0).permutation(others)[:n_single], subject


def _forget_one_by_one(model: Any, ids: list[str], label: str, step: Step) -> tuple[list[int], list[int]]:
    forget_ns, ready_ns = [], []
    n_done = 0
    for block in np.array_split(np.array(ids), _N_BLOCKS):
        for sample_id in block.tolist():
            start = perf_counter_ns()
            model.partial_forget([sample_id])
            forgotten = perf_counter_ns()
            model._published()
            ready = perf_counter_ns()
            forget_ns.append(forgotten - start)
            ready_ns.append(ready - start)
        n_done += len(block)
        step(f"{label}: forgot {n_done:,} of {len(ids):,} rows one by one")
    return forget_ns, ready_ns


def _refit(
    model: Any, rows: tuple[Any, Any], ids: tuple[Any, Any], n_refits: int, label: str, step: Step
) -> tuple[float, float, Any]:
    """Fit scikit-learn's estimator and ours on the rows that are left, in turns; return median times and our last."""
    # Around a foreign estimator, what one would refit otherwise is that estimator, on all rows.
    theirs, ours = clone(getattr(model, "estimator", None) or model.release()), clone(model)
    sklearn_ns, our_ns = [], []
    for i in range(n_refits):
        start = perf_counter_ns()
        theirs.fit(*rows)
        middle = perf_counter_ns()
        ours.fit(*rows, sample_ids=ids[0], subject_ids=ids[1])
        ours._published()
        end = perf_counter_ns()
        sklearn_ns.append(middle - start)
        our_ns.append(end - middle)
        step(f"{label}: refitted {i + 1} of {n_refits} times")
    return median(sklearn_ns), median(our_ns), ours


def _differences(model: Any, refitted: Any, X: np.ndarray) -> tuple[str, ...]:
    """Name the refits that differ from the model, in state or in what they predict for any row, forgotten or not."""
    references = {"skunlearn.reference_fit": reference_fit(model), "a fresh fit on the rows left": refitted}
    return tuple(
        name
        for name, reference in references.items()
        if state_digest(model) != state_digest(reference) or _predictions(model, X) != _predictions(reference, X)
    )


def _predictions(model: Any, X: np.ndarray) -> bytes:
    name = next((name for name in ("predict_proba", "predict", "transform") if hasattr(model, name)), None)
    answer = model.labels_ if name is None else getattr(model, name)(X)
    parts = (answer.indptr, answer.indices, answer.data) if sp.issparse(answer) else (answer,)
    return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
