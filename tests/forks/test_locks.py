"""A lock that another thread holds at the moment of the fork stays held in the child for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.forks import in_child

LIMIT = 10.0


@contextmanager
def held_elsewhere(lock: Any) -> Iterator[None]:
    """Another thread holds ``lock`` for the length of the block."""
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(LIMIT)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(LIMIT)
    try:
        yield
    finally:
        release.set()
        thread.join(LIMIT)
    assert not thread.is_alive()


def test_the_ledger_s_lock(fork: Callable[[], int]) -> None:
    pool: Pool[object] = Pool(object, max_size=1, fileno=lambda conn: -1)
    in_use = pool.acquire()

    def child() -> int:
        conn = pool.acquire(timeout=5)  # growing takes the lock
        pool.release(in_use)
        pool.release(conn)
        pool.close()
        return pool.stats().foreign_releases

    with held_elsewhere(pool._ledger.lock):
        assert in_child(child, fork, LIMIT) == 1
    pool.release(in_use)


@pytest.mark.parametrize("kind", [ConnectionPool, BlockingConnectionPool])
def test_the_redis_pool_s_lock(
    fork: Callable[[], int], redis_url: str, kind: type[ConnectionPool]
) -> None:
    pool = kind.from_url(redis_url)
    client = Redis(connection_pool=pool)
    mine = client.client_id()

    def child() -> int:
        theirs = int(client.client_id())
        pool.disconnect()
        pool.reset()
        return theirs

    with held_elsewhere(pool._lock):
        assert in_child(child, fork, LIMIT) != mine
    assert client.client_id() == mine
    pool.disconnect()


def test_a_redis_pool_that_never_connected(fork: Callable[[], int], redis_url: str) -> None:
    """redis-py hangs here too (measured with 5.3.1 to 8.1.0)."""
    pool = ConnectionPool.from_url(redis_url)
    with held_elsewhere(pool._lock), held_elsewhere(pool._pool._ledger.lock):
        assert in_child(Redis(connection_pool=pool).ping, fork, LIMIT) is True


def test_the_event_dispatcher_s_lock(fork: Callable[[], int], redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url)
    lock = getattr(getattr(pool, "_event_dispatcher", None), "_lock", None)
    if lock is None:
        pytest.skip("this redis-py has no event dispatcher with a lock")
    with held_elsewhere(lock):
        assert in_child(Redis(connection_pool=pool).ping, fork, LIMIT) is True
