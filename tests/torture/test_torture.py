"""The short form of ``make torture``: our pools, two ways to fork, and a taste of the others."""

from __future__ import annotations

import errno
import os
import queue
from typing import Any

import pytest

from forksafe_pool.extend import ProcessLocal
from tests.torture import cell, matrix, record, report, servers, ways, zygote
from tests.torture.__main__ import run_some
from tests.torture.sockets import LifoQueue, Ours, Socket
from tests.torture.subject import Driver, Pool, find_locks

#: Seconds for a child on a busy machine.
LIMIT = 20.0

NAMES = [
    f"{way}/{misdeed}"
    for way in ways.ALL
    if way not in ("gevent", "C-level fork, same pid")
    for misdeed in (*cell.MISDEEDS, cell.LOCK)
    if way in ("os.fork", "C-level fork") or misdeed == "uses the pool"
]
OURS = [(driver, pool) for driver, pools in matrix.MATRIX for pool in pools if pool.ours]


@pytest.mark.parametrize(
    ("driver", "pool"), OURS, ids=lambda kind: kind.name.replace("forksafe_", "")
)
def test_ours(driver: type[Driver], pool: type[Pool]) -> None:
    if driver.server in servers.MISSING:
        pytest.skip(servers.MISSING[driver.server])
    with servers.running({driver.server}) as addresses:
        found = run_some(driver, pool, addresses[driver.server], LIMIT, NAMES)
    assert len(found) == len(NAMES)
    assert [one for one in found if one.bad] == []
    # What is out of reach is so indeed: else it would hide what a pool could have done.
    assert [one for one in found if one.letters != one.unavoidable] == []


def test_a_pool_that_knows_of_no_fork_is_found_out() -> None:
    names = ["os.fork/uses the pool", "os.fork/releases an inherited connection"]
    with servers.running({Socket.server}) as addresses:
        found = run_some(Socket, LifoQueue, addresses[Socket.server], 1.0, names)
        found += run_some(
            Socket, LifoQueue, addresses[Socket.server], 1.0, [f"os.fork/{cell.LOCK}"]
        )
    assert {"X", "H"} & set(found[0].letters)
    assert {"X", "D", "H"} & set(found[1].letters)
    assert found[2].letters == "H"


def inherited(local: ProcessLocal[Any], get: Any = ProcessLocal.get) -> Any:
    """A child has what its parent has, locks too."""
    return get(local) if local._cell is None else local._cell.value


#: For each of our pools, one driver.
POOLS = {pool: driver for driver, pool in reversed(OURS) if driver.server not in servers.MISSING}


@pytest.mark.parametrize("pool", POOLS, ids=lambda kind: kind.name)
def test_the_lock_that_is_held_is_one_that_the_pool_takes(
    pool: type[Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it takes any: the core takes none, but redis-py and SQLAlchemy need one."""
    monkeypatch.setattr(ProcessLocal, "get", inherited)
    takes_one = pool.name.startswith(("forksafe_redis", "forksafe_sqlalchemy"))
    driver = POOLS[pool]
    with servers.running({driver.server}) as addresses:
        address = addresses[driver.server]
        found = zygote.in_a_process(driver, pool, address, "os.fork", cell.LOCK, 1.0)
    assert found == ("H" if takes_one else "")


def test_conditions_that_share_a_lock_are_one() -> None:
    assert list(find_locks(queue=queue.LifoQueue(1))) == ["queue.mutex"]


def test_what_is_out_of_reach_is_that_of_drivers_own_connections_alone() -> None:
    everything = [
        report.Found(driver.name, pool.name, pool.ours, way, misdeed, "DEHRSX")
        for driver, pools in matrix.MATRIX
        for pool in pools
        for way in ways.ALL
        for misdeed in (*cell.MISDEEDS, cell.LOCK)
    ]
    excused = [one for one in everything if one.unavoidable]
    assert all(one.bad for one in everything)
    assert {one.misdeed for one in excused} == {"uses a connection in use"}
    assert {one.way for one in excused} == {"C-level fork", "C-level fork, same pid"}
    assert {one.pool for one in excused} == {"forksafe_pool.Pool", "forksafe_dbapi.Pool"}
    assert set().union(*(one.unavoidable for one in excused)) == {"S", "X"}
    assert "E" in report.Found("socket", "forksafe_pool.Pool", True, *EXCUSED, "ESX").bad


EXCUSED = ("C-level fork", "uses a connection in use")


def test_a_way_that_cannot_be_had_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(ways, "clone_into_pid_namespace", refuse)
    ways.missing.cache_clear()
    try:
        names = [f"{way}/uses the pool" for way in ("os.fork", ways.SAME_PID)]
        with servers.running({Socket.server}) as addresses:
            found = run_some(Socket, Ours, addresses[Socket.server], LIMIT, names)
        said = "\n".join(report.page(found, {"missing": ways.missing()}))
    finally:
        ways.missing.cache_clear()
    assert [one.way for one in found] == ["os.fork"]
    assert f"Left out, {ways.SAME_PID}: [Errno 1] Operation not permitted." in said


def test_the_page_and_the_readme_tell_what_was_recorded() -> None:
    kept = record.load()
    assert record.PAGE.read_text() == "\n".join(record.page(kept)) + "\n"
    text = record.README.read_text()
    assert text == record.with_figures(text, kept)
