"""Objects of redis-py that are taken through a fork, with Python's at-fork hooks and without."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Connection, Redis
from redis.connection import parse_url
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import LockError, WatchError

import forksafe_redis
from forksafe_redis import BlockingConnectionPool, ConnectionPool, _lock
from tests.forksafe_pool.threads import Caller
from tests.integrations.forksafe_redis.conftest import hear
from tests.support.forks import Child, c_fork, in_child

LIMIT = 10.0
Fork = Callable[[], int]


@pytest.fixture
def subscribed(client: Any) -> Iterator[Any]:
    subscription = client.pubsub(ignore_subscribe_messages=True)
    subscription.subscribe("news")
    assert subscription.get_message(timeout=LIMIT) is None
    yield subscription
    subscription.close()


def test_a_pool_s_pid_is_its_process_s(pool: ConnectionPool, client: Any, fork: Fork) -> None:
    client.ping()

    def child() -> bool:
        client.ping()
        connection = pool.get_connection()
        return connection.pid == pool.pid and bool(pool.owns_connection(connection))

    assert in_child(child, fork)


def test_connections_that_a_function_makes(kind: Any, redis_url: str, fork: Fork) -> None:
    """They are redis-py's own, and not told whose they are."""
    address = parse_url(redis_url)
    pool = kind(connection_class=lambda **options: Connection(**options), **address)
    idle, held = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    client: Any = Redis(connection_pool=pool)
    mine = client.client_id()

    def child() -> tuple[bool, int]:
        own = client.client_id() != mine
        with pytest.raises(RedisConnectionError):
            held.send_command("PING")
        return own, pool.stats().severed

    assert in_child(child, fork) == (True, 2)
    held.send_command("PING")
    assert (held.read_response(), client.client_id()) == (b"PONG", mine)
    pool.disconnect()


def test_a_connection_that_connects_in_its_own_way(redis_url: str, fork: Fork) -> None:
    """And so is never told whose it is."""

    class ByHand(Connection):
        _sock: Any

        def connect(self) -> None:
            if self._sock is None:
                self._sock = socket.create_connection((self.host, self.port))
                self.on_connect()

    pool: Any = ConnectionPool(connection_class=ByHand, **parse_url(redis_url))
    held = pool.get_connection()

    def child() -> int:
        severed: int = pool.stats().severed
        with pytest.raises(RedisConnectionError):
            held.send_command("PING")
        return severed

    assert in_child(child, fork) == 1
    held.send_command("PING")
    assert held.read_response() == b"PONG"
    pool.release(held)
    pool.disconnect()


# -- pipelines ----------------------------------------------------------------------------------


def watching(client: Any) -> Any:
    client.set("stock", 1)
    pipe = client.pipeline()
    pipe.watch("stock")
    return pipe


def assert_that_the_watch_holds(pipe: Any, client: Any) -> None:
    """A write after the watch must make the parent's transaction fail."""
    client.set("stock", 2)
    pipe.multi()
    pipe.set("stock", "lost update")
    with pytest.raises(WatchError):
        pipe.execute()
    assert client.get("stock") == b"2"


def test_a_watching_pipeline_that_the_child_collects(client: Any, fork: Fork) -> None:
    """Under redis-py, UNWATCH goes out on the parent's socket: a lost update, and no error."""
    box = [watching(client)]

    def child() -> None:
        client.connection_pool.stats()  # after a C-level fork the first use severs
        box.clear()
        gc.collect()

    in_child(child, fork)
    assert_that_the_watch_holds(box[0], client)


def test_a_watching_pipeline_whose_block_the_child_leaves(client: Any, fork: Fork) -> None:
    """redis-py's blocking pool raises queue.Full here."""
    pipe = watching(client)

    def child() -> int:
        client.ping()
        with pipe:
            pass
        return int(client.connection_pool.stats().foreign_releases)

    assert in_child(child, fork) == 1
    assert_that_the_watch_holds(pipe, client)


def test_a_watching_pipeline_that_the_child_uses(client: Any, fork: Fork) -> None:
    """The watch is the parent's: the child is told, and may then begin anew."""
    pipe = watching(client)

    def child() -> Any:
        client.ping()
        pipe.multi()
        pipe.set("stock", "unwatched")
        with pytest.raises((WatchError, RedisConnectionError)):
            pipe.execute()
        pipe.reset()
        pipe.watch("stock")
        value = pipe.get("stock")
        pipe.reset()
        return value

    assert in_child(child, fork) == b"1"
    assert_that_the_watch_holds(pipe, client)


def test_queued_commands_are_sent_by_who_executes(client: Any, fork: Fork) -> None:
    pipe = client.pipeline().set("queued", 1).client_id()
    mine = client.client_id()
    assert in_child(lambda: pipe.execute()[1], fork) != mine
    assert pipe.execute() == [True, mine]


# -- subscriptions ------------------------------------------------------------------------------


def test_a_subscription_used_in_the_child_gets_a_connection_of_its_own(
    client: Any, subscribed: Any, fork: Fork
) -> None:
    def child() -> Any:
        client.ping()
        assert subscribed.get_message(timeout=0.01) is None
        while client.pubsub_numsub("news")[0][1] < 2:
            assert subscribed.get_message(timeout=0.01) is None
        client.publish("news", "for both")
        message = hear(subscribed)
        subscribed.unsubscribe()
        subscribed.close()
        return message

    assert in_child(child, fork) == b"for both"
    assert hear(subscribed) == b"for both"
    client.publish("news", "for the parent")
    assert hear(subscribed) == b"for the parent"


