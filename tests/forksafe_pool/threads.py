"""Threads for tests: every wait has a limit, and a hang is a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from forksafe_pool import Pool

T = TypeVar("T")

LIMIT = 20.0


class Caller(Generic[T]):
    """Calls ``function`` in a thread of its own, at once."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._returned: list[T] = []
        self._raised: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._returned.append(self._function())
        except BaseException as error:
            self._raised = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, limit: float = LIMIT) -> T:
        """What the function returned; raises what it raised."""
        self._thread.join(limit)
        assert not self.running, f"{self._function} hung for {limit} s"
        if self._raised is not None:
            raise self._raised
        return self._returned[0]


def eventually(condition: Callable[[], bool], limit: float = LIMIT) -> None:
    """Return when ``condition()`` holds."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit} s: {condition}"
        time.sleep(0.0005)


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
