"""How a child may end, in a program of its own: its exit is then a real one."""

from __future__ import annotations

import textwrap

from tests.support.programs import run_program

FORKS = ("os.fork", "C fork")

ENDS = (
    "end of program",
    "sys.exit",
    "os._exit",
    "uncaught exception",
    "killed",
    "closed",
    "used",
    "collected",
    "dropped",
)

# The programs fork once, as they are told; the child ends as it is told, and its parent goes on.
_BEGINNING = r"""
import ctypes, gc, os, signal, sys, time

fork = {"os.fork": os.fork, "C fork": ctypes.PyDLL(None).fork}[sys.argv[1]]
end = sys.argv[2]
LIMIT = 30
signal.alarm(LIMIT)  # kills a program that hangs


def end_the_child():
    # What a child has to do for most of its ends. The others are for the program itself.
    signal.alarm(LIMIT)  # a child does not inherit its parent's
    if end == "sys.exit":
        sys.exit()
    elif end == "os._exit":
        os._exit(0)
    elif end == "uncaught exception":
        sys.excepthook = lambda *_: None
        raise RuntimeError
    elif end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


def go_on_until_its_end(child, work):
    while True:
        work()
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            expected = {"uncaught exception": 1, "killed": -signal.SIGKILL}.get(end, 0)
            assert os.waitstatus_to_exitcode(status) == expected, status
            break
"""


def run_forking_program(source: str, fork: str, end: str, *arguments: str) -> str:
    """Run ``source``, which finds the above defined; returns what it printed."""
    return run_program(_BEGINNING + textwrap.dedent(source), fork, end, *arguments)
