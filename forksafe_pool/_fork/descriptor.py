"""Where a connection's descriptor leads, and whether it still leads there.

A number alone proves nothing. What was closed behind the pool's back, by a daemon that closes all
descriptors for example, is soon another file's number. So the pool remembers what the number led
to when the connection was made, and asks ``fstat`` before anything is done to it.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import socket
import stat
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

from forksafe_pool._handlers import raised_by_handler

#: st_dev and st_ino: no two open sockets have the same.
Identity = tuple[int, int]


def identify(number: int) -> Identity | None:
    """What the descriptor ``number`` leads to; None where it is not open."""
    try:
        status = os.fstat(number)
    except (OSError, OverflowError):
        return None
    return status.st_dev, status.st_ino


class Lost(Exception):
    """A connection's descriptor was closed behind its back: the number may be anybody's."""

    def __init__(self, number: int) -> None:
        super().__init__(f"descriptor {number} does not lead to the connection any more")
        self.number = number


class _Recorded(NamedTuple):
    number: int
    identity: Identity
    #: The Python socket whose number it is; None for a driver in C.
    sock: weakref.ref[Any] | None


class Descriptor:
    """Where one connection's descriptor leads, as far as it is known."""

    __slots__ = ("at", "dead", "is_claimed")

    def __init__(self) -> None:
        #: None where it has not been seen connected.
        self.at: _Recorded | None = None
        #: The dead end that it was severed to.
        self.dead: Identity | None = None
        #: Whether its number was free, and was taken for it to close.
        self.is_claimed = False

    def record(self, number: int, conn: Any) -> None:
        """``conn`` has just been connected, by this descriptor."""
        identity = identify(number)
        if identity is None:
            return
        sock = find_socket(conn) or _search(conn, number)
        reference = None
        if sock is not None:
            with contextlib.suppress(TypeError):
                reference = weakref.ref(sock)
        self.dead = None
        self.at = _Recorded(number, identity, reference)  # at once: a fork may strike

    def clear(self) -> None:
        """Called before the connection connects again."""
        self.at = self.dead = None
        self.is_claimed = False

    def is_dead(self, number: int) -> bool:
        """Whether it is severed already."""
        return self.dead is not None and identify(number) == self.dead

    def socket(self, conn: Any) -> Any:
        """The Python socket of ``conn``; None for a driver in C."""
        sock = find_socket(conn)
        if sock is None and self.at is not None and self.at.sock is not None:
            sock = self.at.sock()
        return sock

    def _is_current(self, number: int, conn: Any) -> bool:
        """Whether the record is of this connection, and not of one that the client has replaced.

        Python clients that reconnect create a new socket object, often with the old number.
        """
        if self.at is None or self.at.number != number:
            return False
        if self.at.sock is None:
            return True
        recorded, current = self.at.sock(), find_socket(conn)
        if recorded is None or recorded.fileno() != number:
            return False
        return current is None or current is recorded


def locate(conn: Any, fileno: Callable[[Any], int], descriptor: Descriptor) -> int:
    """The descriptor of ``conn``, which leads where it should; -1 where there is none.

    Raises Lost where it does not, and what ``fileno`` raises where nothing is known.
    """
    try:
        number = fileno(conn)
        if type(number) is not int:
            raise TypeError(f"{number!r} is no descriptor")
    except Exception as error:
        # mysqlclient's does while another thread is inside the driver.
        if descriptor.at is None or raised_by_handler(error):
            raise
        number = -1 if is_closed(conn) else descriptor.at.number
    if number < 0:
        return -1
    if descriptor.is_dead(number):
        return number
    if descriptor._is_current(number, conn):
        found = identify(number)
        if descriptor.at is not None and found == descriptor.at.identity:
            return number
        raise Lost(number)
    # It connected after the pool looked.
    if not _may_be_of(number, find_socket(conn)):
        raise Lost(number)
    descriptor.record(number, conn)
    return number


def owns_descriptor(conn: Any, fileno: Callable[[Any], int], descriptor: Descriptor) -> bool:
    """Whether the descriptor of ``conn`` is its own, or not to be known."""
    try:
        locate(conn, fileno, descriptor)
    except Lost:
        return False
    except Exception as error:
        if raised_by_handler(error):
            raise
    return True


def _may_be_of(number: int, sock: Any) -> bool:
    """Whether an unrecorded descriptor may be a connection's, of a Python socket or not."""
    try:
        if not stat.S_ISSOCK(os.fstat(number).st_mode):
            return False
        found = socket.socket(fileno=number)
    except (OSError, OverflowError):
        return False
    try:
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return False
        return sock is None or (found.family, found.type) == (sock.family, sock.type)
    except OSError:
        return False
    finally:
        found.detach()


# -- what a connection shows ------------------------------------------------------------------


def find_descriptor(conn: Any) -> int:
    """The descriptor of ``conn``: ``conn.fileno()``, ``conn.sock`` and ``conn._sock`` are tried.

    Returns -1 where the connection is closed or not connected yet.
    Raises LookupError where none of the three is there.
    """
    fileno = getattr(conn, "fileno", None)
    if callable(fileno):
        return int(fileno())
    for name in ("sock", "_sock"):
        if hasattr(conn, name):
            sock = getattr(conn, name)
            return -1 if sock is None else int(sock.fileno())
    raise LookupError(f"no descriptor found on {type(conn).__name__}: give Pool a fileno=callable")


def find_socket(conn: Any) -> Any:
    """The Python socket that ``conn`` is, or has as ``sock`` or ``_sock``."""
    if _is_socket(conn):
        return conn
    for name in ("sock", "_sock"):
        try:
            found = getattr(conn, name, None)
        except Exception as error:
            if raised_by_handler(error):
                raise
            continue
        if _is_socket(found):
            return found
    return None


def _is_socket(value: Any) -> bool:
    # After monkey-patching, gevent's sockets are not instances of CPython's class.
    return isinstance(value, (_socket.socket, socket.socket))


def _search(conn: Any, number: int) -> Any:
    """The Python socket with this number in the attributes of ``conn`` and of what it has there.

    For connections that need a ``fileno`` callback: else it could not be told when they have
    connected anew.
    """
    values = list(getattr(conn, "__dict__", {}).values())
    for value in values:
        values_of = getattr(value, "__dict__", {}) if not isinstance(value, type) else {}
        for one in (value, *list(values_of.values())):
            if _is_socket(one) and one.fileno() == number:
                return one
    return None


def is_closed(conn: Any) -> bool:
    """Whether it says so itself: a socket, or what has a ``closed`` as most drivers' have, or an
    ``open`` as PyMySQL's and mysqlclient's."""
    if isinstance(conn, socket.socket):
        return conn.fileno() < 0
    opened = getattr(conn, "open", None)
    if type(opened) in (bool, int) and not opened:
        return True
    closed = getattr(conn, "closed", False)
    return closed is True or (type(closed) is int and closed != 0)
