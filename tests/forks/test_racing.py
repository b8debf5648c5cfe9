"""Threads of a child that race to be the first to use the pool rebuild it once.

After a C-level fork: after Python's own the hook is the first, before there can be threads.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections import Counter
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_pool._fork.sever import DeadEnd
from forksafe_pool._ledger import Ledger
from forksafe_redis import BlockingConnectionPool, _connection, _metrics
from forksafe_redis._inner import Connections
from tests.forks.servers import serving
from tests.forksafe_pool.threads import Caller, together
from tests.integrations.forksafe_redis.conftest import hear
from tests.support.forks import c_fork, in_child

THREADS = 8
RACES = 20
LIMIT = 10.0


class Severing:
    """A ``fileno`` that counts, in a child, how often each connection was asked for."""

    def __init__(self) -> None:
        self._parent = os.getpid()
        self.asked: Counter[int] = Counter()

    def __call__(self, conn: socket.socket) -> int:
        if os.getpid() != self._parent:
            self.asked[id(conn)] += 1
        return conn.fileno()


def test_one_of_them_rebuilds() -> None:
    with serving() as server:
        severing = Severing()
        pool = Pool(server.connect, max_size=5, fileno=severing)
        conns = [pool.acquire() for _ in range(5)]
        for conn in conns[:3]:
            pool.release(conn)

        def child() -> tuple[int, int, int, list[int]]:
            sys.setswitchinterval(1e-6)
            ledgers = together(THREADS, lambda _: id(pool._checkpid()))
            stats = pool.stats()
            return len(set(ledgers)), stats.severed, stats.total, sorted(severing.asked.values())

        for _ in range(RACES):
            assert in_child(child, c_fork) == (1, 5, 0, [1] * 5)
        for conn in conns[3:]:
            pool.release(conn)
        pool.close()


def test_no_more_connections_are_made_than_one_process_may_have() -> None:
    with serving() as server:
        pool = Pool(server.connect, max_size=1, timeout=LIMIT)
        conn = pool.acquire()

        def take_turns(number: int) -> object:
            if number % 2:
                pool.release(conn)
            with pool.connection() as own:
                return own.getsockname()

        def child() -> tuple[int, int, int, int, int]:
            sys.setswitchinterval(1e-6)
            names = together(THREADS, take_turns)
            stats = pool.stats()
            used = len(set(names))
            return used, stats.opened, stats.total, stats.severed, stats.foreign_releases

        for _ in range(RACES):
            assert in_child(child, c_fork) == (1, 1, 1, 1, THREADS // 2)
        pool.release(conn)
        pool.close()


def test_who_comes_second_does_not_wait_for_the_first_to_finish() -> None:
    """The first is in the middle of severing until others have worked with the pool."""
    parent = os.getpid()
    worked = threading.Semaphore(0)
    first: list[threading.Thread] = []

    def fileno(conn: socket.socket) -> int:
        if os.getpid() != parent and not first:
            first.append(threading.current_thread())
            for _ in range(THREADS - 1):
                assert worked.acquire(timeout=LIMIT)
        return conn.fileno()

    with serving() as server:
        pool = Pool(server.connect, max_size=THREADS, fileno=fileno)
        conns = [pool.acquire() for _ in range(2)]

        def work(_: int) -> None:
            pool.release(conns[0])
            with pool.connection():
                pass
            worked.release()

        def child() -> tuple[int, int, int]:
            together(THREADS, work)
            stats = pool.stats()
            assert len(first) == 1
            return stats.severed, stats.foreign_releases, stats.in_use

        assert in_child(child, c_fork) == (2, THREADS, 0)
        for conn in conns:
            pool.release(conn)
        pool.close()


def test_a_redis_pool_enters_its_new_process_once(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What redis-py keeps beside the connections is renewed once, and by nobody twice."""
    entered: list[int] = []
    renew = BlockingConnectionPool._renew_maintenance

    def count(self: BlockingConnectionPool) -> None:
        entered.append(threading.get_ident())
        renew(self)

    monkeypatch.setattr(BlockingConnectionPool, "_renew_maintenance", count)
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1)
    client: Any = Redis(connection_pool=pool)
    mine = client.client_id()

    def child() -> tuple[int, int, int, int]:
        sys.setswitchinterval(1e-6)
        sessions = set(together(THREADS, lambda _: client.client_id()))
        assert mine not in sessions
        stats = pool.stats()
        return len(sessions), len(entered), stats.opened, stats.severed

    for _ in range(RACES):
        assert in_child(child, c_fork) == (1, 1, 1, 1)
    assert client.client_id() == mine
    pool.disconnect()


