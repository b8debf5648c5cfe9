"""Threads for tests: every wait has a limit, and a hang is a failure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from forksafe_pool import Pool
from forksafe_pool.conformance.threads import LIMIT, Caller, eventually

__all__ = ["LIMIT", "Caller", "eventually", "together", "wait_in_line"]

T = TypeVar("T")


def wait_in_line(pool: Pool[Any], function: Callable[[], T]) -> Caller[T]:
    """Call ``function`` in a thread; return when it has joined the queue of ``pool``."""
    waiting = pool.stats().waiting
    caller = Caller(function)
    eventually(lambda: pool.stats().waiting > waiting)
    return caller


def together(count: int, function: Callable[[int], T]) -> list[T]:
    """Call ``function(0)`` … ``function(count - 1)``, each in its thread, all at one moment."""
    barrier = threading.Barrier(count)

    def call(number: int) -> T:
        barrier.wait(LIMIT)
        return function(number)

    callers = [Caller(lambda number=number: call(number)) for number in range(count)]  # type: ignore[misc]
    return [caller.result(3 * LIMIT) for caller in callers]
