"""The sockets of connections that are in the middle of being made."""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import forksafe_pool
from forksafe_pool import Pool
from forksafe_pool._fork import attempts
from tests.forks.test_signal_handlers import interrupted_at
from tests.forksafe_pool.fakes import Connections, pretend_fork
from tests.forksafe_pool.threads import LIMIT, Caller
from tests.support.forks import c_fork, in_child, open_descriptors, open_sockets, os_fork


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


def recorded(pool: Pool[Any]) -> list[socket.socket]:
    return [sock for attempt in pool._ledger.making.values() for sock in attempt.sockets]


def test_a_socket_is_recorded_while_connect_runs_and_not_after(connecting: Connecting) -> None:
    assert recorded(connecting.pool) == connecting.sockets
    (attempt,) = connecting.pool._ledger.making
    assert attempt in attempts._under_way
    assert connecting.finish() is connecting.sockets[0]
    assert not connecting.pool._ledger.making
    assert attempt not in attempts._under_way


def test_what_was_recorded_is_severed_and_freed_later() -> None:
    connecting = Connecting()
    inode = connecting.inode()
    pretend_fork(connecting.pool)
    assert connecting.pool.stats().total == 0
    assert connecting.inode() != inode
    assert connecting.sockets[0].recv(1) == b""
    assert connecting.pool._ledger.half_made == connecting.sockets
    with closing(connecting.pool.acquire()):
        assert not connecting.pool._ledger.half_made
        assert connecting.sockets[0].fileno() == -1
    connecting.leave.set()
    with closing(connecting.caller.result()) as conn:  # it begins anew; no child has that thread
        assert conn is not connecting.sockets[0]


def test_a_real_child_severs_it_and_the_parent_does_not(connecting: Connecting) -> None:
    inode = connecting.inode()
    assert inode in open_sockets()
    assert inode not in in_child(open_sockets)
    assert connecting.inode() == inode
    assert connecting.finish() is connecting.sockets[0]
    assert connecting.inode() == inode


def test_a_thread_that_failed_to_connect_is_not_named() -> None:
    def connect() -> object:
        raise OSError("refused")

    pool = Pool(connect)
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    assert not pool._ledger.making


def test_what_other_threads_open_meanwhile_is_their_own(connecting: Connecting) -> None:
    with closing(socket.socket()), closing(Caller(socket.socket).result()):
        assert recorded(connecting.pool) == connecting.sockets


def test_what_connect_was_given_is_not_recorded() -> None:
    found: list[socket.socket] = []

    with closing(socket.socket()) as given:

        def connect() -> socket.socket:
            found.extend(recorded(pool))
            return given

        pool = Pool(connect)
        pool.acquire()
    assert found == []


def test_what_connect_has_closed_is_not_severed_by_its_old_number() -> None:
    entered, leave = threading.Event(), threading.Event()
    read, write = os.pipe()

    def connect() -> socket.socket:
        with closing(socket.socket()) as tried:
            number = tried.fileno()
        os.dup2(write, number)
        entered.set()
        assert leave.wait(LIMIT)
        os.close(number)
        return socket.socket()

    pool = Pool(connect)
    caller = Caller(pool.acquire)
    assert entered.wait(LIMIT)
    (tried,) = recorded(pool)
    assert tried.fileno() == -1
    inode = os.fstat(write).st_ino

    def child() -> int:
        pool.stats()
        return sum(os.stat(f"/proc/self/fd/{fd}").st_ino == inode for fd in open_descriptors())

    ours = child()
    for fork in (os_fork, c_fork):
        assert in_child(child, fork) == ours  # the child's own pipe is another one
    leave.set()
    caller.result().close()
    os.close(read)
    os.close(write)


