"""Threads for tests: every wait has a limit, and a hang is a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

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
