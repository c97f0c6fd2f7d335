"""Named points between the steps of an operation, where a test can make it fail.

A model must survive an error at every one of them: before the commit unchanged, after it rolled forward.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["FAULT_POINTS", "fault_point", "inject"]

FAULT_POINTS = (
    "fit.validated",
    "fit.built",
    "learn.validated",
    "learn.stale",
    "learn.inserted",  # the commit has happened
    "learn.learned",
    "forget.validated",
    "forget.stale",
    "forget.erased",  # the commit has happened
    "forget.forgotten",
    "flush.stale",
    "flush.rebuilt",
    "settle.stale",
    "settle.settled",
)

_handler: Callable[[str], None] | None = None


def fault_point(name: str) -> None:
    """Do nothing, unless a test asked for a fault here."""
    if _handler is not None:
        _handler(name)


@contextmanager
def inject(handler: Callable[[str], None]) -> Iterator[None]:
    """Call `handler` with the name of every fault point that is passed; for tests, in one thread."""
    global _handler
    _handler = handler
    try:
        yield
    finally:
        _handler = None
