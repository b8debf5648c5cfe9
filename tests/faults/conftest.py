"""A server of each test's own: it is to be broken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.clients import CLIENTS, Client
from tests.faults.proxy import FaultyProxy
from tests.support.server import Server


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    return found


@pytest.fixture
def server(kind: type[Client]) -> Iterator[Server]:
    server = kind.start_server()
    yield server
    server.stop()


@pytest.fixture
def proxy(server: Server) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server.port)
    yield proxy
    proxy.close()
