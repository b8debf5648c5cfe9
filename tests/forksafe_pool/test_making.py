"""The sockets of connections that are in the middle of being made."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from forksafe_pool import Pool, _making, _registry
from tests.forksafe_pool.fakes import pretend_fork
from tests.forksafe_pool.threads import LIMIT, Caller
from tests.support.forks import c_fork, in_child, open_sockets, os_fork


class Connecting:
    """A thread that is connecting a pool, until it is let go on."""

    def __init__(self) -> None:
        self.pool: Pool[socket.socket] = Pool(self.connect)
        self.sockets: list[socket.socket] = []
        self.entered, self.leave = threading.Event(), threading.Event()
        self.caller = Caller(self.pool.acquire)
        assert self.entered.wait(LIMIT)

    def connect(self) -> socket.socket:
        sock = socket.socket()
        self.handshake(sock)
        return sock

    def handshake(self, sock: socket.socket) -> None:
        if not self.entered.is_set():
            self.sockets.append(sock)
            self.entered.set()
            assert self.leave.wait(LIMIT)

    def inode(self) -> str:
        return f"socket:[{os.fstat(self.sockets[0].fileno()).st_ino}]"

    def finish(self) -> socket.socket:
        self.leave.set()
        return self.caller.result()


@pytest.fixture
def connecting() -> Iterator[Connecting]:
    connecting = Connecting()
    yield connecting
    connecting.leave.set()
    with closing(connecting.caller.result()), closing(connecting.sockets[0]):
        connecting.pool.close(timeout=0)


def test_a_socket_is_found_while_connect_holds_it_and_not_after(connecting: Connecting) -> None:
    making = connecting.pool._ledger.making
    assert len(making) == 1
    assert set(_making.sockets(making)) == set(connecting.sockets)
    assert connecting.finish() is connecting.sockets[0]
    assert not making
    assert not _making.sockets(making)


def test_a_child_severs_what_was_noted_before_the_fork(connecting: Connecting) -> None:
    inode = connecting.inode()
    _registry._before_fork()
    pretend_fork(connecting.pool)
    assert connecting.pool.stats().total == 0
    assert connecting.inode() != inode
    assert connecting.sockets[0].recv(1) == b""


def test_a_real_child_severs_it_and_the_parent_does_not(connecting: Connecting) -> None:
    inode = connecting.inode()
    assert inode in open_sockets()
    assert inode not in in_child(open_sockets)
    assert connecting.inode() == inode
    assert not connecting.pool._ledger.half_made
    assert connecting.finish() is connecting.sockets[0]
    assert connecting.inode() == inode


def test_a_thread_that_failed_to_connect_is_not_named() -> None:
    def connect() -> object:
        raise OSError("refused")

    pool = Pool(connect)
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    assert not pool._ledger.making


def test_the_sockets_of_a_thread_that_is_not_connecting_are_its_own() -> None:
    """In a child, a new thread may have the ident of one that was connecting and is gone."""
    entered, leave = threading.Event(), threading.Event()
    ident: list[int] = []

    def work() -> None:
        with closing(socket.socket()) as sock:
            ident.append(threading.get_ident())
            entered.set()
            assert leave.wait(LIMIT)
            assert sock.fileno() >= 0

    worker = Caller(work)
    assert entered.wait(LIMIT)
    found = _making.sockets(ident)
    leave.set()
    worker.result()
    assert found == []


def test_a_thread_that_is_gone_has_no_sockets() -> None:
    assert _making.sockets([Caller(threading.get_ident).result()]) == []


@pytest.mark.parametrize("fork", [os_fork, c_fork])
def test_a_thread_of_the_child_keeps_its_sockets(
    connecting: Connecting, fork: Callable[[], int]
) -> None:
    """It has the ident and the stack of the thread that was connecting and is gone."""

    def child() -> bytes:
        opened, noticed = threading.Event(), threading.Event()

        def work() -> bytes:
            ours, theirs = socket.socketpair()
            with ours, theirs:
                opened.set()
                assert noticed.wait(LIMIT)
                ours.settimeout(LIMIT)
                theirs.send(b"alive")
                return ours.recv(5)

        worker = Caller(work)
        assert opened.wait(LIMIT)
        connecting.pool.stats()
        noticed.set()
        return worker.result()

    assert in_child(child, fork) == b"alive"
