from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.valkey import Valkey


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    """One real Valkey server for each pytest process."""
    server = Valkey()
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    return valkey.url
