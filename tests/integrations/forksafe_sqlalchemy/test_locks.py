"""A lock that another thread holds at the moment of the fork stays held in the child for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event

from forksafe_sqlalchemy import QueuePool
from tests.support.locks import held_elsewhere
from tests.support.quiet import LIMIT, in_quiet_child


def answer(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.exec_driver_sql("SELECT 42").scalar_one())


@pytest.mark.parametrize("used", [True, False])
def test_the_pool_s_lock(sqlite: Engine, fork: Callable[[], int], used: bool) -> None:
    if used:
        assert answer(sqlite) == 42
    assert isinstance(sqlite.pool, QueuePool)

    def child() -> int:
        result = answer(sqlite)
        sqlite.pool.status()
        sqlite.dispose()
        return result + answer(sqlite)

    with held_elsewhere(sqlite.pool._first_connects.get().lock):
        assert in_quiet_child(child, fork) == 84


class Pause:
    """Does not return, the first time, before it is told to."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.calls = 0
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            self.under_way.set()
            assert self.proceed.wait(LIMIT)
        return self._function(*args)


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after dispose"])
def test_the_first_connection_is_being_made(
    sqlite: Engine, fork: Callable[[], int], again: bool
) -> None:
    """SQLAlchemy initializes the dialect under a lock, and marks it as done when it begins."""
    initialize = Pause(sqlite.dialect.initialize)
    sqlite.dialect.initialize = initialize  # type: ignore[assignment, method-assign]
    once: list[object] = []
    event.listen(sqlite, "connect", lambda *_: once.append(_), once=True)

    thread = threading.Thread(target=answer, args=(sqlite,))
    thread.start()
    assert initialize.under_way.wait(LIMIT)

    def child() -> tuple[int, int]:
        if again:
            sqlite.dispose()
        assert answer(sqlite) == 42
        sqlite.dispose()
        return answer(sqlite), initialize.calls

    try:
        assert in_quiet_child(child, fork) == (42, 2)
    finally:
        initialize.proceed.set()
        thread.join(LIMIT)
    assert answer(sqlite) == 42
    assert initialize.calls == len(once) == 1


def test_a_listener_of_first_connect_is_at_work(sqlite: Engine, fork: Callable[[], int]) -> None:
    listener = Pause(lambda *_: None)
    event.listen(sqlite.pool, "first_connect", lambda *args: listener(*args))
    thread = threading.Thread(target=answer, args=(sqlite,))
    thread.start()
    assert listener.under_way.wait(LIMIT)

    try:
        assert in_quiet_child(lambda: (answer(sqlite), listener.calls), fork) == (42, 2)
    finally:
        listener.proceed.set()
        thread.join(LIMIT)
    assert answer(sqlite) == 42
    assert listener.calls == 1
