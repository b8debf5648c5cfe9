"""Not one byte: no child uses a socket of its parent's, whatever it does and however it ends.

Three witnesses: strace, for what the child says to the kernel; TCP_INFO, for what the kernel
counts of the parent's connections; and a proxy, for what the server hears.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.servers.conftest import serve
from tests.servers.drivers import DRIVERS, Driver, MySQLClient, Psycopg, PsycopgTls, PyMySQL, Socket
from tests.servers.misdeeds import ALL, Report, Task
from tests.support import strace
from tests.support.programs import ROOT
from tests.support.proxy import Proxy
from tests.support.strace import touches, tracing

LIMIT = 30.0


class Told:
    """What the witnesses say of each child, by its name; nothing where they saw nothing."""

    def __init__(self, report: Report, folder: Path) -> None:
        children = report["children"]
        self.children = {child["child"] for child in children}
        self.counted = {child["child"]: child["counted"] for child in children if child["counted"]}
        self.heard = {child["child"]: child["heard"] for child in children if child["heard"]}
        self.traced = {}
        for child in () if strace.MISSING else children:
            touched = touches(folder, child["pid"], report["sockets"])
            if touched:
                self.traced[child["child"]] = touched


def watch(
    driver: Driver,
    folder: Path,
    *,
    children: Sequence[tuple[str, str]] = ALL,
    pooled: bool = True,
) -> Told:
    """Run the program of `misdeeds`; raises AssertionError where its parent was disturbed."""
    proxy = Proxy(driver.address.host, driver.address.port)
    task: Task = {
        "driver": driver.name,
        "host": driver.address.host,
        "port": proxy.port if driver.over_tcp else driver.address.port,
        "folder": str(driver.address.folder),
        "children": list(children),
        "pooled": pooled,
    }
    program = [sys.executable, "-m", "tests.servers.misdeeds", json.dumps(task)]
    complaints = folder / "complaints"
    with (
        complaints.open("wb") as stderr,
        subprocess.Popen(
            program if strace.MISSING else [*tracing(folder), *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'integrations'}"},
        ) as popen,
    ):
        try:
            said = proxy.serve(popen)
            status = popen.wait(LIMIT)
        finally:
            proxy.close()
            popen.kill()
    assert (status, complaints.read_text()) == (0, ""), complaints.read_text()
    return Told(json.loads(said), folder)


def test_no_child_reaches_its_parent_s_server(driver: Driver, tmp_path: Path) -> None:
    told = watch(driver, tmp_path)
    assert len(told.children) == len(ALL)
    assert told.heard == {}
    assert told.counted == {}
    if strace.MISSING:
        pytest.skip(f"two of three witnesses saw nothing, and {strace.MISSING}")
    assert told.traced == {}


@pytest.mark.parametrize(
    "kind", [kind for kind in DRIVERS.values() if kind.asks], ids=lambda kind: kind.name
)
def test_a_connection_that_asks_for_itself_reaches_nobody_from_a_c_fork(
    kind: type[Driver], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    driver = serve(kind, request.getfixturevalue)
    told = watch(driver, tmp_path, children=[("C fork", "use_the_connections_at_once")])
    assert len(told.children) == 1
    assert (told.heard, told.counted, told.traced) == ({}, {}, {})


@pytest.mark.parametrize(
    ("kind", "misdeed", "call"),
    [
        (Psycopg, "use_the_connections_at_once", r'"X\0\0\0\4"'),
        (PsycopgTls, "use_the_connections_at_once", "sendto("),
        (PyMySQL, "use_the_connections_at_once", r'"\1\0\0\0\1"'),
        (MySQLClient, "drop_the_connections", r'"\1\0\0\0\1"'),
        (Socket, "use_the_connections_at_once", "shutdown("),
    ],
)
def test_the_witnesses_see_what_a_child_without_a_pool_does(
    kind: type[Driver],
    misdeed: str,
    call: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    driver = serve(kind, request.getfixturevalue)
    told = watch(driver, tmp_path, children=[("os.fork", misdeed)], pooled=False)
    (child,) = told.children
    assert len(told.counted[child]) == 2
    assert len(told.heard[child]) == 2
    if not strace.MISSING:
        assert any(call in touched for touched in told.traced[child]), told.traced[child]
