"""Interruptions and threads: whatever happens in between, a model is that of the rows before or of the rows after."""

import contextlib
import copy
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from skunlearn._faults import FAULT_POINTS, inject
from skunlearn.digest import state_digest
from skunlearn.utils.estimator_checks._models import (
    answer,
    assert_equals_refit,
    assert_same,
    beside,
    fit,
    forget,
    fresh,
    learn,
    observe,
    quiet,
)
from skunlearn.utils.estimator_checks._tables import Table, ordinary_table

__all__ = ["Fault", "check_commit", "check_threads", "is_committed", "raise_at"]

_COMMITTED = {
    "forget": frozenset({"forget.erased", "forget.forgotten"}),
    "learn": frozenset({"learn.inserted", "learn.learned"}),
    "fit": frozenset[str](),  # a fit replaces the model as a whole, or not at all
}


class Fault(BaseException):
    """What is injected: no Exception, like the Ctrl-C or the panic that it stands for."""


def is_committed(operation: str, point: str) -> bool:
    """Return whether an operation ("fit", "learn" or "forget") that is interrupted at a fault point has happened."""
    return point in _COMMITTED[operation]


def raise_at(point: str, error: type[BaseException] = Fault) -> Callable[[str], None]:
    """Return a handler for `skunlearn._faults.inject` that raises at one point."""

    def handler(name: str) -> None:
        if name == point:
            raise error("an injected fault")

    return handler


def check_commit(estimator: Any) -> None:
    """An operation that is interrupted anywhere has happened or has not: before the commit nothing changed, after it
    the model is that of the rows after. No error, be it Ctrl-C, brings a row back or leaves a model in between.
    """
    table = ordinary_table(estimator)
    staying, moving = np.arange(16), np.arange(16, len(table))
    reached = set()
    errors = itertools.cycle((Fault, RuntimeError, KeyboardInterrupt))
    for point, operation in itertools.product(FAULT_POINTS, ("fit", "learn", "forget")):
        live = table if operation == "forget" else table.rows(staying)
        after = table if operation == "learn" else table.rows(staying)
        model = fit(estimator, live)
        if _is_interrupted(_operation(model, operation, table, moving), point, next(errors)):
            reached.add(point)
            expected = after if is_committed(operation, point) else live
            _check_interrupted(model, estimator, expected, table, f"{operation} interrupted at {point}")
    unreached = {point for point in FAULT_POINTS if not point.startswith(("flush.", "settle."))} - reached
    assert not unreached, f"These fault points were never passed: {', '.join(sorted(unreached))}."
    _check_first_fit(estimator, table)
    _check_core_callbacks(estimator, table, moving)


def _operation(model: Any, operation: str, table: Table, moving: np.ndarray) -> Callable[[], Any]:
    if operation == "forget":
        return lambda: forget(model, table.ids(moving))
    if operation == "learn":
        return lambda: learn(model, table.rows(moving))
    target = () if table.y is None else (table.y,)
    return lambda: model.fit(table.X, *target, **beside(table))


def _is_interrupted(run: Callable[[], Any], point: str, error: type[BaseException]) -> bool:
    try:
        with inject(raise_at(point, error)):
            run()
    except error:
        return True
    return False


def _check_interrupted(model: Any, estimator: Any, expected: Table, table: Table, where: str) -> None:
    """Compare with a fit on the rows that the model must hold, also when the repair is interrupted in its turn."""
    for point in ("flush.stale", "flush.rebuilt", "settle.stale", "settle.settled"):
        _is_interrupted(model.flush, point, Fault)
        assert model.n_live_ == len(expected), f"{where}: it holds the rows of neither before nor after."
    assert_equals_refit(model, estimator, expected, table.X, where)
    at = np.arange(3)
    forget(model, expected.ids(at))
    assert_equals_refit(model, estimator, expected.without(at), table.X, f"{where}, then used as ever")
    learn(model, expected.rows(at))
    assert_equals_refit(model, estimator, expected, table.X, f"{where}, then used as ever")


