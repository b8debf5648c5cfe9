"""The timeout of acquire bounds the whole of it, where connect can be told."""

from __future__ import annotations

import functools
import socket
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, PoolTimeout, _options
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection
from tests.forksafe_pool.threads import LIMIT, wait_in_line


class Told:
    """A ``connect`` that remembers how long it was given."""

    def __init__(self) -> None:
        self.timeouts: list[float | None] = []

    def __call__(self, timeout: float | None) -> FakeConnection:
        self.timeouts.append(timeout)
        return FakeConnection(len(self.timeouts))


def test_connect_is_told_what_the_caller_has(clock: Clock) -> None:
    told = Told()
    pool = Pool(told, timeout=20)
    for timeout in (5, 0, None):
        pool.acquire(timeout)
    pool.acquire()
    with pool.connection(timeout=3):
        pass
    assert told.timeouts == [5, None, None, 20, 3]


def test_what_was_spent_in_line_is_gone(clock: Clock) -> None:
    told = Told()
    pool = Pool(told, max_size=1, timeout=LIMIT)
    held = pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    clock.advance(LIMIT - 2)
    pool.discard(held)
    waiter.result()
    assert told.timeouts == [LIMIT, pytest.approx(2)]


def test_who_has_nothing_left_does_not_connect(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    held = pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    clock.advance(LIMIT)
    pool.discard(held)
    with pytest.raises(PoolTimeout, match=rf"within {LIMIT:g} s"):
        waiter.result()
    assert len(connections.made) == 1
    assert (pool.stats().total, pool.stats().timeouts) == (0, 1)


def test_a_wait_after_failures_counts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    pool = Pool(told)
    pool._ledger.failures, pool._ledger.tried_at = 8, clock.now
    monkeypatch.setattr("forksafe_pool._upkeep._chance", lambda: 0.5)
    monkeypatch.setattr("time.sleep", clock.advance)
    pool.acquire(timeout=2)
    assert told.timeouts == [pytest.approx(1.75)]
    pool._ledger.failures, pool._ledger.tried_at = 8, clock.now
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0.25)


def keyword_only(*, timeout: float | None) -> Any:
    return FakeConnection(timeout)  # type: ignore[arg-type]


def with_none(timeout: float | None = None) -> Any:
    return FakeConnection(timeout)  # type: ignore[arg-type]


def with_seconds(timeout: float = 3.0) -> Any:
    return FakeConnection(timeout)  # type: ignore[arg-type]


def with_a_mark(timeout: object = "default") -> Any:
    return FakeConnection(timeout)  # type: ignore[arg-type]


def with_an_address(address: str, timeout: float) -> Any:
    return FakeConnection(timeout)  # type: ignore[arg-type]


class Bound:
    def connect(self, timeout: float | None = None) -> Any:
        return FakeConnection(timeout)  # type: ignore[arg-type]


class Constructed(FakeConnection):
    def __init__(self, timeout: float | None = None) -> None:
        super().__init__(timeout)  # type: ignore[arg-type]


@functools.wraps(keyword_only)
def decorated(*args: Any, **kwargs: Any) -> Any:
    return keyword_only(*args, **kwargs)


@functools.wraps(with_none)
def narrowly_decorated() -> Any:
    return with_none()


@pytest.mark.parametrize(
    ("connect", "with_5", "without"),
    [
        (keyword_only, 5, None),
        (with_none, 5, None),
        (with_seconds, 3, 3),
        (functools.partial(with_an_address, "db"), 5, None),
        (functools.partial(with_an_address, "db", timeout=7.0), 7, 7),
        (Bound().connect, 5, None),
        (decorated, 5, None),
        # A value of its own, a constructor's or a library's, is not the pool's to set.
        (with_a_mark, "default", "default"),
        (Constructed, None, None),
        (narrowly_decorated, None, None),
    ],
)
def test_which_connect_is_told(
    clock: Clock, connect: Callable[..., FakeConnection], with_5: object, without: object
) -> None:
    pool = Pool(connect)
    assert pool.acquire(timeout=5).number == with_5
    assert pool.acquire(timeout=None).number == without


def test_a_shorter_timeout_of_the_caller_replaces_a_default(clock: Clock) -> None:
    assert Pool(with_seconds).acquire(timeout=2).number == 2


@pytest.mark.parametrize(
    "connect",
    [functools.partial(socket.create_connection, ("127.0.0.1", 1)), sqlite3.connect],
)
def test_what_libraries_call_timeout_is_left_alone(connect: Any) -> None:
    """They keep it for as long as the connection lives."""
    assert _options.takes_timeout(connect) is None


def test_a_connect_that_needs_more_than_a_timeout_is_told() -> None:
    def connect(host: str, timeout: float) -> FakeConnection:
        raise AssertionError

    with pytest.raises(TypeError, match=r"^connect is called as"):
        Pool(connect)


def test_who_was_impatient_says_nothing_of_the_server(clock: Clock) -> None:
    def connect(timeout: float | None) -> FakeConnection:
        raise TimeoutError(timeout)

    pool = Pool(connect)
    for _ in range(5):
        with pytest.raises(TimeoutError, match=r"^0\.0"):
            pool.acquire(timeout=0.05)
    assert (pool.stats().connect_errors, pool._ledger.failures) == (5, 0)
    with pytest.raises(TimeoutError, match="5"):
        pool.acquire(timeout=5)
    assert pool._ledger.failures == 1


def test_a_server_that_accepts_and_says_nothing() -> None:
    """It costs its caller no more than the timeout, and not the driver's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def connect(timeout: float | None) -> socket.socket:
            sock = socket.create_connection(silent.getsockname(), timeout)
            try:
                assert sock.recv(1) == b"+"  # its greeting
            except BaseException:
                sock.close()
                raise
            return sock

        pool = Pool(connect)
        with pytest.raises(TimeoutError):
            pool.acquire(timeout=0.05)
