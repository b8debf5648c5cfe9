"""What the pool's tests put in place of a driver, of time, and of a thread's wait."""

from __future__ import annotations

import ctypes
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool._ledger import Waiter
from tests.forksafe_pool.threads import LIMIT


class FakeConnection:
    """Knows whether it was closed. It has no descriptor, so the pool's own check calls it alive."""

    def __init__(self, number: int) -> None:
        self.number = number
        #: What a ``check`` of a test may go by.
        self.alive = True
        self.times_closed = 0

    @property
    def closed(self) -> bool:
        return self.times_closed > 0

    def close(self) -> None:
        self.times_closed += 1

    def __repr__(self) -> str:
        return f"<connection {self.number}>"


class Connections:
    """A ``connect`` that remembers what it made, and raises what `errors` holds first."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []
        self.errors: deque[BaseException] = deque()

    def __call__(self) -> FakeConnection:
        if self.errors:
            raise self.errors.popleft()
        conn = FakeConnection(len(self.made))
        self.made.append(conn)
        return conn

    @property
    def open(self) -> list[FakeConnection]:
        return [conn for conn in self.made if not conn.closed]


class Clock:
    """Stands in for the pool's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        for module in ("_clock", "_pool", "_lease", "_upkeep"):
            monkeypatch.setattr(f"forksafe_pool.{module}.monotonic", self)

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Forbidden:
    """A lock that nobody may touch."""

    def acquire(self, *_: Any, **__: Any) -> bool:
        raise AssertionError("the lock was acquired")

    def release(self) -> None:
        raise AssertionError("the lock was released")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


def use(pool: Pool[Any]) -> None:
    pool.release(pool.acquire())


def forbid_lock(pool: Pool[Any]) -> None:
    pool._ledger.notes["severing"] = Forbidden()


def pretend_fork(pool: Pool[Any]) -> None:
    """From here on ``pool`` is what a child finds; other pools notice nothing."""
    pool._ledger.alive = ctypes.c_bool(False)


class HandedThen:
    """A waiter's lock: once the waiter has been handed a place, the wait ends by ``then()``."""

    def __init__(self, lock: Any, then: Callable[[], bool]) -> None:
        self._lock = lock
        self._then = then

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        assert self._lock.acquire(timeout=LIMIT), "the waiter was handed nothing"
        return self._then()

    def release(self) -> None:
        self._lock.release()

    def locked(self) -> bool:
        return bool(self._lock.locked())


def change_next_waiter(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Waiter[Any]], None]
) -> None:
    """``change`` the next waiter when it is made; those that follow are ordinary waiters."""
    make = Waiter.__init__

    def make_and_change(waiter: Waiter[Any]) -> None:
        monkeypatch.setattr(Waiter, "__init__", make)
        make(waiter)
        change(waiter)

    monkeypatch.setattr(Waiter, "__init__", make_and_change)


def end_first_wait_by(monkeypatch: pytest.MonkeyPatch, then: Callable[[], bool]) -> None:
    """The next waiter's wait ends by ``then()``, once it has been handed a place."""

    def change(waiter: Waiter[Any]) -> None:
        waiter.ready = HandedThen(waiter.ready, then)  # type: ignore[assignment]

    change_next_waiter(monkeypatch, change)


def interrupted() -> bool:
    raise KeyboardInterrupt
