"""Runs the cells of one driver and pool, each in a process of its own, forked from this one.

python -m tests.torture.zygote DRIVER POOL ADDRESS LIMIT [WAY/MISDEED …]
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import warnings
from typing import TYPE_CHECKING

from tests.torture.ways import FORKSERVER, SAME_PID, clone_into_pid_namespace

if TYPE_CHECKING:
    from tests.torture.subject import Driver, Pool

#: A parent may wait for several children.
PATIENCE = 3


def main(driver: str, pool: str, address: str, limit: str, *wanted: str) -> None:
    """``wanted`` names gevent's cells alone, or none of them: drivers look for it at import."""
    warnings.simplefilter("ignore")
    if wanted[0].startswith("gevent/"):
        from gevent import monkey

        monkey.patch_all()
    from tests.torture import matrix

    kinds = matrix.find(driver, pool)
    check_without_fork(*kinds, address)
    for name in wanted:
        way, misdeed = name.split("/")
        letters = in_a_process(*kinds, address, way, misdeed, float(limit))
        sys.stdout.write(f"{name}\t{letters}\n")
        sys.stdout.flush()


def check_without_fork(driver: type[Driver], pool: type[Pool], address: str) -> None:
    """What goes wrong without a fork, time after time, is our mistake, and no finding."""
    for _ in range(PATIENCE):
        pid = os.fork()
        if pid == 0:
            from tests.torture import cell

            signal.alarm(60)
            found = {"E"}
            with contextlib.suppress(Exception):
                alone = cell.Cell(driver, pool, address)
                alone.chat("alone")
                alone.inspect()
                found = alone.found
            os._exit(bool(found))
        if os.waitpid(pid, 0)[1] == 0:
            return
    raise SystemExit(f"{pool.name} of {driver.name} does not work, without any fork")


def in_a_process(
    driver: type[Driver], pool: type[Pool], address: str, way: str, misdeed: str, limit: float
) -> str:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        be_parent(driver, pool, address, way, misdeed, limit, write)
        os._exit(0)
    # gevent defers os.close where its loop watches the number: the next child would do it.
    os.closerange(write, write + 1)
    said = b"H"
    if select.select([read], [], [], PATIENCE * limit)[0]:
        said = os.read(read, 16) or b"E"  # it has died
    os.closerange(read, read + 1)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return said.decode().strip()


def be_parent(
    driver: type[Driver],
    pool: type[Pool],
    address: str,
    way: str,
    misdeed: str,
    limit: float,
    report: int,
) -> None:
    from tests.torture import cell, forkserver

    # A child that ends by sys.exit() comes by here, and must not be told from its parent.
    parent = os.getpid()
    if way == SAME_PID:
        # Process 1 of a namespace, as its child will be of another.
        inner = clone_into_pid_namespace()
        if inner:
            os.waitpid(inner, 0)
            return
        parent = os.getpid()
    try:
        if way == FORKSERVER:
            said = forkserver.run(driver, pool, address, misdeed, limit)
        else:
            said = cell.run(cell.Cell(driver, pool, address), way, misdeed, limit)
    except Exception:
        said = "E"
    if os.getpid() == parent:
        os.write(report, said.encode() + b"\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
