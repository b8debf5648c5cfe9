"""The conformance suite with SQLAlchemy's engines: real drivers, real servers."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import sqlalchemy.exc
from sqlalchemy import create_engine

import forksafe_pool
from forksafe_sqlalchemy import QueuePool
from tests.support import sql
from tests.support.sql_conformance import SqlConformance

DIALECTS = {
    "psycopg": "postgresql+psycopg",
    "psycopg2": "postgresql+psycopg2",
    "pymysql": "mysql+pymysql",
    "mysqlclient": "mysql+mysqldb",
}
numbers = itertools.count()


class Adapter:
    """What an engine's users do with its pool, by the names of ours."""

    def __init__(self, dialect: str, connect: Any, options: Any) -> None:
        name = f"conformance-{next(numbers)}"
        self._engine = create_engine(
            f"{dialect}://",
            creator=connect,
            poolclass=QueuePool,
            pool_size=options["max_size"],
            max_overflow=0,
            pool_timeout=options["timeout"],
            pool_pre_ping=options.get("check_after") == 0,
            pool_logging_name=name,
        )
        (self._pool,) = (pool for pool in forksafe_pool.pools() if pool.name == name)

    def acquire(self) -> Any:
        return self._engine.raw_connection()

    def release(self, conn: Any) -> None:
        conn.close()

    def discard(self, conn: Any) -> None:
        conn.invalidate()

    @contextlib.contextmanager
    def connection(self) -> Iterator[Any]:
        with contextlib.closing(self.acquire()) as conn:
            yield conn

    def close(self, timeout: float) -> None:
        self._engine.dispose()

    def drain(self) -> None:
        self._pool.drain()

    def stats(self) -> forksafe_pool.PoolStats:
        return self._pool.stats()


class EngineConformance(SqlConformance):
    exhausted_error = sqlalchemy.exc.TimeoutError
    closed_error = None
    closes_killed_blocks = False
    counts_foreign_releases = False  # SQLAlchemy asks the pool only once for each of its own
    resizes = False

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        def connect() -> Any:
            return sql.connect(self.driver, self.address_at(port))

        return Adapter(DIALECTS[self.driver], connect, options)

    def close(self, conn: Any) -> None:
        if conn.driver_connection is not None:  # a child's may be gone already
            conn.driver_connection.close()


class TestPsycopg(EngineConformance):
    driver = "psycopg"


class TestPsycopg2(EngineConformance):
    driver = "psycopg2"


class TestPyMySQL(EngineConformance):
    driver = "pymysql"


class TestMySQLClient(EngineConformance):
    driver = "mysqlclient"
