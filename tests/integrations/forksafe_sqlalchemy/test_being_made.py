"""A fork while a connection is being made, or made anew."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import event

from forksafe_sqlalchemy import QueuePool
from tests.support.forks import c_fork, open_sockets, os_fork
from tests.support.quiet import LIMIT, in_quiet_child


class Connection:
    """A driver's: it says goodbye when it is closed, and when it is freed."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(b"goodbye")
        self.sock.close()

    __del__ = close


class Pause:
    """Does not return, once, before it is told to."""

    def __init__(self) -> None:
        self.armed = False
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def __call__(self, *_: Any) -> None:
        if self.armed:
            self.armed = False
            self.under_way.set()
            assert self.proceed.wait(LIMIT)


# After a C-level fork, a socket inside the driver's connect() cannot be seen.
@pytest.mark.parametrize(
    ("stage", "fork"), [("creator", os_fork), ("event", os_fork), ("event", c_fork)]
)
@pytest.mark.parametrize("anew", [False, True], ids=["made", "made anew"])
def test_the_parent_finishes_it_and_the_child_holds_nothing_of_it(
    stage: str, fork: Callable[[], int], anew: bool
) -> None:
    pause = Pause()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def connect() -> Connection:
            sock = socket.create_connection(listener.getsockname())
            if stage == "creator":
                pause()
            return Connection(sock)

        pool = QueuePool(connect, pool_size=2, timeout=5)
        if stage == "event":
            event.listen(pool, "connect", pause)
        if anew:
            fairy = pool.connect()
            fairy.invalidate()
            listener.accept()[0].close()
        before = open_sockets()
        made: list[Any] = []
        pause.armed = True
        thread = threading.Thread(target=lambda: made.append(pool.connect()))
        thread.start()
        assert pause.under_way.wait(LIMIT)
        ours = open_sockets() - before
        assert len(ours) == 1

        def child() -> tuple[int, set[str]]:
            checked_out = pool.checkedout()  # after a C-level fork the first use severs
            return checked_out, open_sockets() & ours

        try:
            assert in_quiet_child(child, fork) == (0, set())
        finally:
            pause.proceed.set()
            thread.join(LIMIT)
        peer, _ = listener.accept()
        with closing(peer):
            made[0].dbapi_connection.sock.sendall(b"parent ")
            made[0].close()
            pool.dispose()
            with peer.makefile("rb") as stream:
                assert stream.read() == b"parent goodbye"
