"""Sever an inherited connection without sending a byte.

The descriptor is made to lead to a dead socket: the driver that still holds it reads end-of-file
and writes ``EPIPE``, so its own ``close()`` and finalizer can say no goodbye to the parent's
server. The kernel drops this process's reference to the parent's socket at once.

A descriptor is touched only where it leads to what the pool knows: see `descriptor.py`. A daemon
closes all descriptors and opens files of its own with the same numbers: a connection that has lost
its own is forgotten instead.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any

from forksafe_pool._fork.descriptor import Descriptor, Identity, Lost, find_socket, identify, locate
from forksafe_pool._handlers import raised_by_handler

try:
    import fcntl
except ImportError:  # not POSIX: there is no fork either
    fcntl = None  # type: ignore[assignment]

#: Connections whose descriptor cannot be reached. To free one would run the driver's goodbye.
_kept: list[object] = []

# To write to a closed stream raises SIGPIPE too. Python ignores it, but not in the child that
# subprocess calls a preexec_fn in, nor where it is embedded. Linux raises none for packets.
_KIND = socket.SOCK_SEQPACKET if sys.platform.startswith("linux") else socket.SOCK_STREAM

# How often a signal's handler may interrupt the severing of one connection.
_ATTEMPTS = 8


class DeadEnd:
    """A socket whose other end is closed. Opened on first use: most processes need none."""

    def __init__(self) -> None:
        self._number = -1
        self._socket: socket.socket | None = None
        self.identity: Identity | None = None

    def replace(self, number: int, descriptor: Descriptor | None = None) -> bool:
        """Make the descriptor ``number`` lead here instead of to wherever it led. Raises OSError.

        False where no descriptor was left and another thread has taken this very number.
        """
        if not self._open():
            # No descriptor is left for a placeholder: free this number for an instant and reuse it.
            os.close(number)
            return self.claim(number, descriptor)
        if descriptor is not None:
            descriptor.dead = self.identity  # before: an exception may strike when it is done
        os.dup2(self._number, number, inheritable=False)
        return True

    def claim(self, number: int, descriptor: Descriptor | None = None) -> bool:
        """Have a number that is free lead here; False where somebody else has it by now."""
        if self._number < 0:
            try:
                self._hold(_lone_socket())
            except OSError:
                return False
            if self._socket is not None and self._number == number:
                self._socket.detach()  # from now on the connection's
                self._socket = None
        if self._number != number:
            try:
                claimed = fcntl.fcntl(self._number, fcntl.F_DUPFD_CLOEXEC, number)
            except (OSError, AttributeError):  # or not POSIX
                return False
            if claimed != number:
                os.close(claimed)
                return False
        if descriptor is not None:
            descriptor.dead = self.identity
        return True

    def _open(self) -> bool:
        """Whether there is a descriptor to copy, after opening it where it can be opened."""
        if self._number < 0:
            try:
                kept, other = socket.socketpair(type=_KIND)
                other.close()
            except OSError:
                try:
                    kept = _lone_socket()
                except OSError:  # no descriptor is left
                    return False
            self._hold(kept)
        return True

    def _hold(self, sock: socket.socket) -> None:
        self._socket = sock
        self.identity = identify(sock.fileno())
        self._number = sock.fileno()

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


def _lone_socket() -> socket.socket:
    """A dead end that takes one descriptor: it reads end-of-file and refuses to write."""
    sock = socket.socket(getattr(socket, "AF_UNIX", socket.AF_INET), socket.SOCK_DGRAM)
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    return sock


def sever(
    conn: Any, fileno: Callable[[Any], int], dead_end: DeadEnd, descriptor: Descriptor | None = None
) -> bool:
    """Sever ``conn``, or forget its descriptor where that is somebody else's by now.

    False where it must be kept for ever: a driver in C has lost its descriptor, or shows none.
    Idempotent. May run inside an at-fork callback.

    What a signal's handler raises here reaches the caller when ``conn`` is severed.
    """
    descriptor = Descriptor() if descriptor is None else descriptor
    struck: Exception | None = None
    failures = 0
    for _ in range(_ATTEMPTS):
        try:
            with _pinned(conn):
                severed = _sever(conn, fileno, dead_end, descriptor)
            break
        except Exception as error:
            if raised_by_handler(error):
                struck = error
                continue
            failures += 1
            if failures == 2:  # the first may be an exception that another thread has set
                severed = False
                break
    else:
        severed = False
    if struck is not None:
        raise struck
    return severed


def _sever(
    conn: Any, fileno: Callable[[Any], int], dead_end: DeadEnd, descriptor: Descriptor
) -> bool:
    try:
        number = locate(conn, fileno, descriptor)
        if number < 0 or descriptor.is_dead(number) or dead_end.replace(number, descriptor):
            return True
    except Lost as lost:
        number = lost.number
    sock = descriptor.socket(conn)
    if sock is not None:
        # Not closed. The memory of TLS has the number as well.
        if getattr(sock, "_sslobj", None) is not None:
            sock._sslobj = None
        sock.detach()
        return True
    if identify(number) is None and dead_end.claim(number, descriptor):
        descriptor.is_claimed = True
        return True
    return False


class own_errors_suppressed:  # noqa: N801 - as contextlib.suppress
    """Suppresses what the block raises, and not what a signal's handler raises in it."""

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return isinstance(error, Exception) and not raised_by_handler(error)


def give_up_claim(descriptor: Descriptor) -> None:
    """After a close: a driver that had closed its descriptor itself has not closed ours."""
    at = descriptor.at
    if descriptor.is_claimed and at is not None and descriptor.is_dead(at.number):
        descriptor.is_claimed = False
        os.close(at.number)


def _pinned(conn: Any) -> contextlib.AbstractContextManager[object]:
    """Keep the number from becoming another file's: a Python socket's ``close()`` by another thread
    closes no descriptor before this ends. A driver in C has nothing of the kind."""
    sock = find_socket(conn)
    return sock.makefile("rb", 0) if hasattr(sock, "makefile") else contextlib.nullcontext()


def keep_for_ever(conn: object) -> None:
    """Keep ``conn`` from being freed, even by the interpreter's exit."""
    if not any(kept is conn for kept in list(_kept)):
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


def is_readable(number: int) -> bool:
    """Whether a read would not block: data or end-of-file is there."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([number], [], [], 0)[0])
