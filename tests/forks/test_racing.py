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
from forksafe_redis import BlockingConnectionPool
from tests.forks.servers import serving
from tests.forksafe_pool.threads import together
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
