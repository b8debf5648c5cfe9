"""Connections in the middle of being made.

Until ``connect`` returns, nothing refers to its socket but the local variables of the frames that
are making it. A child has those threads' descriptors and not their threads: it could neither
finish such a connection nor ever close it.
"""

from __future__ import annotations

import inspect
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from types import CodeType
from typing import TypeVar

T = TypeVar("T")


def watched(
    making: dict[int, object], make: Callable[[], T], keep: Callable[[T], object] | None = None
) -> T:
    """Return ``make()``, once ``keep`` knows it; meanwhile ``making`` has it under this thread."""
    ident = threading.get_ident()
    making[ident] = None
    try:
        made = making[ident] = make()
        if keep is not None:
            keep(made)
        return made
    finally:
        making.pop(ident, None)


def sockets(threads: Iterable[int]) -> list[socket.socket]:
    """What the frames above `watched` have made, in each of ``threads``.

    Python-level sockets alone: what a C driver has open before it returns cannot be seen.
    """
    # Frames are not kept, and this is for the parent alone: in a child the frames of dead threads
    # refer to memory that is freed, or that the stack of a new thread covers.
    current = sys._current_frames()
    found: list[socket.socket] = []
    for ident in list(threads):
        frame = current.get(ident)
        held: list[socket.socket] = []
        while frame is not None and frame.f_code is not watched.__code__:
            values = frame.f_locals
            held += (
                values[name]
                for name in _own_variables(frame.f_code)
                if isinstance(values.get(name), socket.socket)
            )
            frame = frame.f_back
        if frame is not None:
            found += held
    return found


def _own_variables(code: CodeType) -> tuple[str, ...]:
    """The variables that the code itself assigns: an argument, or what it closes over, may be a
    socket that has nothing to do with the connection."""
    flags = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    arguments = code.co_argcount + code.co_kwonlyargcount + flags
    return code.co_varnames[arguments:]