def test_what_another_thread_frees_is_not_severed_again(redis_url: str) -> None:
    """By then its descriptor may be the other thread's new connection's."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1)
    client: Any = Redis(connection_pool=pool)
    client.ping()
    severed, freeing, looked = threading.Event(), threading.Event(), threading.Event()
    sever_inherited, forget_socket = Pool._sever_inherited, _connection.forget_socket

    def sever_and_wait(severing: Pool[Any], ledger: Ledger[Any]) -> set[int]:
        found = sever_inherited(severing, ledger)
        if severing is pool._pool:  # not other tests'
            severed.set()
            assert freeing.wait(LIMIT)
        return found

    def wait_and_forget(conn: Any) -> None:
        freeing.set()
        assert looked.wait(LIMIT)
        forget_socket(conn)

    def child() -> tuple[int, bool]:
        setattr(Pool, "_sever_inherited", sever_and_wait)  # noqa: B010 - no more than this child's
        _connection.forget_socket = wait_and_forget
        first = Caller(pool.stats)
        assert severed.wait(LIMIT)
        second = Caller(client.ping)
        stats = first.result(LIMIT)
        looked.set()
        return stats.severed, second.result(LIMIT)

    assert in_child(child, c_fork) == (1, True)
    pool.disconnect()


def test_what_its_holder_has_reconnected_is_not_severed(redis_url: str) -> None:
    pool: Any = BlockingConnectionPool.from_url(redis_url, max_connections=2)
    idle, held = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    reached, reconnected = threading.Event(), threading.Event()
    sever = _connection.sever

    def sever_late(conn: Any, dead_end: DeadEnd) -> bool:
        if conn is idle:
            reached.set()
            assert reconnected.wait(LIMIT)
        return sever(conn, dead_end)

    def child() -> tuple[int, bytes]:
        _connection.sever = sever_late
        first = Caller(pool.stats)
        assert reached.wait(LIMIT)
        held.disconnect()
        held.connect()
        reconnected.set()
        severed = first.result(LIMIT).severed
        held.send_command("PING")
        return severed, held.read_response()

    assert in_child(child, c_fork) == (2, b"PONG")
    pool.release(held)
    pool.disconnect()


def test_a_subscription_that_has_reconnected_keeps_its_socket(redis_url: str) -> None:
    pool: Any = BlockingConnectionPool.from_url(redis_url)
    client: Any = Redis(connection_pool=pool)
    news = client.pubsub(ignore_subscribe_messages=True)
    news.subscribe("raced")
    assert news.get_message(timeout=LIMIT) is None
    reached, reconnected = threading.Event(), threading.Event()
    make_usable = _connection.make_usable_after_fork

    def make_usable_late(conn: Any, severed: Any) -> None:
        if not reached.is_set():
            reached.set()
            assert reconnected.wait(LIMIT)
        make_usable(conn, severed)

    def child() -> tuple[int, bytes]:
        _connection.make_usable_after_fork = make_usable_late
        first = Caller(pool.stats)
        assert reached.wait(LIMIT)
        while client.pubsub_numsub("raced")[0][1] < 2:
            news.get_message(timeout=0.01)
        subscribed = news.connection._sock
        reconnected.set()
        severed = first.result(LIMIT).severed
        assert news.connection._sock is subscribed
        client.publish("raced", "heard")
        return severed, hear(news)

    assert in_child(child, c_fork) == (1, b"heard")
    news.close()
    pool.disconnect()


def test_who_comes_second_knows_what_a_redis_pool_has_to_count_off(redis_url: str) -> None:
    pool: Any = BlockingConnectionPool.from_url(redis_url, max_connections=2)
    idle, held = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    reached, entered = threading.Event(), threading.Event()
    sever_inherited = Connections._sever_inherited
    counted: list[tuple[int, int]] = []

    def sever_late(severing: Connections, ledger: Ledger[Any]) -> set[int]:
        if severing is pool._pool:  # not other tests'
            reached.set()
            assert entered.wait(LIMIT)
        return sever_inherited(severing, ledger)

    def count(pool: Any, *, idle: int = 0, used: int = 0) -> None:
        counted.append((idle, used))

    def child() -> list[tuple[int, int]]:
        setattr(Connections, "_sever_inherited", sever_late)  # noqa: B010 - as above
        _metrics.count = count
        first = Caller(pool._pool._checkpid)
        assert reached.wait(LIMIT)
        pool.stats()
        entered.set()
        first.result(LIMIT)
        return counted

    assert in_child(child, c_fork) == [(-1, -1)]
    pool.release(held)
    pool.disconnect()
