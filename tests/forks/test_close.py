"""A pool that is closed, or being closed, at the fork."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from forksafe_pool import Pool, PoolClosed
from tests.forks.servers import Server
from tests.forks.used import Used
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.forks import in_child, open_sockets

LIMIT = 20.0
Fork = Callable[[], int]


def test_a_closed_pool_is_closed_in_a_child(server: Server, fork: Fork) -> None:
    """One that comes back to its parent later still reaches its server."""
    used = Used(server)
    assert not used.pool.close(timeout=0)

    def child() -> tuple[int, int, int, set[str]]:
        with pytest.raises(PoolClosed):
            used.pool.acquire()
        used.pool.release(used.held)
        assert used.pool.close()
        assert "closed" in repr(used.pool)
        stats = used.pool.stats()
        return stats.total, stats.severed, stats.foreign_releases, open_sockets() & used.sockets

    assert in_child(child, fork, LIMIT) == (0, 1, 1, set())
    used.held.sendall(b"still here")
    used.pool.release(used.held)
    assert used.pool.stats().total == 0
    assert sorted(server.received()) == [b"", b"still here"]


def test_a_fork_while_another_thread_waits_for_the_pool_to_be_empty(
    server: Server, fork: Fork
) -> None:
    """In the child there is nothing to wait for."""
    used = Used(server)
    closer = Caller(lambda: used.pool.close(LIMIT))
    eventually(lambda: bool(used.pool._ledger.closers))

    def child() -> tuple[bool, int]:
        with pytest.raises(PoolClosed):
            used.pool.acquire()
        return used.pool.close(None), used.pool.stats().severed

    assert in_child(child, fork, LIMIT) == (True, 1)
    assert closer.running
    used.pool.release(used.held)
    assert closer.result(LIMIT)


def test_a_fork_while_another_thread_closes_the_pool(server: Server, fork: Fork) -> None:
    """A driver may take its time over a goodbye: that is no business of the child's."""
    closing, proceed = threading.Event(), threading.Event()

    def close(conn: socket.socket) -> None:
        if not closing.is_set():
            closing.set()
            assert proceed.wait(LIMIT)
        conn.sendall(b"QUIT")
        conn.close()

    before = open_sockets()
    pool = Pool(server.connect, close=close, max_size=2)
    conns = [pool.acquire() for _ in range(2)]
    ours = open_sockets() - before
    for conn in conns:
        pool.release(conn)
    del conn, conns
    closer = Caller(pool.close)
    assert closing.wait(LIMIT)

    def child() -> tuple[bool, set[str]]:
        with pytest.raises(PoolClosed):
            pool.acquire()
        return pool.close(None), open_sockets() & ours

    clean: tuple[bool, set[str]] = (True, set())
    assert in_child(child, fork, LIMIT) == clean
    proceed.set()
    assert closer.result(LIMIT)
    assert server.received() == [b"QUIT"] * 2
