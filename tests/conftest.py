"""One real server of each kind for each pytest process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import mariadb as mariadb_server
from tests.support import memcached as memcached_server
from tests.support import postgres as postgres_server
from tests.support.mariadb import MariaDB
from tests.support.memcached import Memcached
from tests.support.postgres import Postgres
from tests.support.valkey import Valkey

# Its assertions are in no test module: say what they compared all the same.
pytest.register_assert_rewrite("forksafe_pool.conformance")


@pytest.fixture(scope="session")
def valkey() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.stop()


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    return valkey.url


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_tls() -> Iterator[Postgres]:
    if postgres_server.MISSING_TLS:
        pytest.skip(postgres_server.MISSING_TLS)
    server = Postgres(tls=True)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    if mariadb_server.MISSING:
        pytest.skip(mariadb_server.MISSING)
    server = MariaDB()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def memcached() -> Iterator[Memcached]:
    if memcached_server.MISSING:
        pytest.skip(memcached_server.MISSING)
    server = Memcached()
    yield server
    server.stop()
