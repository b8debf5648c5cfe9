"""Connections that no place of the process holds: they are severed all the same."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, WatchError

from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.integrations.forksafe_redis.conftest import hear
from tests.support.forks import Child, in_child, inode, open_sockets, os_fork

LIMIT = 10.0
Fork = Callable[[], int]


def client_id(connection: Any) -> int:
    connection.send_command("CLIENT", "ID")
    return int(connection.read_response())


def insist(command: Callable[[], Any]) -> Any:
    """The first command on a connection that was cut off may tell of the loss."""
    try:
        return command()
    except RedisConnectionError:
        return command()


# -- a fork, a use, and another fork ------------------------------------------------------------


def test_a_single_connection_client_in_a_grandchild(pool: ConnectionPool, fork: Fork) -> None:
    client: Any = Redis(connection_pool=pool, single_connection_client=True)
    mine = client.client_id()

    def child() -> tuple[int, int, int]:
        own = insist(client.client_id)
        return own, in_child(lambda: insist(client.client_id), fork), client.client_id()

    first, grandchild, again = in_child(child, fork)
    assert first == again
    assert len({mine, first, grandchild}) == 3
    assert client.client_id() == mine
    client.close()


def test_a_subscription_in_a_grandchild(client: Any, fork: Fork) -> None:
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("news")
    assert subscription.get_message(timeout=LIMIT) is None

    def subscribe_anew(count: int) -> None:
        client.ping()
        while client.pubsub_numsub("news")[0][1] < count:
            assert subscription.get_message(timeout=0.01) is None

    def listen(count: int) -> list[bytes]:
        return [hear(subscription) for _ in range(count)]

    def child() -> tuple[list[bytes], list[bytes]]:
        subscribe_anew(2)

        def grandchild() -> list[bytes]:
            subscribe_anew(3)
            for number in range(20):
                client.publish("news", number)
            return listen(20)

        return in_child(grandchild, fork), listen(20)

    all_of_them = [b"%d" % number for number in range(20)]
    assert in_child(child, fork) == (all_of_them, all_of_them)
    assert listen(20) == all_of_them
    subscription.close()


def test_a_grandchild_has_no_descriptor_of_it(pool: ConnectionPool, fork: Fork) -> None:
    connection = pool.get_connection()

    def child() -> bool:
        pool.stats()
        connection.disconnect()
        connection.connect()
        reconnected = inode(connection)

        def grandchild() -> bool:
            if fork is not os_fork:
                pool.stats()  # the first use
            return reconnected in open_sockets() or pool.stats().severed != 1

        return bool(in_child(grandchild, fork))

    assert in_child(child, fork) is False
    pool.release(connection)


def test_a_lock_of_the_cache_held_in_the_child(
    kind: type[ConnectionPool], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = pytest.importorskip("redis.cache", reason="redis-py has a cache since 5.3")
    proxy: Any = redis.connection.CacheProxyConnection
    monkeypatch.setattr(proxy, "DEFAULT_SERVER_NAME", "valkey")
    monkeypatch.setattr(proxy, "MIN_ALLOWED_VERSION", "7.0.0")
    pool = kind.from_url(redis_url, protocol=3, cache_config=cache.CacheConfig())
    client: Any = Redis(connection_pool=pool, single_connection_client=True)
    client.ping()

    def child() -> tuple[int, int]:
        own = insist(client.client_id)

        def grandchild() -> Any:
            locks = client.connection._cache_lock, client.connection._pool_lock
            return insist(client.client_id), all(lock.acquire(blocking=False) for lock in locks)

        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with client.connection._cache_lock, client.connection._pool_lock:
                held.set()
                done.wait(LIMIT)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(LIMIT)
        found, free = in_child(grandchild, limit=LIMIT)
        done.set()
        thread.join(LIMIT)
        assert free
        return own, found

    own, found = in_child(child)
    assert own != found
    client.close()
    pool.disconnect()


# -- in use at a reset() ------------------------------------------------------------------------


@pytest.mark.parametrize("use", [True, False], ids=["the child uses the pool", "it does not"])
def test_a_watching_pipeline_from_before_a_reset(
    pool: ConnectionPool, client: Any, fork: Fork, use: bool
) -> None:
    client.set("stock", 1)
    box = [client.pipeline()]
    box[0].watch("stock")
    connection = box[0].connection
    pool.reset()
    sock = inode(connection)

    def child() -> bool:
        if use:
            client.ping()
            assert sock not in open_sockets()
        box.clear()
        gc.collect()
        return sock in open_sockets()

    assert in_child(child, fork) is False
    client.set("stock", 2)
    pipe = box[0]
    pipe.multi()
    pipe.set("stock", "lost update")
    with pytest.raises(WatchError):
        pipe.execute()
    pipe.reset()
    connection.disconnect()


# -- whose pool is gone -------------------------------------------------------------------------


def test_a_connection_whose_pool_is_gone(
    kind: type[ConnectionPool], redis_url: str, fork: Fork
) -> None:
    pool = kind.from_url(redis_url, protocol=2)  # under RESP3 a connection keeps its pool
    connection = pool.get_connection()
    mine, known = client_id(connection), weakref.ref(pool)
    del pool
    assert known() is None
    assert in_child(lambda: insist(lambda: client_id(connection)), fork) != mine
    in_child(connection.disconnect, fork)
    assert client_id(connection) == mine
    connection.disconnect()


def test_where_nothing_can_be_cut_off_nothing_is_sent(
    kind: type[ConnectionPool], redis_url: str, fork: Fork
) -> None:
    pool = kind.from_url(redis_url, protocol=2)  # under RESP3 a connection keeps its pool
    connection = pool.get_connection()
    mine, known = client_id(connection), weakref.ref(pool)
    del pool
    assert known() is None

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("bad file descriptor")

    def child() -> None:
        os.dup2 = refuse
        for use in (
            lambda: connection.send_command("QUIT"),
            connection.read_response,
            connection.can_read,
            connection.disconnect,
        ):
            with pytest.raises(RedisConnectionError, match="another process's"):
                use()

    in_child(child, fork)
    assert client_id(connection) == mine
    connection.disconnect()


# -- used in a child, before anybody has asked the pool for anything ----------------------------


@pytest.mark.parametrize("first", ["read_response", "can_read", "disconnect", "send_command"])
def test_a_child_s_first_use_is_of_a_connection_itself(
    pool: ConnectionPool, fork: Fork, first: str
) -> None:
    connection = pool.get_connection()
    mine = client_id(connection)
    connection.send_command("ECHO", "the parent's")
    sock = inode(connection)

    def child() -> bool:
        connection.pid = os.getpid()  # as where a new pid namespace makes them equal
        with contextlib.suppress(RedisConnectionError):
            getattr(connection, first)(*["PING"][: first == "send_command"])
        return sock in open_sockets()

    assert in_child(child, fork) is False
    assert connection.read_response() == b"the parent's"
    assert client_id(connection) == mine
    pool.release(connection)


# -- a fork inside of connect -------------------------------------------------------------------


def test_a_child_that_was_forked_inside_of_connect(redis_url: str, fork: Fork) -> None:
    """By the thread that connects, from a signal's handler for example: it goes on in both."""
    forked: list[int] = []

    class Forks(redis.Connection):
        def _connect(self) -> Any:
            sock = super()._connect()
            if not forked:
                forked.append(fork())
            return sock

    options: Any = {"connection_class": Forks, "max_connections": 1, "socket_timeout": LIMIT}
    pool = BlockingConnectionPool.from_url(redis_url, **options)
    read, write = os.pipe()
    found = 0
    try:
        with contextlib.suppress(RedisError):
            found = client_id(pool.get_connection())
    finally:
        if forked == [0]:
            with contextlib.suppress(BaseException):
                pool.reset()
                found = found or client_id(pool.get_connection())
                os.write(write, b"%d" % found)
            os._exit(0)
    os.waitpid(forked[0], 0)
    os.close(write)
    with os.fdopen(read) as pipe:
        theirs = int(pipe.read())
    assert found not in (0, theirs)
    pool.disconnect()


