from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import pytest

from forksafe_pool import Pool
from tests.support.forks import c_fork, os_fork
from tests.support.sql import SERVERS, Onlooker, connect, make_pool, run


class Database(NamedTuple):
    """A real server, by way of one driver."""

    driver: str
    address: str
    port: int

    def connect(self, **arguments: Any) -> Any:
        return connect(self.driver, self.address, **arguments)

    def cursors(self) -> Any:
        """The module of PyMySQL's or mysqlclient's cursor classes."""
        return importlib.import_module(
            {"pymysql": "pymysql.cursors", "mysqlclient": "MySQLdb.cursors"}[self.driver]
        )


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    function: Callable[[], int] = request.param
    return function


@pytest.fixture(params=["psycopg2", "psycopg2 over TLS", "pymysql", "mysqlclient"])
def database(request: pytest.FixtureRequest) -> Database:
    driver, _, tls = request.param.partition(" over ")
    if driver == "mysqlclient":
        pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")
    server = request.getfixturevalue("postgres_tls" if tls else SERVERS[driver])
    address = server.dsn if SERVERS[driver] == "postgres" else str(server.port)
    return Database(driver, address, server.port)


@pytest.fixture
def pool(database: Database) -> Iterator[Pool[Any]]:
    """One place, so that the next user has the same connection, or another one in its place."""
    options = {"max_size": 1, "timeout": 0, "check_after": 0}
    with make_pool(database.driver, database.address, **options) as pool:
        yield pool


@pytest.fixture
def table(database: Database) -> Iterator[str]:
    """An empty table. Ask for it before the pool: it waits for transactions to end."""
    with closing(database.connect()) as conn:
        run(conn, "CREATE TABLE numbers (n INTEGER)")
        conn.commit()
        yield "numbers"
        run(conn, "DROP TABLE numbers")
        conn.commit()


@pytest.fixture
def inherited(database: Database) -> Iterator[Pool[Any]]:
    with make_pool(database.driver, database.address, max_size=2, timeout=0) as pool:
        yield pool


@pytest.fixture
def onlooker(database: Database) -> Iterator[Onlooker]:
    with closing(database.connect()) as conn:
        yield Onlooker(conn)
