"""The ways to fork. Each calls ``body`` in a child, and returns what waits for the child's end.

A child whose body returns ends as that way has it; one whose body raises SystemExit leaves through
all the frames it was born in, as a program of its own would.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import functools
import multiprocessing
import os
import platform
import pty
import signal
import subprocess
import threading
from collections.abc import Callable

from tests.support.forks import c_fork, nobody_asking_for_the_gil

Body = Callable[[], None]
Wait = Callable[[], None]
Way = Callable[[Body], Wait]

SAME_PID = "C-level fork, same pid"

_fork_context = multiprocessing.get_context("fork")


def _forked(fork: Callable[[], int], body: Body) -> Wait:
    pid = fork()
    if pid == 0:
        body()
        os._exit(0)

    def wait() -> None:
        os.waitpid(pid, 0)

    return wait


def os_fork(body: Body) -> Wait:
    return _forked(os.fork, body)


def by_c(body: Body) -> Wait:
    return _forked(c_fork, body)


def forkpty(body: Body) -> Wait:
    pid, terminal = pty.fork()
    if pid == 0:
        body()
        os._exit(0)

    def wait() -> None:
        with contextlib.suppress(OSError):  # the end of the child's output
            while os.read(terminal, 1024):
                pass
        os.waitpid(pid, 0)
        os.close(terminal)

    return wait


def nested(body: Body) -> Wait:
    """A child of a child."""

    def middle() -> None:
        _forked(os.fork, body)()

    return _forked(os.fork, middle)


def multiprocessing_fork(body: Body) -> Wait:
    process = _fork_context.Process(target=body)
    process.start()
    return process.join


def process_pool(body: Body) -> Wait:
    _inherited[:] = [body]
    executor = concurrent.futures.ProcessPoolExecutor(1, mp_context=_fork_context)
    executor.submit(_call_inherited)
    return executor.shutdown


# What a worker is told to call goes through a pipe, where no closure can go.
_inherited: list[Body] = []


def _call_inherited() -> None:
    _inherited.pop()()


def preexec_fn(body: Body) -> Wait:
    """The child of a `subprocess`, before it becomes another program."""

    # Popen() returns when the child has become it, so it waits in a thread.
    def start() -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(["true"], preexec_fn=body, check=False)

    thread = threading.Thread(target=start)
    thread.start()
    return thread.join


def same_pid(body: Body) -> Wait:
    """A C-level fork into a new pid namespace: no hook runs, and child and parent are both 1."""
    return _forked(clone_into_pid_namespace, body)


# From <sys/syscall.h>. Not unshare() and fork(): a process between the two can start no thread.
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_NEWPID = 0x20000000


def clone_into_pid_namespace() -> int:
    """fork(), and the child is number 1 of a pid namespace of its own. Raises OSError."""
    flags = _CLONE_NEWPID | signal.SIGCHLD
    number = _SYS_CLONE[platform.machine()]
    with nobody_asking_for_the_gil():
        pid = int(ctypes.PyDLL(None).syscall(number, flags, 0, 0, 0, 0))
    if pid < 0:
        raise PermissionError("a pid namespace takes root's rights")
    return pid


@functools.cache
def missing() -> dict[str, str]:
    """Why a way cannot be had on this machine."""
    try:
        pid = clone_into_pid_namespace()
    except (OSError, KeyError) as error:
        return {SAME_PID: str(error)}
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return {}


def gevent_fork(body: Body) -> Wait:
    """In a process that gevent has patched: greenlets go on in the child."""
    return _forked(os.fork, body)


WAYS: dict[str, Way] = {
    "os.fork": os_fork,
    "os.forkpty": forkpty,
    "C-level fork": by_c,
    SAME_PID: same_pid,
    "nested": nested,
    "multiprocessing": multiprocessing_fork,
    "ProcessPoolExecutor": process_pool,
    "subprocess, preexec_fn": preexec_fn,
    "gevent": gevent_fork,
}

#: The one that `forkserver` sees to.
FORKSERVER = "multiprocessing, forkserver"
ALL = (*WAYS, FORKSERVER)

#: In which at-fork hooks do not run, and busy threads would hang CPython itself.
WITHOUT_HOOKS = ("C-level fork", SAME_PID)


def possible() -> list[str]:
    """Those of `ALL` that can be had on this machine."""
    return [way for way in ALL if way not in missing()]
