"""What a user leaves behind in a session is gone when the next one gets it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from forksafe_sqlalchemy import QueuePool
from tests.integrations.forksafe_sqlalchemy.work import session_id
from tests.support.mariadb import MariaDB
from tests.support.postgres import Postgres

POSTGRES_DRIVERS = ["psycopg", "psycopg2"]

LEAVE = [
    "SET application_name = 'mine'",
    "SET search_path = mine",
    "CREATE TEMPORARY TABLE mine (n INTEGER)",
    "SELECT pg_advisory_lock(1)",
    "LISTEN mine",
    "PREPARE mine AS SELECT 1",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
]
LEFT = {
    "application_name": "SELECT current_setting('application_name') = 'mine'",
    "search_path": "SELECT current_setting('search_path') = 'mine'",
    "read only": "SELECT current_setting('default_transaction_read_only') = 'on'",
    "table": "SELECT to_regclass('pg_temp.mine') IS NOT NULL",
    "lock": "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 1",
    "listen": "SELECT count(*) > 0 FROM pg_listening_channels()",
    "statement": "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'mine'",
}


def leave(connection: Connection) -> None:
    for statement in LEAVE:
        connection.execute(text(statement))
        connection.commit()


def left(connection: Connection) -> set[str]:
    return {name for name, query in LEFT.items() if connection.scalar(text(query))}


@pytest.fixture(params=POSTGRES_DRIVERS)
def driver(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def make(postgres: Postgres, driver: str, **options: Any) -> Engine:
    return create_engine(
        postgres.url(driver), poolclass=QueuePool, pool_size=1, max_overflow=0, **options
    )


@pytest.fixture
def engine(postgres: Postgres, driver: str) -> Iterator[Engine]:
    engine = make(postgres, driver, reset="DISCARD ALL")
    yield engine
    engine.dispose()


@pytest.mark.parametrize("end", ["commit", "rollback", "neither", "error"])
def test_discard_all(engine: Engine, end: str, caplog: pytest.LogCaptureFixture) -> None:
    with engine.connect() as connection:
        session = session_id(connection)
        leave(connection)
        assert left(connection) == set(LEFT)
        # Often enough for psycopg to prepare it on the server.
        for _ in range(8):
            connection.execute(text("SELECT 1"))
        if end == "error":
            with pytest.raises(Exception, match="syntax error"):
                connection.execute(text("oops"))
        elif end != "neither":
            getattr(connection, end)()
    with engine.connect() as connection:
        assert session_id(connection) == session
        assert left(connection) == set()
        for _ in range(8):
            connection.execute(text("SELECT 1"))
        connection.execute(text("CREATE TABLE IF NOT EXISTS gone (n INTEGER)"))
    with engine.connect() as connection:  # it is transactional still
        assert session_id(connection) == session
        assert connection.scalar(text("SELECT to_regclass('gone')")) is None
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_without_it_the_next_user_finds_it_all(postgres: Postgres, driver: str) -> None:
    engine = make(postgres, driver)
    with engine.connect() as connection:
        leave(connection)
    with engine.connect() as connection:
        assert left(connection) == set(LEFT)
    engine.dispose()


def level(connection: Connection) -> tuple[object, object]:
    driver_s: Any = connection.connection.dbapi_connection
    return driver_s.autocommit, connection.scalar(text("SHOW transaction_isolation"))


LEVELS = {"AUTOCOMMIT": (True, "read committed"), "SERIALIZABLE": (False, "serializable")}
USUAL = (False, "read committed")


@pytest.mark.parametrize("name", list(LEVELS))
@pytest.mark.parametrize("of", ["engine", "connection"])
def test_an_isolation_level_is_as_it_was(
    postgres: Postgres, driver: str, name: str, of: str
) -> None:
    options = {"isolation_level": name}
    engine = make(postgres, driver, reset="DISCARD ALL", **(options if of == "engine" else {}))
    usual = LEVELS[name] if of == "engine" else USUAL
    for _ in range(2):
        with engine.connect() as connection:
            assert level(connection) == usual
        with engine.connect() as connection:
            if of == "connection":
                connection.execution_options(**options)
            assert level(connection) == LEVELS[name]
            connection.execute(text("SET application_name = 'mine'"))
    with engine.connect() as connection:
        assert level(connection) == usual
        assert left(connection) == set()
    engine.dispose()


def test_it_stays_when_the_engine_is_disposed(engine: Engine) -> None:
    engine.dispose()
    with engine.connect() as connection:
        leave(connection)
    with engine.connect() as connection:
        assert left(connection) == set()


def test_a_reset_that_fails_costs_the_connection_and_is_told(
    postgres: Postgres, driver: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = make(postgres, driver, reset="oops")
    with engine.connect() as connection:
        session = session_id(connection)
    assert "syntax error" in caplog.text
    with engine.connect() as connection:
        assert session_id(connection) != session
    engine.dispose()


@pytest.mark.parametrize("reset", [7, b"DISCARD ALL", print, ""])
def test_a_reset_that_is_no_statement(reset: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^reset must be a statement"):
        create_engine("sqlite://", poolclass=QueuePool, reset=reset)


def with_pymysql(conn: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    """As in `forksafe_sqlalchemy`."""
    if not state.terminate_only:
        conn._execute_command(0x1F, b"")  # COM_RESET_CONNECTION, for which it has no method
        conn._read_ok_packet()
        conn.select_db("mysql")
        conn.set_character_set(conn.charset)
        conn.autocommit(False)


def with_mysqlclient(conn: Any, record: ConnectionPoolEntry, state: PoolResetState) -> None:
    """As in `forksafe_sqlalchemy`."""
    if not state.terminate_only:
        conn.change_user("root", "", "mysql")
        conn.autocommit(False)


@pytest.mark.parametrize(
    ("driver", "module", "recipe"),
    [("pymysql", "pymysql", with_pymysql), ("mysqldb", "MySQLdb", with_mysqlclient)],
)
def test_the_recipes_for_mysql(
    mariadb: MariaDB, driver: str, module: str, recipe: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip(module, reason=f"no {module} here: it is built from source")
    engine = create_engine(mariadb.url(driver), poolclass=QueuePool, pool_size=1, max_overflow=0)
    event.listen(engine, "reset", recipe)
    leave = [
        "SET @mine = 1",
        "SET sql_mode = 'ANSI'",
        "CREATE TEMPORARY TABLE mine (n INTEGER)",
        "SELECT get_lock('mine', 0)",
        "PREPARE mine FROM 'SELECT 1'",
        "USE information_schema",
    ]
    with engine.connect() as connection:
        session = session_id(connection)
        charset = connection.scalar(text("SELECT @@character_set_client"))
        for statement in leave:
            connection.execute(text(statement))
    with engine.connect() as connection:
        assert session_id(connection) == session
        assert connection.scalar(text("SELECT @mine")) is None
        assert connection.scalar(text("SELECT database()")) == "mysql"
        assert "ANSI" not in str(connection.scalar(text("SELECT @@sql_mode")))
        assert connection.scalar(text("SELECT is_free_lock('mine')")) == 1
        assert connection.scalar(text("SELECT @@character_set_client")) == charset
        assert connection.scalar(text("SELECT @@autocommit")) == 0
        with pytest.raises(Exception, match="doesn't exist"):
            connection.execute(text("SELECT * FROM mine"))
        with pytest.raises(Exception, match="Unknown prepared statement"):
            connection.execute(text("EXECUTE mine"))
    engine.dispose()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