def _check_first_fit(estimator: Any, table: Table) -> None:
    """A first fit that is interrupted leaves an unfitted estimator with nothing but its parameters."""
    target = () if table.y is None else (table.y,)
    for point in FAULT_POINTS:
        model = fresh(estimator)
        before = dict(vars(model))

        def first_fit(model: Any = model) -> Any:
            return model.fit(table.X, *target)

        if _is_interrupted(first_fit, point, Fault):
            assert vars(model) == before, f"A first fit interrupted at {point} left something behind."


class _FailingCore:
    """A core, one method of which raises at its first call, before or after it did its work."""

    def __init__(self, core: Any, method: str, *, after: bool) -> None:
        self._core, self._method, self._after, self._armed = core, method, after, True

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._core, name)
        if name != self._method or not self._armed:
            return value

        def failing(*args: Any, **kwargs: Any) -> Any:
            self._armed = False
            if self._after:
                value(*args, **kwargs)
            raise Fault("an injected fault")

        return failing


def _check_core_callbacks(estimator: Any, table: Table, moving: np.ndarray) -> None:
    """The core may fail in every callback, at the beginning or at the end of its work."""
    kept = table.without(moving)
    for operation, method, committed in (
        ("forget", "warn_before_forget", False),
        ("forget", "_forget", True),
        ("learn", "_learn", True),
    ):
        for after in (False, True):
            start, end = (table, kept) if operation == "forget" else (kept, table)
            model = fit(estimator, start)
            model._live.core = _FailingCore(model._live.core, method, after=after)
            where = f"{operation} with a core that fails in {method}"
            try:
                _operation(model, operation, table, moving)()
            except Fault:
                pass
            else:
                raise AssertionError(f"{where}: the error was swallowed, or the core was not asked.")
            assert_equals_refit(model, estimator, end if committed else start, table.X, where)
    for method in ("_rebuild", "publish"):
        model = fit(estimator, table)
        _is_interrupted(lambda model=model: forget(model, table.ids(moving)), "forget.erased", Fault)  # type: ignore[misc]
        model._live.core = _FailingCore(model._live.core, method, after=True)
        with contextlib.suppress(Fault):
            observe(model, table.X)
        assert_equals_refit(model, estimator, kept, table.X, f"a core that fails in {method}")


def check_threads(estimator: Any) -> None:
    """Threads do not show: not those of `n_jobs` or BLAS in a result, nor those of the caller, who may forget disjoint
    rows from several while others read; a reader sees one version, never half of one.
    """
    table = ordinary_table(estimator, n=60)
    base = fit(estimator, table)
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            assert_same(fit(estimator, table), base, table.X, f"Fitted with {n_threads} BLAS threads")
    if "n_jobs" in base.get_params(deep=False):
        for n_jobs in (1, 2, 3):
            model = fit(fresh(estimator).set_params(n_jobs=n_jobs), table)
            assert_same(model, base, table.X, f"Fitted with n_jobs={n_jobs}")
            forget(model, table.ids(np.arange(7)))
            want = forget(copy.deepcopy(base), table.ids(np.arange(7)))
            assert_same(model, want, table.X, f"Forgotten with n_jobs={n_jobs}")
    for _ in range(3):
        _check_callers_threads(estimator, table)


def _check_callers_threads(estimator: Any, table: Table) -> None:
    model = fit(estimator, table)
    n_threads, n_going = 3, 42
    start = threading.Barrier(n_threads + 1)
    failures: list[BaseException] = []

    def forget_share(share: int) -> None:
        try:
            start.wait()
            for i in range(share, n_going, n_threads):
                model.partial_forget(table.ids([i]))
        except BaseException as error:
            failures.append(error)

    def read() -> None:
        try:
            start.wait()
            while any(worker.is_alive() for worker in workers):
                state_digest(model)
                answer(model, table.X[:1])
        except ValueError as error:  # an answer may be refused, as in one thread; anything else is a torn state
            if not type(error).__module__.startswith("skunlearn"):
                failures.append(error)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=forget_share, args=(share,)) for share in range(n_threads)]
    reader = threading.Thread(target=read)
    with quiet():
        for thread in (*workers, reader):
            thread.start()
        for thread in (*workers, reader):
            thread.join()
    assert not failures, f"A thread failed with a {type(failures[0]).__name__} beside others."
    assert_equals_refit(model, estimator, table.rows(np.arange(n_going, len(table))), table.X, "Several threads forgot")
