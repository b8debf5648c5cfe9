"""A fork while a thread has a connection in hand, for the pool: in none of its queues just then.

The child has neither the thread nor what it was about to do: nobody would ever close its copy.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from tests.forks.servers import Server, serving
from tests.forksafe_pool.threads import Caller
from tests.support.forks import in_child, open_sockets

LIMIT = 10.0


class Connection:
    """A driver's: it says goodbye when it is closed, and when it is freed."""

    def __init__(self, server: Server) -> None:
        self.sock = server.connect()

    def close(self) -> None:
        if self.sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self.sock.sendall(b"QUIT")
            self.sock.close()

    __del__ = close


class Pause:
    """A callback of the pool's that does not return, once, before it is told to."""

    def __init__(self) -> None:
        self.armed = False
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def __call__(self, conn: Connection) -> None:
        if self.armed:
            self.armed = False
            self.under_way.set()
            assert self.proceed.wait(LIMIT)


def received(peer: socket.socket) -> bytes:
    with peer, peer.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("stage", ["configure", "check", "reset", "close"])
def test_the_child_says_no_goodbye_for_it(stage: str, fork: Callable[[], int]) -> None:
    pause = Pause()

    def close(conn: Connection) -> None:
        pause(conn)
        conn.close()

    callbacks: dict[str, Any] = {stage: close if stage == "close" else pause}
    with serving() as server:
        before = open_sockets()
        pool = Pool(lambda: Connection(server), max_size=1, check_after=0, **callbacks)
        if stage == "check":
            pool.release(pool.acquire())

        def work() -> None:
            conn = pool.acquire()
            if stage in ("reset", "close"):
                pause.armed = True
            (pool.discard if stage == "close" else pool.release)(conn)

        pause.armed = stage in ("configure", "check")
        caller = Caller(work)
        assert pause.under_way.wait(LIMIT)
        ours = open_sockets() - before
        assert len(ours) == 1

        def child() -> tuple[set[str], int, int]:
            with pool.connection():
                gc.collect()
            stats = pool.stats()
            return open_sockets() & ours, stats.total, stats.severed

        assert in_child(child, fork) == (set(), 1, 1)
        pause.proceed.set()
        caller.result(LIMIT)
        assert pool.close()
        assert received(server.accept()) == b"QUIT"
