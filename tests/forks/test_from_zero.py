"""A child starts with nothing in use, nobody waiting, and nothing counted."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, PoolStats, PoolTimeout
from tests.forks.servers import serving
from tests.forksafe_pool.threads import wait_in_line
from tests.support.forks import in_child
from tests.support.programs import run_program

LIMIT = 10.0
Fork = Callable[[], int]


def nothing(pool: Any, severed: int) -> PoolStats:
    """What a child's pool says before it has done anything."""
    return PoolStats(
        name=pool.stats().name,
        pid=os.getpid(),
        max_size=pool.stats().max_size,
        min_size=pool.stats().min_size,
        total=0,
        available=0,
        in_use=0,
        waiting=0,
        acquired=0,
        opened=0,
        closed=0,
        connect_errors=0,
        timeouts=0,
        foreign_releases=0,
        severed=severed,
    )


def test_a_pool_that_is_full_and_waited_for(fork: Fork) -> None:
    with serving() as server:
        fails = threading.Event()

        def connect() -> Any:
            if fails.is_set():
                raise ConnectionRefusedError
            return server.connect()

        pool = Pool(connect, max_size=3, timeout=LIMIT)
        pool.discard(pool.acquire())
        fails.set()
        with pytest.raises(ConnectionRefusedError):
            pool.acquire()
        fails.clear()
        held = [pool.acquire() for _ in range(3)]
        with pytest.raises(PoolTimeout):
            pool.acquire(timeout=0)
        pool.release(object())
        waiters = [wait_in_line(pool, pool.acquire) for _ in range(2)]
        before = pool.stats()
        assert (before.in_use, before.waiting, before.timeouts, before.closed) == (3, 2, 1, 1)
        assert (before.connect_errors, before.foreign_releases) == (1, 1)

        def child() -> tuple[int, int, int, int]:
            assert pool.stats() == nothing(pool, severed=3)
            own = [pool.acquire(timeout=0) for _ in range(3)]
            for conn in held:
                pool.release(conn)
            with pytest.raises(PoolTimeout):
                pool.acquire(timeout=0)
            for conn in own:
                pool.release(conn)
            stats = pool.stats()
            return stats.total, stats.available, stats.foreign_releases, stats.timeouts

        assert in_child(child, fork) == (3, 3, 3, 1)
        assert pool.stats() == before
        for conn in held:
            pool.release(conn)
        for waiter in waiters:
            pool.release(waiter.result(LIMIT))
        assert pool.stats().available == 3
        assert pool.close()


def test_a_waiter_of_the_parent_is_served_by_the_parent_alone(fork: Fork) -> None:
    """A release in the child hands nothing to who waits in the parent."""
    with serving() as server:
        pool = Pool(server.connect, max_size=1, timeout=LIMIT)
        held = pool.acquire()
        name = held.getsockname()
        waiter = wait_in_line(pool, pool.acquire)

        def child() -> tuple[int, int]:
            with pool.connection() as own:
                assert own.getsockname() != name
            return pool.stats().available, pool.stats().waiting

        assert in_child(child, fork) == (1, 0)
        assert waiter.running
        assert pool.stats().waiting == 1
        pool.release(held)
        handed = waiter.result(LIMIT)
        assert handed is held
        pool.release(handed)
        pool.close()


def test_a_child_s_work_is_not_counted_in_the_parent(fork: Fork) -> None:
    with serving() as server:
        pool = Pool(server.connect, max_size=4, min_size=2)
        pool.fill()
        before = pool.stats()

        def child() -> PoolStats:
            pool.fill()
            pool.discard(pool.acquire())
            pool.release(object())  # type: ignore[arg-type]
            with pool.connection(), pool.connection(), pool.connection():
                pass
            return pool.stats()

        stats = in_child(child, fork)
        expected = dataclasses.replace(
            before,
            pid=stats.pid,
            total=3,
            available=3,
            acquired=1 + 3,  # not what fill() made
            opened=2 + 2,
            closed=1,
            foreign_releases=1,
            severed=2,
        )
        assert stats == expected
        assert stats.pid != before.pid
        assert pool.stats() == before
        pool.close()


IN_AN_EARLIER_HOOK = r"""
import os, socket, sys

kept = []
os.register_at_fork(after_in_child=lambda: kept.append(pool.acquire()))
from forksafe_pool import Pool

pool = Pool(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[1]))), max_size=2)
conns = [pool.acquire() for _ in range(2)]
pool.release(conns[0])
child = os.fork()
if child == 0:
    kept[0].sendall(b"mine")
    stats = pool.stats()
    print(stats.total, stats.in_use, stats.opened, stats.severed, flush=True)
    pool.release(kept[0])
    pool.release(conns[1])
    stats = pool.stats()
    print(stats.total, stats.available, stats.foreign_releases, flush=True)
else:
    assert os.waitpid(child, 0)[1] == 0
    pool.release(conns[1])
pool.close()
"""


def test_who_uses_it_in_a_hook_that_runs_before_its_own() -> None:
    """Other modules' hooks do, and finalizers in the middle of a hook."""
    with serving() as server:
        assert run_program(IN_AN_EARLIER_HOOK, str(server.port)) == "1 1 1 2\n1 1 1\n"
        assert sorted(server.received()) == [b"", b"", b"mine"]
