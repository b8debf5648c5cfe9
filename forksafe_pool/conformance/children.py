"""Run a function in a forked child, and get back what it returned.

The child reports through a pipe and leaves by ``os._exit``: nothing of the test runner runs twice.
Every wait has a limit; a child that hangs is killed, by its pid, and fails the test.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing
import os
import pickle
import re
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

#: Seconds after which a child counts as hung.
LIMIT = 20.0

Fork = Callable[[], int]
InChild = Callable[[Callable[[], Any]], Any]


class ChildFailed(AssertionError):
    """The child raised, died, or hung."""


# -- ways to fork ---------------------------------------------------------------------------------


def os_fork() -> int:
    """``os.fork`` without the warning of Python 3.12 and later: threads are what we test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def c_fork() -> int:
    """A C-level fork, in which no at-fork hook runs: what uWSGI does by default."""
    with nobody_asking_for_the_gil():
        return int(ctypes.PyDLL(None).fork())


def twice(fork: Fork) -> Fork:
    """A fork whose child forks again and exits, as a daemon's does: the grandchild goes on."""

    def fork_twice() -> int:
        pid = fork()
        if pid:
            return pid
        os.setsid()
        grandchild = fork()
        if grandchild:
            os.waitpid(grandchild, 0)
            os._exit(0)
        return 0

    return fork_twice


@contextlib.contextmanager
def nobody_asking_for_the_gil() -> Iterator[None]:
    """Where another thread has just asked for the GIL, the child of a C-level fork waits for that
    thread for ever, whatever the pool: that is CPython's own."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)
    deadline = time.monotonic() + LIMIT
    while not others_stay_asleep():
        assert time.monotonic() < deadline, "another thread works on while this one forks"
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


def others_stay_asleep() -> bool:
    """Whether no other thread wakes when it can have the GIL.

    One that has asked for it sleeps too, as long as we hold it.
    """
    before = _other_threads()
    time.sleep(0.001)  # without the GIL
    return before == _other_threads() and all("(sleeping)" in told for told in before.values())


def _other_threads() -> dict[str, str]:
    """What Linux tells of each: its state, and how often it has gone to sleep or lost its core."""
    if not os.path.exists("/proc/thread-self"):  # not Linux
        return {}
    threads = {}
    # Not get_native_id(): in another pid namespace than that of /proc it is another number.
    mine = os.path.basename(os.readlink("/proc/thread-self"))
    for name in os.listdir("/proc/self/task"):
        # One that has just ended is not there, or has nothing to tell.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if name != mine:
                told = Path(f"/proc/self/task/{name}/status").read_text()
                threads[name] = "".join(re.findall(r"State:.*|.*ctxt_switches:.*", told))
    return threads


# -- children -------------------------------------------------------------------------------------


class Child:
    """A forked child that runs ``function`` and ends."""

    def __init__(self, function: Callable[[], Any], fork: Fork = os_fork) -> None:
        self._read, write = os.pipe()
        self.pid = fork()
        if self.pid == 0:
            # A daemon has a session of its own: nobody else ends it where the test is killed.
            signal.alarm(int(3 * LIMIT))
            status = 1
            try:
                os.close(self._read)
                report = _report(function)
                with os.fdopen(write, "wb") as pipe:
                    pickle.dump(report, pipe)
                status = 0
            finally:
                os._exit(status)
        os.close(write)

    def result(self, limit: float = LIMIT) -> Any:
        """What ``function`` returned. Raises ChildFailed where it did not, within ``limit`` s."""
        report = b""
        deadline = time.monotonic() + limit
        try:
            while True:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._read], [], [], left)[0]:
                    raise ChildFailed(f"the child hung for {limit} s")
                chunk = os.read(self._read, 65536)
                if not chunk:
                    break
                report += chunk
        finally:
            os.close(self._read)
            self.kill()
        if not report:
            raise ChildFailed("the child died without a report")
        return _value(pickle.loads(report))  # noqa: S301 - our own child's

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)  # where it has begun a session: all of that
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def _report(function: Callable[[], Any]) -> tuple[bool, Any]:
    try:
        return True, function()
    except BaseException:
        return False, traceback.format_exc()


def _value(report: tuple[bool, Any]) -> Any:
    succeeded, value = report
    if not succeeded:
        raise ChildFailed(f"in the child:\n{value}")
    return value


def in_child(function: Callable[[], Any], fork: Fork = os_fork, limit: float = LIMIT) -> Any:
    """Run ``function`` in a forked child and return what it returned."""
    return Child(function, fork).result(limit)


def in_process(function: Callable[[], Any], limit: float = LIMIT) -> Any:
    """Run ``function`` in a ``multiprocessing`` process that is forked."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=lambda: theirs.send(_report(function)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        process.start()
    theirs.close()
    try:
        if not ours.poll(limit):
            raise ChildFailed(f"the process hung for {limit} s")
        value = _value(ours.recv())
        process.join(limit)
    finally:
        process.kill()
        process.join(limit)
        ours.close()
    if process.exitcode != 0:
        raise ChildFailed(f"the process ended with {process.exitcode}")
    return value


# -- a child that must be silent ------------------------------------------------------------------


class _Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(f"{record.getMessage()} {record.exc_info}")


def quiet(function: Callable[[], Any]) -> Callable[[], Any]:
    """Wrap ``function`` for a child: it fails if it logs, if it warns, or if a finalizer raises.

    Warnings become errors. Errors in finalizers, which cannot propagate, are collected.
    """

    def run() -> Any:
        complaints = _Complaints()
        logging.getLogger().addHandler(complaints)
        warnings.simplefilter("error")
        sys.unraisablehook = lambda args: complaints.said.append(repr(args))
        result = function()
        assert complaints.said == [], f"the child said: {complaints.said}"
        return result

    return run


#: Both kinds of fork: with Python's at-fork hooks and without.
FORKS: dict[str, Fork] = {"os.fork": os_fork, "C fork": c_fork}


def _by(fork: Fork) -> InChild:
    return lambda function: in_child(quiet(function), fork)


#: Each runs a function in a child, which must not log or warn, and returns its result.
WAYS: dict[str, InChild] = {
    **{name: _by(fork) for name, fork in FORKS.items()},
    **{f"{name}, twice": _by(twice(fork)) for name, fork in FORKS.items()},
    "multiprocessing": lambda function: in_process(quiet(function)),
}


# -- what a process has open ----------------------------------------------------------------------


def open_sockets() -> set[str]:
    """The inodes of the sockets that this process has open, as ``socket:[12345]``.

    Linux only; elsewhere none.
    """
    found = set()
    for descriptor in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{descriptor}")
            if target.startswith("socket:"):
                found.add(target)
    return found


def open_descriptors() -> set[int]:
    """Their numbers."""
    found = set()
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    for descriptor in map(int, os.listdir(folder)):
        with contextlib.suppress(OSError):  # the one that listed them
            os.fstat(descriptor)
            found.add(descriptor)
    return found
