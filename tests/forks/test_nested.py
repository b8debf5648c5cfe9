"""Children of children, and forks while a child is still putting its house in order."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool
from tests.forks.ends import FORKS
from tests.forks.servers import serving
from tests.forksafe_pool.threads import Caller
from tests.support.forks import Child, c_fork, in_child, open_sockets, os_fork
from tests.support.programs import run_program

LIMIT = 10.0
Fork = Callable[[], int]


@pytest.mark.parametrize("used", [True, False], ids=["each used it", "only the last one used it"])
def test_five_generations(fork: Fork, used: bool, redis_url: str) -> None:
    """Every process has a session of its own, and keeps it while its descendants come and go."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1)
    client: Any = Redis(connection_pool=pool)

    def live(generation: int) -> list[int]:
        mine = client.client_id() if used or generation in (0, 5) else None
        below = in_child(lambda: live(generation + 1), fork) if generation < 5 else []
        if mine is None:
            return list(below)
        assert client.client_id() == mine
        assert pool.stats().opened == 1
        return [mine, *below]

    sessions = live(0)
    assert len(set(sessions)) == len(sessions) == (6 if used else 2)
    pool.disconnect()


# -- a fork in the middle of it -----------------------------------------------------------------
#
# The first is a C-level fork, after which the rebuild is ordinary code. After os.fork it happens in
# the hook, and nobody can fork in there: other modules' hooks still hold their locks.


class ForksInside:
    """A ``fileno`` that forks when a child asks it for the second descriptor it severs."""

    def __init__(self, fork: Fork) -> None:
        self.fork = fork
        self.asked = 0
        self.child: Child | None = None
        self.function: Callable[[], Any] = lambda: None
        self._parent = os.getpid()

    def __call__(self, conn: socket.socket) -> int:
        if os.getpid() != self._parent:
            self.asked += 1
            if self.asked == 2:
                self.child = Child(self.function, self.fork)
        return conn.fileno()


@pytest.mark.parametrize("second", [os_fork, c_fork])
def test_a_fork_by_who_is_severing(second: Fork) -> None:
    """The grandchild goes on elsewhere: its pool must be whole, and its parent's as well.

    After a C-level fork: severing is then no part of an at-fork hook, in which a further fork would
    take locks that later hooks have not made anew yet (those of concurrent.futures, for one).
    """
    with serving() as server:
        fileno = ForksInside(second)
        pool = Pool(server.connect, max_size=4, fileno=fileno)
        before = open_sockets()
        conns = [pool.acquire() for _ in range(4)]
        parents = open_sockets() - before
        for conn in conns[:2]:
            pool.release(conn)
        names = [conn.getsockname() for conn in conns]

        def use() -> tuple[int, int, set[str]]:
            for conn in conns:
                pool.release(conn)
            own = [pool.acquire() for _ in range(4)]
            assert not {conn.getsockname() for conn in own} & set(names)
            stats = pool.stats()
            return stats.total, stats.foreign_releases, open_sockets() & parents

        fileno.function = use

        def child() -> tuple[object, object]:
            mine = use()
            assert fileno.child is not None
            return mine, fileno.child.result(LIMIT)

        clean: tuple[int, int, set[str]] = (4, 4, set())
        assert in_child(child, c_fork) == (clean, clean)
        assert [conn.getsockname() for conn in conns] == names
        for conn in conns[2:]:
            pool.release(conn)
        pool.close()


@pytest.mark.parametrize("second", [os_fork, c_fork])
def test_a_fork_by_another_thread_while_one_is_severing(second: Fork) -> None:
    """The thread that was at it does not exist in the grandchild, which does it all itself."""
    under_way, proceed = threading.Event(), threading.Event()

    def fileno(conn: socket.socket) -> int:
        if threading.current_thread() is not threading.main_thread() and not under_way.is_set():
            under_way.set()
            assert proceed.wait(LIMIT)
        return conn.fileno()

    with serving() as server:
        pool = Pool(server.connect, max_size=4, fileno=fileno)
        before = open_sockets()
        conns = [pool.acquire() for _ in range(4)]
        parents = open_sockets() - before

        def use() -> tuple[int, int, set[str]]:
            for conn in conns:
                pool.release(conn)
            pool.release(pool.acquire())
            stats = pool.stats()
            return stats.total, stats.severed, open_sockets() & parents

        def child() -> tuple[object, object]:
            caller = Caller(use)
            assert under_way.wait(LIMIT)
            found = in_child(use, second)
            proceed.set()
            return found, caller.result(LIMIT)

        clean: tuple[int, int, set[str]] = (1, 4, set())
        assert in_child(child, c_fork) == (clean, clean)
        for conn in conns:
            pool.release(conn)
        pool.close()


COMES_BACK = r"""
import ctypes, os, signal, socket, sys
from forksafe_pool import Pool

c_fork = ctypes.PyDLL(None).fork
second = {"os.fork": os.fork, "C fork": c_fork}[sys.argv[1]]
parent = os.getpid()
signal.alarm(30)
asked = 0
grandchild = None


def connect():
    return socket.create_connection(("127.0.0.1", int(sys.argv[2])))


def fileno(conn):
    global asked, grandchild
    if os.getpid() != parent:
        asked += 1
        if asked == 2:
            grandchild = second()
            signal.alarm(30)
    return conn.fileno()


def inodes(conns):
    return {os.fstat(conn.fileno()).st_ino for conn in conns}


pool = Pool(connect, max_size=4, fileno=fileno)
conns = [pool.acquire() for _ in range(4)]
names = {conn.getsockname() for conn in conns}
sockets = inodes(conns)
for conn in conns[:2]:
    pool.release(conn)
child = c_fork()
if child == 0:
    signal.alarm(30)
    for conn in conns[2:]:
        pool.release(conn)
    own = [pool.acquire() for _ in range(4)]
    assert not {conn.getsockname() for conn in own} & names
    for conn in own:
        conn.sendall(b"mine")
    open_now = {os.stat(f"/proc/self/fd/{fd}").st_ino for fd in os.listdir("/proc/self/fd")[:-1]}
    assert not open_now & sockets
    stats = pool.stats()
    os.write(1, f"{stats.total} {stats.in_use} {stats.foreign_releases}\n".encode())
    for conn in own:
        pool.release(conn)
    if grandchild:
        assert os.waitpid(grandchild, 0)[1] == 0
else:
    assert os.waitpid(child, 0)[1] == 0
    assert inodes(conns) == sockets
    for conn in conns[2:]:
        pool.release(conn)
pool.close()
"""


@pytest.mark.parametrize("second", FORKS)
def test_a_fork_by_who_is_severing_and_goes_on_with_it_in_both(second: str) -> None:
    """A signal handler's would: the grandchild comes back into its parent's severing."""
    with serving() as server:
        assert run_program(COMES_BACK, second, str(server.port)) == "4 4 2\n" * 2
        assert sorted(server.received()) == [b""] * 4 + [b"mine"] * 8
