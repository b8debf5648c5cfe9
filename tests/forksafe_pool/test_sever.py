"""Cutting an inherited connection off: this process's copy goes dead, and nobody else's."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import forksafe_pool
from forksafe_pool._fork import sever as _sever
from forksafe_pool._fork.descriptor import find_descriptor
from forksafe_pool._fork.sever import DeadEnd, is_readable, keep_for_ever, sever
from tests.support.forks import in_child, open_sockets

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, peer = socket.socketpair()
    with closing(ours), closing(peer):
        yield ours, peer


# -- find_descriptor --------------------------------------------------------------------------


def test_the_descriptor_is_found_by_fileno_sock_or__sock(pair: Pair) -> None:
    ours, _ = pair
    assert find_descriptor(ours) == ours.fileno()
    assert find_descriptor(SimpleNamespace(fileno=lambda: 7)) == 7
    assert find_descriptor(SimpleNamespace(sock=ours)) == ours.fileno()
    assert find_descriptor(SimpleNamespace(_sock=ours)) == ours.fileno()


def test_fileno_goes_before_sock_and_sock_before__sock(pair: Pair) -> None:
    ours, peer = pair
    assert find_descriptor(SimpleNamespace(fileno=lambda: 7, sock=ours, _sock=peer)) == 7
    assert find_descriptor(SimpleNamespace(fileno=3, sock=ours, _sock=peer)) == ours.fileno()


def test_what_is_closed_or_not_connected_has_no_descriptor(pair: Pair) -> None:
    ours, _ = pair
    ours.close()
    assert find_descriptor(ours) == -1
    assert find_descriptor(SimpleNamespace(sock=None)) == -1
    assert find_descriptor(SimpleNamespace(_sock=None)) == -1
    assert find_descriptor(SimpleNamespace(_sock=ours)) == -1


def test_what_shows_no_descriptor_is_told() -> None:
    class Driver:
        pass

    with pytest.raises(LookupError, match="Driver: give Pool a fileno="):
        find_descriptor(Driver())


# -- DeadEnd ----------------------------------------------------------------------------------


def test_a_dead_end_reads_end_of_file_and_writes_epipe(pair: Pair) -> None:
    ours, _ = pair
    with DeadEnd() as dead_end:
        dead_end.replace(ours.fileno())
    ours.settimeout(5)
    assert ours.recv(1) == b""
    with pytest.raises(BrokenPipeError):
        ours.send(b"QUIT")


def test_the_peer_and_other_copies_notice_nothing(pair: Pair) -> None:
    ours, peer = pair
    with closing(ours.dup()) as parents:
        with DeadEnd() as dead_end:
            dead_end.replace(ours.fileno())
        with pytest.raises(BrokenPipeError):
            ours.send(b"QUIT")
        ours.close()
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
        parents.send(b"still here")
        assert peer.recv(100) == b"still here"


def test_the_last_copy_gone_the_peer_reads_end_of_file(pair: Pair) -> None:
    ours, peer = pair
    with DeadEnd() as dead_end:
        dead_end.replace(ours.fileno())
    peer.settimeout(5)
    assert peer.recv(1) == b""


def test_one_dead_end_serves_many_and_leaves_none_open() -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    before = open_sockets()
    with DeadEnd() as dead_end:
        assert open_sockets() == before  # opened on first use
        for ours, _ in pairs:
            dead_end.replace(ours.fileno())
            assert not os.get_inheritable(ours.fileno())
    assert len({os.fstat(ours.fileno()).st_ino for ours, _ in pairs}) == 1
    for ours, peer in pairs:
        ours.close()
        peer.close()
    assert open_sockets() < before


# -- sever ------------------------------------------------------------------------------------


def test_sever(pair: Pair) -> None:
    ours, _ = pair
    with DeadEnd() as dead_end:
        assert sever(ours, find_descriptor, dead_end) is True
    assert is_readable(ours.fileno())


@pytest.mark.parametrize("wrapped", ["", "sock", "_sock"])
def test_what_another_thread_closes_meanwhile_gives_nobody_its_number(
    pair: Pair, wrapped: str
) -> None:
    ours, _ = pair
    others: list[Pair] = []

    def fileno(_: object) -> int:
        number = ours.fileno()
        ours.close()  # by another thread, which connects anew
        others.append(socket.socketpair())
        return number

    with DeadEnd() as dead_end:
        assert sever(SimpleNamespace(**{wrapped: ours}) if wrapped else ours, fileno, dead_end)
    assert ours.fileno() == -1
    sender, receiver = others[0]
    with sender, receiver:
        sender.sendall(b"heard")
        assert receiver.recv(5) == b"heard"


def test_what_has_no_descriptor_just_now_is_severed(pair: Pair) -> None:
    with DeadEnd() as dead_end:
        assert sever(SimpleNamespace(sock=None), find_descriptor, dead_end) is True


def test_what_cannot_be_reached_is_not_severed_and_raises_nothing(pair: Pair) -> None:
    def fileno(_: object) -> int:
        raise OSError("the connection is closed")

    with DeadEnd() as dead_end:
        assert sever(object(), find_descriptor, dead_end) is False
        assert sever(object(), fileno, dead_end) is False
        assert sever(SimpleNamespace(fileno=lambda: "7x"), find_descriptor, dead_end) is False
        assert sever(SimpleNamespace(fileno=lambda: 10**9), find_descriptor, dead_end) is False


# -- keep_for_ever ----------------------------------------------------------------------------

PROGRAM = """
import sys
from forksafe_pool._fork.sever import keep_for_ever

