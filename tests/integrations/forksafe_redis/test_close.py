"""The end of a worker: `forksafe_pool.close_pools` closes redis-py's pools too."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import close_pools
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.forks import in_child

LIMIT = 10.0
Fork = Callable[[], int]


class Closing:
    """A thread that closes the pool and waits for what is in use."""

    def __init__(self, pool: ConnectionPool, close: Callable[[], object] | None = None) -> None:
        self._found: list[object] = []
        close = close or (lambda: pool._pool.close(LIMIT))
        self._thread = threading.Thread(target=lambda: self._found.append(close()))
        self._thread.start()
        while not pool._pool._ledger.closers:
            assert self._thread.is_alive()

    def result(self) -> object:
        self._thread.join(LIMIT)
        return self._found.pop()


def test_what_is_in_use_is_waited_for_and_closed(pool: ConnectionPool, client: Any) -> None:
    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    closing = Closing(pool)
    assert (idle._sock, bool(used._sock)) == (None, True)
    pool.release(used)
    assert closing.result() is True
    assert used._sock is None
    assert pool.stats().total == 0


def test_at_the_end_of_a_worker(pool: ConnectionPool, client: Any) -> None:
    def child() -> bool:
        used = pool.get_connection()
        closing = Closing(pool, lambda: close_pools(LIMIT))
        pool.release(used)
        closing.result()
        return used._sock is None

    assert in_child(child)


def test_the_wait_has_an_end(pool: ConnectionPool) -> None:
    used = pool.get_connection()
    assert pool._pool.close(0) is False
    pool.release(used)
    assert pool.stats().available == 1  # no longer closed
    with pytest.raises(ValueError, match="timeout must be"):
        pool._pool.close(-1)


def test_it_may_be_used_meanwhile_and_afterwards(pool: ConnectionPool, client: Any) -> None:
    used = pool.get_connection()
    closing = Closing(pool)
    assert client.ping()
    assert pool.stats().total == 1
    pool.release(used)
    assert closing.result() is True
    assert client.ping()
    assert pool.stats().available == 1


def test_who_waits_for_a_connection_still_gets_one(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1, timeout=LIMIT)
    used = pool.get_connection()
    got: list[Any] = []

    def get() -> None:
        got.append(pool.get_connection())
        pool.release(got[0])

    waiter = threading.Thread(target=get)
    waiter.start()
    while not pool.stats().waiting:
        assert waiter.is_alive()
    closing = Closing(pool)
    pool.release(used)
    waiter.join(LIMIT)
    assert len(got) == 1
    assert closing.result() is True
    assert got[0]._sock is None


def test_two_close_it(pool: ConnectionPool) -> None:
    used = pool.get_connection()
    closing = Closing(pool)
    assert pool._pool.close(0) is False
    pool.release(used)
    assert closing.result() is True
    assert used._sock is None


def test_a_child_forked_meanwhile_is_not_closing(
    pool: ConnectionPool, client: Any, fork: Fork
) -> None:
    used = pool.get_connection()
    closing = Closing(pool)

    def child() -> int:
        client.ping()
        return pool.stats().available

    assert in_child(child, fork) == 1
    pool.release(used)
    assert closing.result() is True
