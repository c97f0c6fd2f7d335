"""Clocks, rounds, and when not to believe them."""

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter_ns, process_time_ns
from typing import Any, TypeVar

__all__ = ["LOUD_RATIO", "LOUD_SHARE", "Samples", "interleaved", "loud_share", "quiet"]

#: A sample is loud if it took this much more by the wall than by the processor: something else had the core.
LOUD_RATIO = 1.05
#: A run is loud if more than this share of its samples is.
LOUD_SHARE = 0.1

T = TypeVar("T")


@dataclass
class Samples:
    """Times of one operation, of one arm.

    `wall_ns` has a time for every call. The processor's clock is a system call, so short calls share a reading: block i
    is `block_calls[i]` calls, which took `block_wall_ns[i]` by the wall and `cpu_ns[i]` by the processor together.
    """

    wall_ns: list[int] = field(default_factory=list)
    block_calls: list[int] = field(default_factory=list)
    block_wall_ns: list[int] = field(default_factory=list)
    cpu_ns: list[int] = field(default_factory=list)

    def time(self, call: Callable[[], Any]) -> Any:
        """Time one call of 50 µs or more, and return what it returned."""
        wall = perf_counter_ns()
        cpu = process_time_ns()
        result = call()  # kept until the clocks are read: freeing it is not what is timed
        cpu = process_time_ns() - cpu
        wall = perf_counter_ns() - wall
        self.wall_ns.append(wall)
        self._add_block(1, wall, cpu)
        return result

    def time_block(self, calls: Sequence[Callable[[], Any]]) -> None:
        """Time short calls, each by the wall and all together by the processor."""
        wall_ns = []
        block_wall = perf_counter_ns()
        cpu = process_time_ns()
        for call in calls:
            start = perf_counter_ns()
            call()
            wall_ns.append(perf_counter_ns() - start)
        cpu = process_time_ns() - cpu
        block_wall = perf_counter_ns() - block_wall
        self.wall_ns += wall_ns
        self._add_block(len(calls), block_wall, cpu)

    def _add_block(self, n_calls: int, wall: int, cpu: int) -> None:
        self.block_calls.append(n_calls)
        self.block_wall_ns.append(wall)
        self.cpu_ns.append(cpu)

    def to_dict(self) -> dict[str, list[int]]:
        """Return the raw samples; blocks of single calls are not written twice."""
        if all(n == 1 for n in self.block_calls):
            return {"wall_ns": self.wall_ns, "cpu_ns": self.cpu_ns}
        return {**vars(self)}


def loud_share(wall_ns: Sequence[int], cpu_ns: Sequence[int]) -> float:
    """Return the share of samples that took more than `LOUD_RATIO` times as long by the wall as by the processor."""
    loud = sum(wall > LOUD_RATIO * cpu for wall, cpu in zip(wall_ns, cpu_ns, strict=True))
    return loud / len(cpu_ns) if cpu_ns else 0.0


def interleaved(arms: Sequence[T], n_rounds: int) -> Iterator[tuple[int, T]]:
    """Yield (round, arm): A B, B A, A B, ... so that what drifts drifts for all arms alike."""
    for i in range(n_rounds):
        for arm in arms if i % 2 == 0 else reversed(arms):
            yield i, arm


@contextmanager
def quiet() -> Iterator[None]:
    """Collect garbage now, and not while something is timed."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