class Connection:
    def __del__(self):
        sys.stdout.write("goodbye")

conn = Connection()
if sys.argv[1] == "kept":
    keep_for_ever(conn)
"""


@pytest.mark.parametrize(("kept", "said"), [("kept", ""), ("dropped", "goodbye")])
def test_what_is_kept_says_no_goodbye_even_at_exit(kept: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, kept],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(forksafe_pool.__file__).parents[1])},
    )
    assert done.stdout == said


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    kept: list[object] = []
    monkeypatch.setattr(_sever, "_kept", kept)
    return kept


def test_the_exit_gives_what_is_kept_one_reference_more(kept: list[object]) -> None:
    conn = object()
    keep_for_ever(conn)
    assert kept == [conn]
    before = sys.getrefcount(conn)
    _sever._keep_through_exit()
    assert sys.getrefcount(conn) == before + 1


def test_keeping_works_without_ctypes(kept: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctypes", None)
    conn = object()
    keep_for_ever(conn)
    _sever._keep_through_exit()
    assert kept == [conn]


# -- is_readable ------------------------------------------------------------------------------


@pytest.fixture(params=["poll", "select"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "select":
        monkeypatch.delattr(select, "poll")
    return request.param


@pytest.mark.usefixtures("how")
def test_data_and_end_of_file_are_readable(pair: Pair) -> None:
    ours, peer = pair
    assert not is_readable(ours.fileno())
    peer.send(b"x")
    assert is_readable(ours.fileno())
    ours.recv(1)
    assert not is_readable(ours.fileno())
    peer.close()
    assert is_readable(ours.fileno())


CHILD = """
import ctypes, os, sys
from forksafe_pool import Pool

class Connection:
    def __del__(self):
        os.write(1, b"goodbye of the parent, " if os.getpid() == parent else b"of the child, ")

parent = os.getpid()
pool = Pool(Connection)
idle, busy = pool.acquire(), pool.acquire()
pool.release(idle)
del idle
pid = os.fork() if sys.argv[1] == "os_fork" else ctypes.PyDLL(None).fork()
if pid:
    assert os.waitpid(pid, 0)[1] == 0
del busy
"""


@pytest.mark.parametrize("fork", ["os_fork", "c_fork"])
def test_a_child_that_ends_without_using_its_pool_says_no_goodbye(fork: str) -> None:
    """Not even for connections whose descriptor it cannot reach."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, fork],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(forksafe_pool.__file__).parents[1])},
    )
    assert done.stdout == "goodbye of the parent, " * 2
    assert done.stderr == ""


def test_where_no_descriptor_is_left_a_connection_is_cut_off_all_the_same(pair: Pair) -> None:
    ours, peer = pair
    others = [socket.dup(ours.fileno()) for _ in range(3)]

    def child() -> list[int]:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(others) + 1, hard))
        with contextlib.suppress(OSError):
            while True:
                os.open(os.devnull, os.O_RDONLY)
        cut_off = [ours.fileno(), *others[:2]]
        with DeadEnd() as dead_end:
            for descriptor in cut_off:
                assert sever(descriptor, int, dead_end)
        with pytest.raises(OSError):  # noqa: PT011 - it is no socket any more
            ours.sendall(b"from the child")
        return [len(os.read(descriptor, 1)) for descriptor in cut_off]

    assert in_child(child) == [0, 0, 0]
    for descriptor in others:
        os.close(descriptor)
    ours.sendall(b"from the parent")
    assert peer.recv(100) == b"from the parent"


