"""The short form of ``make torture``: our pools, two ways to fork, and a taste of the others."""

from __future__ import annotations

import pytest

from tests.torture import cell, matrix, servers, ways
from tests.torture.__main__ import run_some
from tests.torture.sockets import LifoQueue, Socket
from tests.torture.subject import Driver, Pool

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
    assert [one for one in found if one.letters and not one.is_known] == []


def test_a_pool_that_knows_of_no_fork_is_found_out() -> None:
    names = ["os.fork/uses the pool", "os.fork/releases an inherited connection"]
    with servers.running({Socket.server}) as addresses:
        found = run_some(Socket, LifoQueue, addresses[Socket.server], 1.0, names)
        found += run_some(
            Socket, LifoQueue, addresses[Socket.server], 1.0, [f"os.fork/{cell.LOCK}"]
        )
    assert {"X", "H"} & set(found[0].letters)
    assert {"X", "D"} & set(found[1].letters)
    assert found[2].letters == "H"
