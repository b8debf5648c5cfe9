"""What tests of C-level forks ask before they fork: whether another thread wants the GIL."""

from __future__ import annotations

import os
import threading

import pytest

from tests.forksafe_pool.threads import Caller, eventually
from tests.support.forks import LIMIT, others_stay_asleep

linux = pytest.mark.skipif(not os.path.exists("/proc/thread-self"), reason="not Linux: no /proc")


@linux
def test_a_thread_that_works_is_awake() -> None:
    working, stop = threading.Event(), threading.Event()

    def work() -> None:
        working.set()
        while not stop.is_set():
            pass

    caller = Caller(work)
    assert working.wait(LIMIT)
    try:
        assert not any(others_stay_asleep() for _ in range(20))
    finally:
        stop.set()
        caller.result(LIMIT)


def test_threads_that_wait_are_asleep() -> None:
    proceed = threading.Event()
    callers = [Caller(lambda: proceed.wait(LIMIT)) for _ in range(4)]
    try:
        eventually(others_stay_asleep, LIMIT)
    finally:
        proceed.set()
        for caller in callers:
            caller.result(LIMIT)
