"""multiprocessing's forkserver, preloaded with a module that has used its pool: this one.

The parent whose sessions are at stake is the fork server itself, which runs no code of ours but at
its import and at its end.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import tempfile
import threading
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from tests.torture import cell, matrix
from tests.torture.ways import FORKSERVER

if TYPE_CHECKING:
    from tests.torture.subject import Driver, Pool

_WHAT = "FORKSAFE_TORTURE"


def run(driver: type[Driver], pool: type[Pool], address: str, misdeed: str, limit: float) -> str:
    """The letters of what was found, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        verdict = Path(folder, "verdict")
        os.environ[_WHAT] = "\n".join((driver.name, pool.name, address, misdeed, str(verdict)))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        found: set[str] = set()
        children = 1 if misdeed == cell.LOCK else cell.MISDEEDS[misdeed][2]
        for _ in range(children):
            found |= _child(context, misdeed, limit)
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]
        found |= set(verdict.read_text() if verdict.exists() else "S")
    return "".join(sorted(found))


def _child(
    context: multiprocessing.context.ForkServerContext, misdeed: str, limit: float
) -> set[str]:
    ours, theirs = context.Pipe()
    process = context.Process(target=_misbehave, args=(misdeed, theirs))
    process.start()
    theirs.close()
    found = set("E")
    if not ours.poll(limit):
        found = set("H")
    else:
        with contextlib.suppress(EOFError):
            found = set(ours.recv())
    process.join(limit)
    if process.is_alive():
        process.kill()
        found.add("H")
    return found


def _misbehave(misdeed: str, report: Connection) -> None:
    assert _parent is not None
    child = cell.uses if misdeed == cell.LOCK else cell.MISDEEDS[misdeed][0]
    _parent.found.clear()
    if child in (cell.vanishes, cell.dies):
        report.send("")
    try:
        child(_parent)
    except Exception:
        _parent.found.add("E")
    finally:
        report.send("".join(_parent.found))


def _become_parent(driver: str, pool: str, address: str, misdeed: str, verdict: str) -> cell.Cell:
    """In the fork server."""
    pid = os.getpid()
    parent = cell.Cell(*matrix.find(driver, pool), address)
    stack = contextlib.ExitStack()
    arounds = (
        [cell.with_lock(name) for name in parent.pool.locks()]
        if misdeed == cell.LOCK
        else [cell.MISDEEDS[misdeed][1]]
    )
    for around in arounds:
        stack.enter_context(around(parent, FORKSERVER))

    def at_the_end() -> None:
        if os.getpid() == pid:
            stack.close()
            parent.inspect()
            Path(verdict).write_text("".join(parent.found))

    # atexit is too late: threads are waited for before, and ours end when the stack is closed.
    threading._register_atexit(at_the_end)  # type: ignore[attr-defined]
    return parent


_what = os.environ.pop(_WHAT, None)
_parent = _become_parent(*_what.split("\n")) if _what else None
