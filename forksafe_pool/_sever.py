"""Cut an inherited connection off, without one byte on the wire.

The descriptor is made to lead to a dead socket: the driver that still holds it reads end-of-file
and writes ``EPIPE``, so its own ``close()`` and finalizer can say no goodbye to the parent's
server. The kernel drops this process's reference to the parent's socket at once.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import select
import socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

#: Connections whose descriptor cannot be reached. To free one would run the driver's goodbye.
_kept: list[object] = []


def find_descriptor(conn: Any) -> int:
    """The descriptor of ``conn``: ``conn.fileno()``, ``conn.sock`` and ``conn._sock`` are tried.

    Returns -1 where the connection is closed or not connected yet.
    Raises LookupError where none of the three is there.
    """
    noted, peer = getattr(conn, "_forksafe_end", (-1, None))
    if noted >= 0 and _peer(noted) == peer:
        return int(noted)
    fileno = getattr(conn, "fileno", None)
    if callable(fileno):
        number = int(fileno())
        return -1 if number == noted else number
    for name in ("sock", "_sock"):
        if hasattr(conn, name):
            sock = getattr(conn, name)
            return -1 if sock is None else int(sock.fileno())
    raise LookupError(f"no descriptor found on {type(conn).__name__}: give Pool a fileno=callable")


def is_closed(conn: Any) -> bool:
    """Whether it says so itself: a socket, or what has a ``closed`` as most drivers' have, or an
    ``open`` as PyMySQL's."""
    if isinstance(conn, socket.socket):
        return conn.fileno() < 0
    if getattr(conn, "open", None) is False:
        return True
    closed = getattr(conn, "closed", False)
    return closed is True or (type(closed) is int and closed != 0)


def note_end(conn: Any) -> None:
    """Remember where a C driver's connection leads: later its ``fileno()`` may not tell.

    mysqlclient's raises while another thread is inside the driver, and goes on telling the number
    of a descriptor that is closed, which may be somebody else's by then (measured with 2.3.1).
    """
    if isinstance(conn, socket.socket) or not inspect.isbuiltin(getattr(conn, "fileno", None)):
        return
    with contextlib.suppress(Exception):  # not connected yet, or not to be written to
        number = int(conn.fileno())
        conn._forksafe_end = (number, _peer(number))


def _peer(descriptor: int) -> object:
    """Whom a socket is connected to; None where it is none, or to nobody."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        return sock.getpeername()
    except OSError:
        return None
    finally:
        sock.detach()


# To write to a closed stream raises SIGPIPE too. Python ignores it, but not in the child that
# subprocess calls a preexec_fn in, nor where it is embedded. Linux raises none for packets.
_KIND = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_STREAM


class DeadEnd:
    """A socket whose other end is closed. Opened on first use: most processes need none."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def replace(self, descriptor: int) -> None:
        """Make ``descriptor`` lead here instead of to wherever it led. Raises OSError."""
        if self._socket is None:
            try:
                self._socket, other = socket.socketpair(type=_KIND)
            except OSError:  # no descriptor is left
                _close_and_replace(descriptor)
                return
            other.close()
        os.dup2(self._socket.fileno(), descriptor, inheritable=False)

    def __enter__(self) -> DeadEnd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()


def _close_and_replace(descriptor: int) -> None:
    """Its number must not become somebody else's file: whoever has the connection may close it."""
    os.close(descriptor)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    if null != descriptor:
        os.dup2(null, descriptor, inheritable=False)
        os.close(null)


def sever(conn: Any, fileno: Callable[[Any], int], dead_end: DeadEnd) -> bool:
    """Sever ``conn``. False where its descriptor cannot be reached."""
    try:
        with _pinned(conn):
            descriptor = fileno(conn)
            if descriptor >= 0:
                dead_end.replace(descriptor)
    except Exception:
        return False
    return True


def _pinned(conn: Any) -> contextlib.AbstractContextManager[object]:
    """Keep the number from becoming another file's: a Python socket's ``close()`` by another thread
    closes no descriptor before this ends. A driver in C has nothing of the kind."""
    with contextlib.suppress(Exception):
        for sock in (conn, getattr(conn, "sock", None), getattr(conn, "_sock", None)):
            if isinstance(sock, socket.socket):
                return sock.makefile("rb", 0)
    return contextlib.nullcontext()


def keep_for_ever(conn: object) -> None:
    """Keep ``conn`` from being freed, even by the interpreter's exit."""
    _kept.append(conn)


@atexit.register
def _keep_through_exit() -> None:
    # The exit would free the list. Not done earlier: an import may wait for a lock that came
    # through the fork.
    with contextlib.suppress(ImportError):
        if _kept:
            import ctypes

            for conn in _kept:
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(conn))


def is_readable(descriptor: int) -> bool:
    """Whether a read would not block: data or end-of-file is there."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([descriptor], [], [], 0)[0])
