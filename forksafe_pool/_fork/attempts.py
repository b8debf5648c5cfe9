"""Sockets of running ``connect`` calls.

Until ``connect`` returns, only the driver knows its socket, and may keep it anywhere: in a
variable, an attribute, a closure. So each socket that is opened inside ``connect`` is recorded
when it is made. A child, of whatever kind of fork, has the record in its memory.
"""

from __future__ import annotations

import _socket
import contextlib
import functools
import socket
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar

from forksafe_pool._fork.descriptor import Descriptor, find_descriptor
from forksafe_pool._fork.sentinel import Sentinel
from forksafe_pool._fork.sever import DeadEnd, sever

T = TypeVar("T")


class Attempt:
    """One call of ``connect``: the sockets it has opened so far, and what it has returned."""

    __slots__ = ("alive", "descriptors", "made", "sockets", "thread")

    def __init__(self, alive: Sentinel) -> None:
        #: A thread of a child may go on with it: what it opens there is its own.
        self.alive = alive
        # By its module: gevent patches it there, and tells greenlets apart.
        self.thread = threading.get_ident()
        self.sockets: list[Any] = []
        #: Where each of them leads, by id().
        self.descriptors: dict[int, Descriptor] = {}
        self.made: object = None


class Making(dict[int, Attempt]):
    """The attempts of one ledger that are under way, by id()."""

    def __init__(self, alive: Sentinel) -> None:
        super().__init__()
        self.alive = alive


#: The attempts of all pools that are under way, by id().
_under_way: dict[int, Attempt] = {}


def tracked(making: Making, make: Callable[[], T], keep: Callable[[T], object] | None = None) -> T:
    """Return ``make()``, once ``keep`` knows it; meanwhile ``making`` has what it opens."""
    _record_sockets()
    attempt = Attempt(making.alive)
    try:
        making[id(attempt)] = _under_way[id(attempt)] = attempt
        made = attempt.made = make()
        if keep is not None:
            keep(made)
        return made
    finally:
        try:
            _forget(making, attempt)
        finally:  # where an exception of a signal's has struck, it would record for ever
            _forget(making, attempt)


def sever_attempt(
    making: Making, attempt: Attempt, dead_end: DeadEnd, descriptors: dict[int, Descriptor]
) -> list[Any]:
    """Sever what it has opened, and forget it. Returns the sockets, for the caller to free; where
    each leads by then is in ``descriptors``."""
    severed = []
    for sock in list(attempt.sockets):
        with contextlib.suppress(Exception):  # a fork struck while the socket was being made
            # A socket for datagrams is nobody's connection, but a resolver's, or a log's.
            if sock.type != socket.SOCK_DGRAM:
                known = attempt.descriptors.get(id(sock), Descriptor())
                descriptor = descriptors.setdefault(id(sock), known)
                if sever(sock, find_descriptor, dead_end, descriptor):
                    severed.append(sock)
    _forget(making, attempt)
    return severed


def _forget(making: Making, attempt: Attempt) -> None:
    making.pop(id(attempt), None)
    _under_way.pop(id(attempt), None)


def _record_sockets() -> None:
    """Have every class of sockets record: what ``socket.socket`` is just now, gevent's for example,
    and the standard library's, which a driver may have imported before it was patched."""
    classes: list[Any] = [socket.socket, *_socket.socket.__subclasses__()]
    for cls in classes:
        # A test may have replaced it.
        if isinstance(cls, type) and not hasattr(cls.__init__, "_forksafe_records"):  # type: ignore[misc]
            _have_record(cls)


def _have_record(cls: Any) -> None:
    owner = next(base for base in cls.__mro__ if "__init__" in vars(base))
    if not isinstance(owner.__init__, FunctionType):
        if cls is not socket.socket:
            return  # the base class of gevent's sockets
        owner = cls
    initialize: Callable[..., None] = owner.__init__

    @functools.wraps(initialize)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        attempts = _record(self) if _under_way else ()
        initialize(self, *args, **kwargs)
        for attempt in attempts:
            _record_descriptor(attempt, self)

    __init__._forksafe_records = True  # type: ignore[attr-defined]
    with contextlib.suppress(TypeError, AttributeError):  # cannot be changed
        owner.__init__ = __init__


def _record(sock: object) -> list[Attempt]:
    """Before it has a descriptor: no moment is left at which a fork would find an open socket that
    is not recorded. (Strongly: a child frees what dead threads held.)"""
    thread = threading.get_ident()
    attempts = []
    for attempt in list(_under_way.values()):
        # Once, where a class and its base both record.
        if attempt.thread == thread and attempt.alive and sock not in attempt.sockets[-1:]:
            attempt.sockets.append(sock)
            attempts.append(attempt)
    return attempts


def _record_descriptor(attempt: Attempt, sock: Any) -> None:
    descriptor = Descriptor()
    with contextlib.suppress(AttributeError):  # a stand-in that has no number
        descriptor.record(sock.fileno(), sock)
        attempt.descriptors[id(sock)] = descriptor
