"""A parent with connections, and children that do with them, one after another, what they may not.

python -m tests.servers.misdeeds JSON: see `Task`. It prints what it saw of it: see `Report`.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

from tests.servers.drivers import DRIVERS, Address, Driver
from tests.support.forks import c_fork, open_sockets, os_fork
from tests.support.proxy import QUESTION
from tests.support.tcp_info import counters

LIMIT = 30


class Task(TypedDict):
    driver: str
    host: str
    port: int
    folder: str
    #: A fork and a misdeed each, by their names in FORKS and MISDEEDS.
    children: list[tuple[str, str]]
    #: Whether the connections are a pool's.
    pooled: bool


class Seen(TypedDict):
    """What became of the parent's connections while one child lived."""

    child: str
    pid: int
    #: Those of which the kernel counted something, and those of which the proxy heard something.
    counted: dict[str, Any]
    heard: dict[str, Any]


class Report(TypedDict):
    sockets: list[str]
    children: list[Seen]


class Parent:
    """What a child inherits. The one that drops it all empties it."""

    def __init__(self, driver: Driver, pooled: bool) -> None:
        before = open_sockets()
        self.driver = driver
        if pooled:
            self.pool = driver.make_pool()
            self.idle, self.held = self.pool.acquire(), self.pool.acquire()
        else:
            self.idle, self.held = driver.connect(), driver.connect()
        for conn in (self.idle, self.held):
            assert driver.ask(conn, "begin") == "begin"
        driver.begin(self.held)
        self.sessions = {driver.session(self.idle)}
        if pooled:
            self.pool.release(self.idle)
        self.sockets = open_sockets() - before
        assert len(self.sockets) == 2

    def finish(self) -> None:
        """Raises AssertionError, or the driver's error, where a child disturbed anything."""
        self.driver.finish(self.held)
        self.pool.release(self.held)
        with self.pool.connection() as one, self.pool.connection() as other:
            assert {self.driver.session(one), self.driver.session(other)} >= self.sessions
            assert self.driver.ask(one, "end") == "end"
            assert self.driver.ask(other, "end") == "end"
        stats = self.pool.stats()
        assert (stats.opened, stats.foreign_releases) == (2, 0), stats
        self.pool.close()


def use_the_pool(parent: Parent) -> None:
    driver, pool = parent.driver, parent.pool
    pool.release(parent.held)
    pool.discard(parent.held)
    with pool.connection() as conn:
        assert driver.ask(conn, "child") == "child"
        assert driver.session(conn) not in parent.sessions
    pool.discard(pool.acquire())
    with pool.connection() as conn:
        assert driver.ask(conn, "child") == "child"


def close_the_pool(parent: Parent) -> None:
    parent.pool.close()


def use_the_connections(parent: Parent) -> None:
    parent.pool.stats()  # after a C-level fork the first use severs
    use_the_connections_at_once(parent)


def use_the_connections_at_once(parent: Parent) -> None:
    """Before the child asks its pool for anything."""
    for conn in (parent.held, parent.idle):
        for misuse in parent.driver.misuses(conn):
            with contextlib.suppress(Exception):
                misuse()


def drop_everything(parent: Parent) -> None:
    vars(parent).clear()
    gc.collect()


def drop_the_connections(parent: Parent) -> None:
    del parent.held, parent.idle
    gc.collect()


def sys_exit(parent: Parent) -> None:
    sys.exit()


def vanish(parent: Parent) -> None:
    os._exit(0)


def fail(parent: Parent) -> None:
    sys.excepthook = lambda *_: None
    raise RuntimeError


def be_killed(parent: Parent) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


FORKS: dict[str, Callable[[], int]] = {"os.fork": os_fork, "C fork": c_fork}
MISDEEDS: dict[str, Callable[[Parent], None]] = {
    misdeed.__name__: misdeed
    for misdeed in (
        use_the_pool,
        close_the_pool,
        use_the_connections,
        use_the_connections_at_once,
        drop_everything,
        drop_the_connections,
        sys_exit,
        vanish,
        fail,
        be_killed,
    )
}
#: Not where no hook has run: a pool that is not asked can do nothing, unless its connections ask.
ALL = [
    (fork, misdeed)
    for fork in FORKS
    for misdeed in MISDEEDS
    if (fork, misdeed) != ("C fork", use_the_connections_at_once.__name__)
]
_STATUS = {fail.__name__: 1, be_killed.__name__: -signal.SIGTERM}


def ask_the_proxy() -> dict[str, list[int]]:
    print(QUESTION, flush=True)  # noqa: T201
    heard: dict[str, list[int]] = json.loads(sys.stdin.readline())
    return heard


def changed(before: dict[str, list[int]], after: dict[str, list[int]]) -> dict[str, Any]:
    return {key: (value, after.get(key)) for key, value in before.items() if after[key] != value}


def main(task: Task) -> None:
    signal.alarm(2 * LIMIT)  # kills a program that hangs
    address = Address(task["host"], task["port"], Path(task["folder"]))
    parent = Parent(DRIVERS[task["driver"]](address), task["pooled"])
    report: Report = {"sockets": sorted(parent.sockets), "children": []}
    for fork, name in task["children"]:
        heard, counted = ask_the_proxy(), counters(parent.sockets)
        pid = FORKS[fork]()
        if pid == 0:
            signal.alarm(LIMIT)  # a child does not inherit its parent's
            MISDEEDS[name](parent)
            return
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == _STATUS.get(name, 0), name
        report["children"].append(
            {
                "child": f"{name}, {fork}",
                "pid": pid,
                "counted": changed(counted, counters(parent.sockets)),
                "heard": changed(heard, ask_the_proxy()),
            }
        )
    if task["pooled"]:
        parent.finish()
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
