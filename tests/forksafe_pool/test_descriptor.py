"""A connection's descriptor is touched only where it leads to what the pool knows."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool._fork.descriptor import Descriptor, find_descriptor, is_closed, owns_descriptor
from forksafe_pool._fork.sever import DeadEnd, sever
from forksafe_pool._handlers import raised_by_handler

Pair = tuple[socket.socket, socket.socket]


def connected() -> socket.socket:
    """Whose other end is closed, which is nothing to us."""
    ours, peer = socket.socketpair()
    peer.close()
    return ours


class InC:
    """As a driver in C: it shows a number, and no socket."""

    def __init__(self) -> None:
        self.number = connected().detach()
        self.open = True

    def fileno(self) -> int:
        return self.number

    def close(self) -> None:
        self.open = False
        os.close(self.number)


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, peer = socket.socketpair()
    with closing(ours), closing(peer):
        yield ours, peer


@pytest.fixture
def somebody() -> Iterator[int]:
    number = os.open(os.devnull, os.O_RDONLY)
    yield number
    os.close(number)


def noted(conn: Any) -> Descriptor:
    end = Descriptor()
    end.record(find_descriptor(conn), conn)
    return end


def lose(number: int, somebody: int | None = None) -> None:
    """Close it behind the connection's back; now it is somebody else's."""
    if somebody is None:
        os.close(number)
    else:
        os.dup2(somebody, number)


def test_what_leads_where_it_did_is_intact(pair: Pair) -> None:
    ours, _ = pair
    assert owns_descriptor(ours, find_descriptor, noted(ours))
    assert owns_descriptor(SimpleNamespace(_sock=ours), find_descriptor, Descriptor())


@pytest.mark.parametrize("wrapped", ["", "sock", "_sock"])
@pytest.mark.parametrize("taken", [True, False])
def test_a_python_socket_forgets_a_number_that_is_not_its_own(
    pair: Pair, somebody: int, wrapped: str, taken: bool
) -> None:
    ours, _ = pair
    conn = SimpleNamespace(**{wrapped: ours}) if wrapped else ours
    end, number = noted(conn), ours.fileno()
    lose(number, somebody if taken else None)
    assert not owns_descriptor(conn, find_descriptor, end)
    with DeadEnd() as dead_end:
        assert sever(conn, find_descriptor, dead_end, end)
    assert ours.fileno() == -1
    if taken:
        assert os.readlink(f"/proc/self/fd/{number}") == os.devnull
        os.close(number)


def test_what_a_driver_in_c_has_lost_to_somebody_is_to_be_kept(somebody: int) -> None:
    conn = InC()
    end = noted(conn)
    lose(conn.number, somebody)
    with DeadEnd() as dead_end:
        assert not sever(conn, find_descriptor, dead_end, end)
    assert os.readlink(f"/proc/self/fd/{conn.number}") == os.devnull
    os.close(conn.number)


def test_a_number_that_is_free_is_taken_for_a_driver_in_c_to_close() -> None:
    conn = InC()
    end = noted(conn)
    lose(conn.number)
    with DeadEnd() as dead_end:
        assert sever(conn, find_descriptor, dead_end, end)
        assert sever(conn, find_descriptor, dead_end, end)  # again
    assert owns_descriptor(conn, find_descriptor, end)
    assert os.read(conn.number, 1) == b""
    conn.close()


@pytest.mark.parametrize("closes", [True, False])
def test_a_number_that_was_taken_for_it_is_closed_in_the_end(closes: bool) -> None:
    """A driver that has closed it itself goes on telling it, as mysqlclient does."""
    conns: list[InC] = []

    def connect() -> InC:
        conns.append(InC())
        return conns[-1]

    close = None if closes else (lambda _: None)
    with Pool(connect, close=close) as pool:
        conn = pool.acquire()
        lose(conn.number)
        pool.discard(conn)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(conn.number)


def test_what_has_connected_anew_by_itself_is_intact(pair: Pair) -> None:
    conn = SimpleNamespace(sock=connected())
    end, number = noted(conn), conn.sock.fileno()
    conn.sock.close()
    conn.sock = connected()
    assert conn.sock.fileno() == number
    assert owns_descriptor(conn, find_descriptor, end)
    conn.sock.close()


def test_what_needs_a_callback_and_connects_anew_is_intact() -> None:
    def fileno(conn: Any) -> int:
        return int(conn.transport.inner.fileno())

    conn = SimpleNamespace(transport=SimpleNamespace(inner=connected()))
    end = Descriptor()
    end.record(fileno(conn), conn)
    number = fileno(conn)
    conn.transport.inner.close()
    conn.transport.inner = connected()
    assert fileno(conn) == number
    assert owns_descriptor(conn, fileno, end)
    conn.transport.inner.close()


def test_what_was_never_noted_is_judged_by_its_kind(pair: Pair, somebody: int) -> None:
    ours, _ = pair
    listener = socket.create_server(("127.0.0.1", 0))
    other = socket.socket(type=socket.SOCK_DGRAM)
    for number in (listener.fileno(), other.fileno(), somebody):
        os.dup2(number, ours.fileno())
        assert not owns_descriptor(ours, find_descriptor, Descriptor())
    listener.close()
    other.close()


def test_what_shows_nothing_is_not_to_be_known() -> None:
    assert owns_descriptor(object(), find_descriptor, Descriptor())


def test_what_connects_late_is_noted_when_it_comes_back(somebody: int) -> None:
    class Lazy:
        sock: socket.socket | None = None

        def close(self) -> None:
            if self.sock is not None:
                self.sock.close()

    with Pool(Lazy) as pool:
        with pool.connection() as conn:  # not used yet
            pass
        with pool.connection() as conn:
            conn.sock = connected()
        assert pool.acquire() is conn
        pool.release(conn)
        number = conn.sock.fileno()
        other = connected()
        lose(number, other.fileno())
        pool._ledger.available[0].fresh_until = 0.0
        with pool.connection() as conn:
            assert conn.sock is None
        assert os.fstat(number).st_ino == os.fstat(other.fileno()).st_ino
    os.close(number)
    other.close()


def test_a_driver_that_cannot_tell_just_now_is_believed_by_what_was_noted() -> None:
    conn = InC()
    end = noted(conn)

    def fileno(_: object) -> int:
        raise RuntimeError("another thread is inside the driver")

    with DeadEnd() as dead_end:
        assert sever(conn, fileno, dead_end, end)
    assert os.read(conn.number, 1) == b""
    conn.close()
    assert owns_descriptor(conn, fileno, end)  # closed


def test_what_says_that_it_is_closed() -> None:
    assert is_closed(SimpleNamespace(open=0))
    assert is_closed(SimpleNamespace(closed=2))
    assert not is_closed(SimpleNamespace(open=1, closed=0))


def test_whose_exception_it_is() -> None:
    class Handler:
        def __call__(self, *_: object) -> None:
            raise ValueError("of the handler")

    previous = signal.signal(signal.SIGUSR1, Handler())
    try:
        with pytest.raises(ValueError, match="of the handler") as caught:
            signal.raise_signal(signal.SIGUSR1)
        assert raised_by_handler(caught.value)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert not raised_by_handler(ValueError())
