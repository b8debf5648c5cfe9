"""Am I still the process that built this?

A *sentinel* answers for the process that made it: ``if sentinel:`` is true there and false in
every process forked from it, however the fork was made. A ledger keeps one, so that asking costs
one look at memory, from C, and no system call.

The kernel does the work where it can: a page marked ``MADV_WIPEONFORK`` (Linux 4.14 and later,
see madvise(2)) reads zero in a child even after a C-level ``fork()``, which runs no Python hook,
and in a new pid namespace, where the child may have its parent's pid. Elsewhere the at-fork hook
and the pid answer together.
"""

from __future__ import annotations

import mmap
import os
import sys
from typing import Protocol

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

# linux/mman.h; Python's mmap module has no name for it.
_MADV_WIPEONFORK = 18


class Sentinel(Protocol):
    """Its truth: in the process that made it true, in its children false."""

    #: The at-fork hook sets it to False.
    value: bool


class _PidSentinel:
    """The fallback: the pid, until the at-fork hook makes it void."""

    __slots__ = ("_pid", "value")

    def __init__(self) -> None:
        self._pid = os.getpid()
        self.value = True

    def __bool__(self) -> bool:
        return self.value and self._pid == os.getpid()


def _wipe_on_fork_page() -> Sentinel:
    """In a page that the kernel zeroes in children. Raises OSError where it cannot be had."""
    if ctypes is None or not sys.platform.startswith("linux"):
        raise OSError("MADV_WIPEONFORK is Linux's")
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    page.madvise(_MADV_WIPEONFORK)
    # Its truth is asked from C: a third of what an index into the page takes.
    flag = ctypes.c_bool.from_buffer(page)
    flag.value = True
    return flag


_sentinel: Sentinel | None = None
#: Every one that was made and has not been made void, each with its maker's pid.
_made: list[tuple[int, Sentinel]] = []
#: Those that there were before the last fork.
_inherited: list[tuple[int, Sentinel]] = []


def sentinel() -> Sentinel:
    """This process's sentinel.

    Threads that race here may each get their own: any of them answers right.
    """
    global _sentinel
    current = _sentinel
    if current is None or not current:
        try:
            current = _wipe_on_fork_page()
        except OSError:
            current = _PidSentinel()
        _made.append((os.getpid(), current))
        _sentinel = current
    return current


def expect_fork() -> None:
    """Called in the parent by the at-fork hook: a child inherits what there is now."""
    global _inherited
    _inherited = list(_made)


def note_fork() -> None:
    """Called in a child by the at-fork hook: whatever was inherited is void.

    Not what the child has made before that: another module's hook, or a finalizer inside of it, may
    have used a pool already. It may be called again, where an exception has struck in the middle.
    """
    pid = os.getpid()
    # Also where a kernel or a sandbox takes the advice and does not follow it. The pages are
    # private: the parent's copies do not change. By the pid alone: what another thread made while
    # the hooks ran.
    for entry in list(_made):
        maker, made = entry
        if maker != pid or entry in _inherited:
            made.value = False
            _made.remove(entry)
