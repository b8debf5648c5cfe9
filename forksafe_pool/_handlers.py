"""Exceptions of signal handlers: raised anywhere, unrelated to the code they interrupt."""

from __future__ import annotations

import functools
import signal
from types import CodeType, FrameType, TracebackType
from typing import Any


def raised_by_handler(error: BaseException) -> bool:
    """Whether a signal handler raised ``error``, or what a library translated into it."""
    codes = _codes_of_handlers()
    # Nothing is translated more often than this.
    for _ in range(8):
        frames = _frames(error.__traceback__)
        if any(frame.f_code in codes for frame in frames):
            return True
        context = error.__context__
        # A frame that caught one and raised the other is in both tracebacks. Else the context is
        # what the caller was handling before, which is no part of this.
        if context is None or not set(_frames(context.__traceback__)[:1]).intersection(frames):
            return False
        error = context
    return False


def _codes_of_handlers() -> set[CodeType]:
    found: set[CodeType] = set()
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, functools.partial):
            handler = handler.func
        # A function, a method, or an object that can be called.
        for function in (handler, getattr(handler, "__call__", None)):  # noqa: B004
            code = getattr(function, "__code__", None)
            if isinstance(code, CodeType):
                found.add(code)
    return found


def _frames(traceback: TracebackType | None) -> list[FrameType]:
    found = []
    while traceback is not None:
        found.append(traceback.tb_frame)
        traceback = traceback.tb_next
    return found
