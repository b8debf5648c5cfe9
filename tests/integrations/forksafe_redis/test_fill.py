"""fill: nothing is lost where it is cut off, and what has lost its connection is connected."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from forksafe_pool._fork import attempts
from forksafe_redis import ConnectionPool
from tests.forks.test_signal_handlers import interrupted_at


class Struck(BaseException):
    """As gevent's Timeout is: no Exception."""


def strike() -> None:
    raise Struck


# What is cut off in the middle is dropped, its socket with it.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket")
def test_fill_loses_nothing_wherever_an_exception_strikes(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    line = 0
    where = ["the start"]
    while where:
        line += 7  # not each line: a run takes up to six connections
        pool = kind.from_url(redis_url, max_connections=3, min_size=3)
        with contextlib.suppress(Struck), interrupted_at(line, strike) as where:
            pool.fill()
        stats = pool.stats()
        assert stats.in_use == 0, where
        assert stats.total == stats.available, where
        pool.fill()
        connections = pool._available_connections
        assert [bool(connection._sock) for connection in connections] == [True] * 3, where
        pool.disconnect()
    assert line > 60
    attempts._under_way.clear()  # see test_attempts: no signal strikes at a `try:`
    del pool, connections
    gc.collect()  # what was dropped warns here, and in no other test


def test_fill_connects_as_many_as_it_should(pool: ConnectionPool) -> None:
    pool._pool.resize(min_size=2)
    held = [pool.get_connection() for _ in range(3)]
    for connection in held:
        pool.release(connection)
    pool.disconnect()
    pool.fill()
    assert sum(bool(connection._sock) for connection in held) == 2
    assert (pool.stats().available, pool.stats().opened) == (3, 3)


class Refusable(redis.Connection):
    refused = False

    def _connect(self) -> Any:
        if self.refused:
            raise ConnectionRefusedError("refused")
        return super()._connect()


def connected(pool: ConnectionPool) -> list[bool]:
    return [connection._sock is not None for connection in pool._available_connections]


def test_connections_in_use_count(kind: type[ConnectionPool], redis_url: str) -> None:
    pool = kind.from_url(redis_url, min_size=2, max_connections=3)
    held = pool.get_connection()
    pool.fill()
    assert (pool.stats().in_use, connected(pool)) == (1, [True])
    pool.release(held)
    pool.disconnect()


def test_what_was_connected_stays_where_the_server_refuses(
    kind: type[ConnectionPool], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = kind.from_url(redis_url, min_size=3, connection_class=Refusable)
    pool.release(pool.get_connection())
    monkeypatch.setattr(Refusable, "refused", True)
    with pytest.raises(RedisConnectionError, match="refused"):
        pool.fill()
    stats = pool.stats()
    assert (stats.in_use, stats.total) == (0, stats.available)
    assert connected(pool).count(True) == 1
    monkeypatch.setattr(Refusable, "refused", False)
    pool.fill()
    assert connected(pool).count(True) == 3
    pool.disconnect()
