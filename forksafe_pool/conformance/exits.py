"""The exit of a child must not disturb its parent's sessions: real exits, in a separate program.

The program is a new interpreter. It receives the name of the test class and the attributes of the
instance, so the class must be importable and the attributes picklable.
"""

from __future__ import annotations

import base64
import gc
import importlib
import os
import pickle
import signal
import subprocess
import sys
from typing import Any

from forksafe_pool.conformance.children import Fork
from forksafe_pool.conformance.hooks import Hooks, Parent

#: Seconds that a program may take.
LIMIT = 60

ENDS = (
    "end of program",
    "sys.exit",
    "os._exit",
    "exception",
    "killed",
    "pool closed",
    "pool used",
    "connections collected",
    "pool dropped",
)
_STATUS = {"exception": 1, "killed": -signal.SIGKILL}

_PROGRAM = "from forksafe_pool.conformance.exits import main; main()"


class Exits(Hooks):
    def test_the_exit_of_a_child_does_not_disturb_its_parent(self, fork: Fork) -> None:
        """Once for each end in `ENDS`. Neither the program nor a finalizer may print anything."""
        kind = type(self)
        task = (kind.__module__, kind.__qualname__, vars(self), fork)
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-c", _PROGRAM, base64.b64encode(pickle.dumps(task))],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        assert not done.stdout + done.stderr, done.stdout + done.stderr


# -- in the program -------------------------------------------------------------------------------


def main() -> None:
    signal.alarm(LIMIT)  # ends a program that hangs
    module, name, attributes, fork = pickle.loads(base64.b64decode(sys.argv[1]))  # noqa: S301
    suite: Any = importlib.import_module(module)
    for part in name.split("."):
        suite = getattr(suite, part)
    suite = suite()
    vars(suite).update(attributes)
    parent = Parent(suite, suite.make_pool(max_size=2, timeout=LIMIT))
    for end in ENDS:
        child = fork()
        if child == 0:
            signal.alarm(LIMIT)  # a child does not inherit its parent's
            del suite
            _end_child(parent, end)
            return
        _go_on(parent, child, end)
    parent.finish()
    parent.pool.close(timeout=0)


def _go_on(parent: Parent, child: int, end: str) -> None:
    """Use the parent's connections until the child has ended, and afterwards."""
    pid = 0
    while not pid:
        pid, status = os.waitpid(child, os.WNOHANG)
        try:
            parent.go_on()
        except BaseException as error:
            raise AssertionError(f"a child that ended by {end!r} disturbed its parent") from error
    found = os.waitstatus_to_exitcode(status)
    assert found == _STATUS.get(end, 0), f"a child that was to end by {end!r} ended with {found}"


def _end_child(parent: Parent, end: str) -> None:
    if end == "sys.exit":
        sys.exit()
    elif end == "os._exit":
        os._exit(0)
    elif end == "exception":
        sys.excepthook = lambda *_: None
        raise RuntimeError
    elif end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif end == "pool closed":
        parent.pool.close(timeout=0)
    elif end == "pool used":
        lent, left = parent.left_in_child()
        assert not lent, lent
        assert not left, left
        parent.pool.release(parent.held)
        parent.pool.discard(parent.pool.acquire())
    elif end == "connections collected":
        parent.pool.stats()  # after a C-level fork the first use severs
        del parent.held
        gc.collect()
    elif end == "pool dropped":
        vars(parent).clear()
        gc.collect()