def test_a_socket_of_another_thread_s_connect(redis_url: str) -> None:
    inside, go_on = threading.Event(), threading.Event()
    sockets: list[str] = []

    class Waits(redis.Connection):
        def _connect(self) -> Any:
            sock = super()._connect()
            sockets.append(os.readlink(f"/proc/self/fd/{sock.fileno()}"))
            inside.set()
            go_on.wait(LIMIT)
            return sock

    pool = ConnectionPool.from_url(redis_url, connection_class=Waits)
    thread = threading.Thread(target=lambda: pool.release(pool.get_connection()))
    thread.start()
    assert inside.wait(LIMIT)
    child = Child(lambda: sockets[0] in open_sockets())
    go_on.set()
    thread.join(LIMIT)
    assert child.result() is False
    assert Redis(connection_pool=pool).ping()
    pool.disconnect()


# -- what is just dropped -----------------------------------------------------------------------


def test_a_dropped_connection_is_let_go(pool: ConnectionPool) -> None:
    connection: Any = pool.get_connection()
    sock, known = connection._sock, weakref.ref(connection)
    pool.reset()
    del connection
    gc.collect()
    assert known() is None
    assert sock.fileno() == -1
    assert not pool._made


def test_a_connection_that_a_grandchild_just_drops(pool: ConnectionPool, fork: Fork) -> None:
    box = [pool.get_connection()]

    def child() -> bool:
        pool.stats()
        box[0].disconnect()
        box[0].connect()
        own = client_id(box[0])

        def grandchild() -> None:
            box.clear()
            gc.collect()

        in_child(grandchild, fork)
        return client_id(box[0]) == own

    assert in_child(child, fork)
    pool.release(box[0])
