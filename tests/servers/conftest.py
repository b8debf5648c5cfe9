"""The servers that only these tests need, and any of them for a driver."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.servers.drivers import DRIVERS, Address, Driver, MySQLClient
from tests.support import mariadb as mariadb_server
from tests.support.mariadb_tls import TlsMariaDB
from tests.support.server import Server
from tests.torture.echo import Echo


@pytest.fixture(scope="session")
def echo() -> Iterator[Server]:
    server = Echo("raw")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def echo_tls() -> Iterator[Server]:
    server = Echo("raw", tls=True)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def http() -> Iterator[Server]:
    server = Echo("http")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb_tls() -> Iterator[Server]:
    if mariadb_server.MISSING:
        pytest.skip(mariadb_server.MISSING)
    server = TlsMariaDB()
    yield server
    server.stop()


def serve(kind: type[Driver], fixture: Callable[[str], Any]) -> Driver:
    """A driver of this kind, and its server: one of the fixtures."""
    if issubclass(kind, MySQLClient) and importlib.util.find_spec("MySQLdb") is None:
        pytest.skip("no mysqlclient here: it is built from source")
    server: Server = fixture(kind.server)
    return kind(Address(server.host, server.port, server.folder))


@pytest.fixture(params=DRIVERS.values(), ids=lambda kind: kind.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each of the drivers."""
    return serve(request.param, request.getfixturevalue)
