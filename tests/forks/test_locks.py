"""A lock that another thread holds at the moment of the fork stays held in the child for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.forks import in_child
from tests.support.locks import held_elsewhere

LIMIT = 10.0


def test_the_lock_of_severing(fork: Callable[[], int]) -> None:
    pool: Pool[object] = Pool(object, max_size=1, fileno=lambda conn: -1)
    in_use = pool.acquire()

    def child() -> int:
        conn = pool.acquire(timeout=5)
        pool.release(in_use)
        pool.release(conn)
        pool.close()
        return pool.stats().foreign_releases

    with held_elsewhere(pool._ledger.notes.setdefault("severing", threading.RLock())):
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
    with held_elsewhere(pool._lock):
        assert in_child(Redis(connection_pool=pool).ping, fork, LIMIT) is True


def test_the_event_dispatcher_s_lock(fork: Callable[[], int], redis_url: str) -> None:
    event = pytest.importorskip("redis.event", reason="redis-py has events since 5.3")
    dispatcher = event.EventDispatcher()
    if not hasattr(dispatcher, "_lock"):
        pytest.skip("this redis-py's event dispatcher has no lock")
    pool = ConnectionPool.from_url(redis_url, event_dispatcher=dispatcher)
    with held_elsewhere(dispatcher._lock):
        assert in_child(Redis(connection_pool=pool).ping, fork, LIMIT) is True
