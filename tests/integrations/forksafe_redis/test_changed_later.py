"""What redis-py's users may write to a pool that is in use."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.forks import in_child, inode, open_sockets

LIMIT = 10.0


def test_a_timeout_changed_later_counts(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1)
    pool.get_connection()
    pool.timeout = 0
    with pytest.raises(RedisConnectionError):
        pool.get_connection()
    pool.disconnect()


def test_max_connections_changed_later_count(pool: ConnectionPool, fork: Any) -> None:
    pool.max_connections = 1
    first = pool.get_connection()
    pool.timeout = 0  # type: ignore[attr-defined]
    with pytest.raises(RedisConnectionError, match="total 1 of 1"):
        pool.get_connection()
    pool.max_connections = 2
    second = pool.get_connection()
    pool.max_connections = 1
    pool.release(first)  # one too many
    with pytest.raises(RedisConnectionError, match="total 1 of 1"):
        pool.get_connection()
    pool.release(second)
    assert pool.get_connection() is second
    assert in_child(lambda: pool.stats().max_size, fork) == 1
    pool.reset()
    assert pool.stats().max_size == 1
    second.disconnect()


def test_who_waits_is_served_when_there_may_be_more(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1, timeout=LIMIT)
    held = pool.get_connection()
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(pool.get_connection()))
    thread.start()
    while not pool.stats().waiting:
        assert thread.is_alive()
    pool.max_connections = 2
    thread.join(LIMIT)
    assert got
    assert got != [held]
    pool.disconnect()


def test_a_connection_class_changed_later_is_that_of_new_ones(
    pool: ConnectionPool, client: Any, fork: Any
) -> None:
    class Other(redis.Connection):
        """The user's."""

    class Plain:
        """None of redis-py's."""

        pid = 0

        def __init__(self, **_: Any) -> None:
            self._end, self._sock = socket.socketpair()

        def connect(self) -> None: ...

        def disconnect(self) -> None:
            self._end.close()
            self._sock.close()

        def can_read(self, timeout: float = 0) -> bool:
            return False

    made = [pool.get_connection()]
    for kind in (Other, Plain):
        pool.connection_class = kind
        made.append(pool.get_connection())
    assert [isinstance(connection, Other) for connection in made] == [False, True, False]
    assert isinstance(made[2], Plain)
    sockets = {inode(connection) for connection in made}

    def child() -> bool:
        pool.stats()
        return sockets.isdisjoint(open_sockets())

    assert in_child(child, fork)
    pool.connection_class = Other
    for connection in made[1:]:
        pool.release(connection)
    assert pool._pool.close(0) is False
    connection = pool.get_connection()
    connection.send_command("ECHO", "not for you")
    pool.release(connection)
    assert client.ping() is True
    pool.release(made[0])


def test_a_timeout_may_be_changed_as_redis_py_s(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1, timeout=20)
    connection = pool.get_connection()
    pool.timeout = 0.01
    with pytest.raises(RedisConnectionError, match=r"within 0\.01 s"):
        pool.get_connection()
    pool.release(connection)
    pool.disconnect()
