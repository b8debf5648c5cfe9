"""A fork while a connection is being made."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from forksafe_pool import Pool
from tests.support.forks import c_fork, in_child, open_sockets, os_fork
from tests.support.programs import run_program

LIMIT = 10.0


class SlowServer:
    """Accepts, and lets connect() go on when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def connect(self) -> socket.socket:
        sock = socket.create_connection(self.listener.getsockname())
        self.under_way.set()
        assert self.proceed.wait(LIMIT)
        return sock

    def configure(self, sock: socket.socket) -> None:
        self.under_way.set()
        assert self.proceed.wait(LIMIT)


@pytest.mark.parametrize(
    ("stage", "fork"), [("connect", os_fork), ("configure", os_fork), ("configure", c_fork)]
)
def test_the_parent_finishes_it_and_the_child_holds_nothing_of_it(
    stage: str, fork: Callable[[], int]
) -> None:
    """After a C-level fork, a socket inside connect() cannot be seen: its copy stays, unused."""
    server = SlowServer()
    with closing(server.listener):
        if stage == "connect":
            pool = Pool(server.connect, max_size=2)
        else:
            pool = Pool(
                lambda: socket.create_connection(server.listener.getsockname()),
                configure=server.configure,
                max_size=2,
            )
        before = open_sockets()
        made: list[socket.socket] = []
        thread = threading.Thread(target=lambda: made.append(pool.acquire()))
        thread.start()
        assert server.under_way.wait(LIMIT)
        ours = open_sockets() - before
        assert len(ours) == 1

        def child() -> tuple[set[str], int]:
            total = pool.stats().total  # after a C-level fork the first use severs
            return open_sockets() & ours, total

        assert in_child(child, fork, LIMIT) == (set(), 0)
        server.proceed.set()
        thread.join(LIMIT)
        peer, _ = server.listener.accept()
        with closing(peer):
            peer.sendall(b"still yours")
            assert made[0].recv(100) == b"still yours"
        pool.release(made[0])
        pool.close()


FORKS_INSIDE_CONNECT = r"""
import os, socket
from forksafe_pool import Pool

pids = []

def serve(listener):
    def connect():
        # The listener, which this function closes over, is none of the pool's sockets.
        sock = socket.create_connection(listener.getsockname())
        if not pids:
            pids.append(os.fork())
        return sock

    with Pool(connect) as pool, pool.connection() as conn:
        os.write(1, f"{conn.getsockname()[1]}\n".encode())
    if pids[0]:
        os.waitpid(pids[0], 0)

with socket.create_server(("127.0.0.1", 0)) as listener:
    serve(listener)
"""


def test_a_child_that_comes_out_of_connect_gets_a_connection_of_its_own() -> None:
    """A greenlet does, or a connect that forks: what it made is the parent's as well."""
    ports = run_program(FORKS_INSIDE_CONNECT).split()
    assert len(set(ports)) == 2


def test_a_connection_that_is_being_closed_is_severed(fork: Callable[[], int]) -> None:
    """Its driver may be in the middle of saying goodbye."""
    under_way, proceed = threading.Event(), threading.Event()

    def close(sock: socket.socket) -> None:
        under_way.set()
        assert proceed.wait(LIMIT)
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = open_sockets()
        pool = Pool(lambda: socket.create_connection(listener.getsockname()), close=close)
        conn = pool.acquire()
        ours = open_sockets() - before
        thread = threading.Thread(target=pool.discard, args=(conn,))
        thread.start()
        assert under_way.wait(LIMIT)

        def child() -> set[str]:
            pool.stats()
            return open_sockets() & ours

        assert in_child(child, fork, LIMIT) == set()
        proceed.set()
        thread.join(LIMIT)
        assert pool.stats().total == 0