@pytest.mark.skipif(sys.platform != "linux", reason="a dead end raises SIGPIPE elsewhere")
def test_writing_to_the_dead_end_kills_nobody(pair: Pair) -> None:
    """Where SIGPIPE is not ignored: in the child that subprocess calls a preexec_fn in."""
    ours, _ = pair

    def child() -> int:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        with DeadEnd() as dead_end:
            assert sever(ours, find_descriptor, dead_end)
        with pytest.raises(BrokenPipeError):
            ours.sendall(b"goodbye")
        with pytest.raises(BrokenPipeError):
            os.write(ours.fileno(), b"goodbye")
        return len(ours.recv(1))

    assert in_child(child) == 0


# -- what strikes in the middle ---------------------------------------------------------------


class OutOfTime(Exception):
    """What a signal's handler raises."""


@contextlib.contextmanager
def handler_that_raises() -> Iterator[None]:
    def handle(*_: object) -> None:
        raise OutOfTime

    previous = signal.signal(signal.SIGUSR1, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_what_a_signal_s_handler_raises_comes_when_it_is_severed(pair: Pair) -> None:
    ours, peer = pair
    asked: list[object] = []

    def fileno(conn: socket.socket) -> int:
        asked.append(conn)
        if len(asked) == 1:
            signal.raise_signal(signal.SIGUSR1)
        return conn.fileno()

    with handler_that_raises(), DeadEnd() as dead_end, pytest.raises(OutOfTime):
        sever(ours, fileno, dead_end)
    peer.settimeout(5)
    assert peer.recv(1) == b""
    assert ours.recv(1) == b""


def test_a_handler_that_raises_again_and_again_is_not_waited_for(pair: Pair) -> None:
    def fileno(_: object) -> int:
        signal.raise_signal(signal.SIGUSR1)
        return -1

    with handler_that_raises(), DeadEnd() as dead_end, pytest.raises(OutOfTime):
        sever(pair[0], fileno, dead_end)


# -- where no descriptor is left --------------------------------------------------------------


def fill_up(left: int, highest: int) -> None:
    """Have this process open whatever it may, but for so many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 4, hard))
    opened = []
    with contextlib.suppress(OSError):
        while True:
            opened.append(os.open(os.devnull, os.O_RDONLY))
    for number in opened[:left]:
        os.close(number)


def with_a_thread_that_takes_what_is_closed(function: Any) -> list[int]:
    """Call it; returns the numbers that "another thread" got, as soon as they were closed."""
    taken: list[int] = []
    close = os.close

    def close_and_lose(number: int) -> None:
        close(number)
        taken.append(os.open(os.devnull, os.O_RDONLY))

    _sever.os.close = close_and_lose  # type: ignore[attr-defined]
    try:
        function()
    finally:
        _sever.os.close = close  # type: ignore[attr-defined]
    return taken


def test_where_one_descriptor_is_left_the_number_is_never_free(pair: Pair) -> None:
    ours, _ = pair
    last = socket.dup(ours.fileno())

    def child() -> tuple[list[int], int]:
        fill_up(1, max(last, ours.fileno()))
        with DeadEnd() as dead_end:
            taken = with_a_thread_that_takes_what_is_closed(
                lambda: sever(ours, find_descriptor, dead_end)
            )
        return taken, len(ours.recv(1))

    assert in_child(child) == ([], 0)
    os.close(last)


def test_where_none_is_left_and_another_thread_gets_the_number_it_is_forgotten(pair: Pair) -> None:
    ours, _ = pair
    last = socket.dup(ours.fileno())
    number = ours.fileno()

    def child() -> tuple[bool, bool, str, int]:
        fill_up(0, max(last, number))
        severed = []
        with DeadEnd() as dead_end:
            taken = with_a_thread_that_takes_what_is_closed(
                lambda: severed.append(sever(ours, find_descriptor, dead_end))
            )
        os.close(last)  # to look with
        return severed[0], taken == [number], os.readlink(f"/proc/self/fd/{number}"), ours.fileno()

    assert in_child(child) == (True, True, os.devnull, -1)
    os.close(last)
