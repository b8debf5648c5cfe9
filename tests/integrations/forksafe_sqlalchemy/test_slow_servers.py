"""What a server does that is slow to connect, or fails to: to a caller, and to the next ones."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pymysql
import pytest
from sqlalchemy import Dialect, Engine, create_engine, event, exc, text

from forksafe_sqlalchemy import QueuePool, _inner
from tests.forksafe_pool.threads import Caller, wait_in_line
from tests.integrations.forksafe_sqlalchemy.conftest import SERVERS
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres

LIMIT = 30.0

URLS = {
    "psycopg": "postgresql+psycopg://postgres@127.0.0.1:{}/postgres",
    "psycopg2": "postgresql+psycopg2://postgres@127.0.0.1:{}/postgres",
    "pymysql": "mysql+pymysql://root@127.0.0.1:{}/mysql",
    "mysqldb": "mysql+mysqldb://root@127.0.0.1:{}/mysql",
}


@pytest.fixture(params=list(SERVERS))
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if name == "mysqldb":
        pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")
    return name


def make(driver: str, port: int, **options: Any) -> Engine:
    options = {"pool_size": 1, "max_overflow": 0, **options}
    return create_engine(URLS[driver].format(port), poolclass=QueuePool, **options)


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("timeout", [1, 0.5])
def test_the_timeout_bounds_what_the_driver_does(driver: str, silent: int, timeout: float) -> None:
    engine = make(driver, silent, pool_timeout=timeout)
    for _ in range(2):  # its place is there for the next one
        with pytest.raises(exc.OperationalError):
            Caller(engine.connect).result(LIMIT)


def test_it_bounds_no_statement(url: str) -> None:
    engine = create_engine(url, poolclass=QueuePool, pool_timeout=1)
    postgres = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_sleep(2.5)" if postgres else "SELECT sleep(2.5)"))
        connection.invalidate()
        connection.rollback()
        connection.execute(text("SELECT pg_sleep(2.5)" if postgres else "SELECT sleep(2.5)"))
    engine.dispose()


class Told:
    """What the driver is told, which then connects to nowhere."""

    def __init__(self, engine: Engine) -> None:
        self.timeouts: dict[str, Any] = {}
        event.listen(engine, "do_connect", self)

    def __call__(self, dialect: Dialect, record: Any, cargs: Any, cparams: dict[str, Any]) -> None:
        self.timeouts = {name: cparams[name] for name in cparams if name.endswith("timeout")}
        raise ConnectionRefusedError

    def of(self, engine: Engine) -> dict[str, Any]:
        with pytest.raises(ConnectionRefusedError):
            engine.connect()
        return self.timeouts


def told(engine: Engine) -> dict[str, Any]:
    return Told(engine).of(engine)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"pool_timeout": 7}, 7),
        ({}, 30),
        ({"pool_timeout": 7, "connect_args": {"connect_timeout": 3}}, 3),
        ({"pool_timeout": 7, "connect_args": {"connect_timeout": 20}}, 7),
        ({"pool_timeout": 0}, None),
        ({"pool_timeout": None}, None),
        ({"pool_timeout": None, "connect_args": {"connect_timeout": 20}}, 20),
    ],
)
@pytest.mark.parametrize("name", ["psycopg", "psycopg2", "mysqldb"])
def test_the_shorter_of_two_limits_holds(
    name: str, options: dict[str, Any], expected: int | None
) -> None:
    if name == "mysqldb":
        pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")
    engine = make(name, 1, **options)
    assert told(engine).get("connect_timeout") == expected


@pytest.mark.parametrize(("value", "expected"), [("3", None), ("20", 7), ("0", 7), ("?", None)])
@pytest.mark.parametrize("name", ["psycopg", "psycopg2"])
def test_the_environment_has_a_limit_too(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: int | None
) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", value)
    assert told(make(name, 1, pool_timeout=7)).get("connect_timeout") == expected


def test_what_was_waited_in_line_is_not_there_to_connect_anew(
    monkeypatch: pytest.MonkeyPatch, postgres: Postgres
) -> None:
    now = 0.0
    monkeypatch.setattr(_inner, "monotonic", lambda: now)
    engine = make("psycopg", postgres.port, pool_timeout=30)
    held = engine.connect()
    pool: Any = engine.pool
    witness = Told(engine)
    caller = wait_in_line(pool._pool, lambda: witness.of(engine))
    now = 20.0
    held.invalidate()
    held.close()
    assert caller.result() == {"connect_timeout": 10}
    assert witness.of(engine) == {"connect_timeout": 30}
    engine.dispose()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {"connect_timeout": 10, "read_timeout": 20}),
        ({"read_timeout": 5}, {"connect_timeout": 10, "read_timeout": 5}),
        ({"connect_timeout": 60}, {"connect_timeout": 20, "read_timeout": 20}),
    ],
)
def test_pymysql_has_two_limits(arguments: dict[str, float], expected: dict[str, float]) -> None:
    engine = make("pymysql", 1, pool_timeout=20, connect_args=arguments)
    assert told(engine) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("usual", [None, 7])
def test_pymysql_has_its_own_limit_afterwards(mariadb: MariaDB, usual: int | None) -> None:
    engine = make("pymysql", mariadb.port, connect_args={"read_timeout": usual})
    with closing(engine.raw_connection()) as fairy:
        driver_s: Any = fairy.dbapi_connection
        assert driver_s._read_timeout == usual
        fairy.invalidate()
    with closing(engine.raw_connection()) as fairy:  # which connects again
        driver_s = fairy.dbapi_connection
        assert driver_s._read_timeout == usual
    engine.dispose()


# -- what says something about the server ---------------------------------------------------------


def failures(engine: Engine) -> int:
    """Those after which the next attempt waits."""
    pool: Any = engine.pool
    assert pool._pool.stats().connect_errors == 1
    return int(pool._pool._ledger.failures)


class Mistake(Exception):
    """A signal handler's, or anything else that no driver raises."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (psycopg.OperationalError("refused"), True),
        (psycopg.InterfaceError("?"), True),
        (ConnectionRefusedError("refused"), True),
        (exc.OperationalError("SELECT 1", {}, psycopg.OperationalError("gone")), True),
        (psycopg.ProgrammingError("invalid dsn"), False),
        (exc.ProgrammingError("SELECT oops", {}, psycopg.ProgrammingError("oops")), False),
        (exc.InvalidRequestError("?"), False),
        (pymysql.err.OperationalError("another driver's"), False),
        (TypeError("a bug"), False),
        (Mistake(), False),
    ],
)
def test_only_what_says_something_about_the_server_has_others_wait(
    error: Exception, expected: bool
) -> None:
    engine = make("psycopg", 1)

    @event.listens_for(engine, "do_connect")
    def fail(*_: Any) -> None:
        raise error

    with pytest.raises((type(error), exc.DBAPIError)):
        engine.connect()
    assert failures(engine) == expected


def test_nor_does_what_a_listener_raises(postgres: Postgres) -> None:
    engine = make("psycopg", postgres.port)

    @event.listens_for(engine, "connect")
    def fail(*_: Any) -> None:
        raise Mistake

    with pytest.raises(Mistake):
        engine.connect()
    assert failures(engine) == 0
