"""Servers of this folder's own: they are to be broken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import pytest

from tests.faults.clients import CLIENTS, Client
from tests.faults.proxy import FaultyProxy
from tests.support.server import Server


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    # One that is reset before the handshake is not closed by CPython 3.11, but freed. It is pytest
    # that restores the filters.
    warnings.filterwarnings("ignore", r"unclosed <ssl\.SSLSocket (?!.*raddr)", ResourceWarning)
    return found


@pytest.fixture(scope="session")
def servers() -> Iterator[dict[str, Server]]:
    """By what starts them: several clients may use the same."""
    servers: dict[str, Server] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture
def server(kind: type[Client], servers: dict[str, Server]) -> Iterator[Server]:
    if kind.missing:
        pytest.skip(kind.missing)
    key = kind.start_server.__qualname__
    if key not in servers:
        servers[key] = kind.start_server()
    yield servers[key]
    if not servers[key].runs:  # a test that failed has left it dead
        servers[key].start_again()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server.port)
    yield proxy
    proxy.close()
