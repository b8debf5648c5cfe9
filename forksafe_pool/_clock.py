"""The pool's clock, and how much of a timeout is left.

Test suites freeze time: freezegun replaces every module's attribute that *is* one of ``time``'s
functions, time-machine (before 3.0) the C code of ``time.monotonic``. A frozen clock would have the
pool hand out what has died meanwhile, or refuse for years. So the pool's clock is the
``perf_counter`` of a second instance of the ``time`` module, which neither finds; it reads the same
clock of the system as ``monotonic`` does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.machinery import BuiltinImporter
from importlib.util import module_from_spec
from typing import Any


def _own_clock() -> Callable[[], float]:
    spec = BuiltinImporter.find_spec("time")
    if spec is None or spec.loader is None:  # a Python that has `time` in a file of its own
        return time.monotonic
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    clock: Callable[[], float] = module.perf_counter
    return clock


monotonic = _own_clock()

#: "The pool's own timeout": None already means "forever".
POOL_TIMEOUT: Any = object()


class Deadline:
    """The deadline of a call."""

    __slots__ = ("_ends_at", "seconds")

    def __init__(self, seconds: float | None) -> None:
        #: The full timeout. None: forever. 0: the caller does not wait.
        self.seconds = seconds
        self._ends_at = 0.0 if seconds is None else monotonic() + seconds

    def left(self) -> float | None:
        """Seconds; never more than the whole, whatever the clock does. None: no limit."""
        if self.seconds is None:
            return None
        return min(max(0.0, self._ends_at - monotonic()), self.seconds)

    def left_to_connect(self) -> float | None:
        """As `left`, but for callers that do not wait: theirs is no limit on what they do."""
        return None if self.seconds == 0 else self.left()

    def has_passed(self) -> bool:
        return self.left_to_connect() == 0