def test_a_child_takes_no_message_of_the_parent(client: Any, subscribed: Any, fork: Fork) -> None:
    """Under redis-py a child stole 93 of 200."""
    connection = subscribed.connection

    def child() -> bool:
        client.connection_pool.stats()
        return bool(getattr(connection, "_sock", None))

    assert in_child(child, fork) is False  # nothing to read from, until it subscribes for itself
    for number in range(20):
        client.publish("news", number)
    got = [hear(subscribed) for _ in range(20)]
    assert got == [b"%d" % number for number in range(20)]


def test_a_monitor_in_the_child_fails_and_the_parent_s_goes_on(client: Any, fork: Fork) -> None:
    with client.monitor() as monitor:

        def child() -> None:
            client.ping()
            with pytest.raises(RedisConnectionError):
                monitor.next_command()

        in_child(child, fork)
        client.echo("seen by the parent")
        while monitor.next_command()["command"] != "ECHO seen by the parent":
            pass


# -- clients ------------------------------------------------------------------------------------


def test_a_single_connection_client(pool: ConnectionPool, fork: Fork) -> None:
    """Under redis-py: thousands of wrong replies."""
    client: Any = Redis(connection_pool=pool, single_connection_client=True)
    mine = client.client_id()

    def child() -> int:
        pool.stats()
        if not client.connection.retry._retries:  # then the first command tells of the loss
            with pytest.raises(RedisConnectionError):
                client.ping()
        return int(client.client_id())

    assert in_child(child, fork) != mine
    assert client.client_id() == mine
    client.close()


def test_what_the_holder_reconnected_in_the_child_is_closed_when_it_comes_back(
    pool: ConnectionPool, fork: Fork, watcher: Any
) -> None:
    connection = pool.get_connection()

    def child() -> tuple[bool, int]:
        pool.stats()
        connection.disconnect()
        connection.connect()
        reconnected = connection._sock
        pool.release(connection)
        return connection._sock is None, reconnected.fileno()

    assert in_child(child, fork) == (True, -1)
    connection.send_command("PING")
    assert connection.read_response() == b"PONG"
    pool.release(connection)


def test_a_killed_parent_s_connections_end_while_its_child_lives(
    redis_url: str, watcher: Any, fork: Fork
) -> None:
    """Under redis-py the server keeps them until the child has ended too."""
    name = f"orphan-{os.getpid()}"
    pool = BlockingConnectionPool.from_url(redis_url, client_name=name)
    read, write = os.pipe()

    def parent() -> None:
        pool.release(pool.get_connection())

        def idle() -> None:
            pool.stats()
            os.write(write, b"%d" % os.getpid())
            signal.pause()

        Child(idle, fork)
        signal.pause()

    family = Child(parent)
    grandchild = int(os.read(read, 20))
    try:
        assert named(watcher, name)
        os.kill(family.pid, signal.SIGKILL)
        os.waitpid(family.pid, 0)
        wait_until(lambda: not named(watcher, name))
        os.kill(grandchild, 0)
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(family._read)
        os.close(read)
        os.close(write)


def named(watcher: Any, name: str) -> list[Any]:
    return [client for client in watcher.client_list() if client["name"] == name]


def wait_until(condition: Callable[[], object], limit: float = LIMIT) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


# -- locks --------------------------------------------------------------------------------------


def test_a_lock_of_ours_is_not_held_by_the_child(client: Any, fork: Fork) -> None:
    with client.lock("held", timeout=LIMIT, lock_class=forksafe_redis.Lock) as lock:

        def child() -> None:
            assert not lock.owned()
            with pytest.raises(LockError):
                lock.release()
            lock.__exit__(None, None, None)

        in_child(child, fork)
        assert lock.owned()
    assert not lock.locked()


def test_threads_of_a_child_that_come_to_a_lock_together(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them finds its parent's token, nor takes another's."""
    lock = client.lock("raced", timeout=LIMIT, thread_local=False, lock_class=forksafe_redis.Lock)
    lock.acquire()
    reached, go_on = threading.Event(), threading.Event()

    def first_waits() -> SimpleNamespace:
        if not reached.is_set():
            reached.set()
            assert go_on.wait(LIMIT)
        return SimpleNamespace()

    monkeypatch.setattr(_lock, "SimpleNamespace", first_waits)

    def child() -> tuple[bool, bool]:
        first = Caller(lock.owned)
        assert reached.wait(LIMIT)
        with pytest.raises(LockError):
            lock.release()
        lock.local.token = b"the second's"
        go_on.set()
        return first.result(LIMIT), lock.local.token == b"the second's"

    assert in_child(child, c_fork) == (False, True)
    assert lock.owned()
    lock.release()


def test_a_child_can_take_a_lock_of_ours_anew(client: Any, fork: Fork) -> None:
    lock = client.lock("again", timeout=LIMIT, lock_class=forksafe_redis.Lock)
    lock.acquire()
    lock.release()

    def child() -> None:
        with lock:
            assert lock.owned()
        with pytest.raises(LockError):
            lock.release()

    in_child(child, fork)


def test_redis_py_s_own_lock_is_inherited(client: Any) -> None:
    """Out of a pool's reach: the documentation says so, and this keeps it true."""
    with client.lock("theirs", timeout=LIMIT) as lock:
        assert in_child(lock.owned) is True