def test_a_socket_for_datagrams_is_left_alone() -> None:
    """A resolver's, or a client's of statistics that connect has used for the first time."""
    shared: list[socket.socket] = []
    entered, leave = threading.Event(), threading.Event()

    def connect() -> socket.socket:
        shared.append(socket.socket(type=socket.SOCK_DGRAM))
        entered.set()
        assert leave.wait(LIMIT)
        return socket.socket()

    pool = Pool(connect)
    caller = Caller(pool.acquire)
    assert entered.wait(LIMIT)
    with closing(shared[0]):
        inode = os.fstat(shared[0].fileno()).st_ino
        assert in_child(lambda: os.fstat(shared[0].fileno()).st_ino) == inode
        leave.set()
        caller.result().close()


def test_a_connect_that_uses_another_pool_is_recorded_in_both() -> None:
    found: list[list[int]] = []

    def connect_inner() -> socket.socket:
        sock = socket.socket()
        found.append([len(recorded(outer)), len(recorded(inner))])
        return sock

    def connect_outer() -> socket.socket:
        with inner.connection():
            pass
        sock = socket.socket()
        found.append([len(recorded(outer)), len(recorded(inner))])
        return sock

    inner, outer = Pool(connect_inner), Pool(connect_outer)
    with closing(outer.acquire()):
        assert found == [[1, 1], [2, 0]]
    inner.close()


class Guarded(socket.socket):
    """As pytest-socket's: without an ``__init__`` of its own."""


class Initialized(socket.socket):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)


class FromC(_socket.socket):
    """Without any in Python."""


@pytest.mark.parametrize("cls", [Guarded, Initialized, FromC])
def test_whatever_socket_socket_is_just_now_records(
    monkeypatch: pytest.MonkeyPatch, cls: Any
) -> None:
    usual = socket.socket
    found: list[int] = []

    def connect() -> Any:
        made = [socket.socket(), usual()]
        found.append(len(recorded(pool)))
        made.pop().close()
        return made.pop()

    monkeypatch.setattr(socket, "socket", cls)
    pool: Pool[Any] = Pool(connect)
    for _ in range(2):
        pool.discard(pool.acquire())
    assert found == [2, 2]


def test_what_a_test_puts_in_the_place_of_the_class_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for stand_in in (mock.MagicMock(), lambda: None, int):
        monkeypatch.setattr(socket, "socket", stand_in)
        attempts._record_sockets()
        assert socket.socket is stand_in


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


def is_a_try(where: str) -> bool:
    """A debugger stops there, but no signal is delivered: it is no instruction."""
    name, _, line = where.partition(":")
    (path,) = Path(forksafe_pool.__file__).parent.rglob(name)
    source = path.read_text().splitlines()
    return source[int(line) - 1].strip() == "try:"


def test_an_exception_that_strikes_at_the_end_leaves_nothing_that_records(
    connections: Connections,
) -> None:
    """It would keep every socket that the thread opens later."""

    def strike() -> None:
        raise KeyboardInterrupt

    def strike_everywhere() -> int:
        line = 0
        where = ["the start"]
        while where:
            line += 1
            pool = Pool(connections)
            with contextlib.suppress(KeyboardInterrupt), interrupted_at(line, strike) as where:
                pool.acquire()
            if where and is_a_try(where[0]):
                attempts._under_way.clear()
                continue
            assert not attempts._under_way, where
            assert not pool._ledger.making, where
        return line

    # In a child: one that strikes inside of an "except" leaves that exception handled for ever.
    assert in_child(strike_everywhere) > 30


def test_a_number_that_a_child_gave_to_a_socket_of_its_own_is_left_alone(
    connecting: Connecting,
) -> None:
    """A daemon that has closed all descriptors does."""
    number = connecting.sockets[0].fileno()

    def child() -> bool:
        os.close(number)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            own = socket.create_connection(listener.getsockname())
            os.dup2(own.fileno(), number)
            inode = os.fstat(number).st_ino
            connecting.pool.stats()
            connecting.pool.acquire()
            return os.fstat(number).st_ino == inode

    assert in_child(child, c_fork)
