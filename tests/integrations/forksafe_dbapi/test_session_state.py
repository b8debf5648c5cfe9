"""The next user finds the session as it was made: the recipes, as they are written down."""

from __future__ import annotations

import re
import sqlite3
import textwrap
from contextlib import closing
from typing import Any

import psycopg2.extensions
import pytest

from forksafe_dbapi import Pool
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql import ask, make_pool, new_session, run, session_id

only_psycopg2 = pytest.mark.parametrize(
    "database", ["psycopg2", "psycopg2 over TLS"], indirect=True
)
only_pymysql = pytest.mark.parametrize("database", ["pymysql"], indirect=True)
only_mysqlclient = pytest.mark.parametrize("database", ["mysqlclient"], indirect=True)

DISCARD: dict[str, Any] = {"reset": "DISCARD ALL", "max_size": 1, "timeout": 0}


@only_psycopg2
def test_what_a_session_of_postgresql_has_is_gone(database: Database) -> None:
    with (
        make_pool(database.driver, database.address, **DISCARD) as pool,
        closing(database.connect()) as other,
    ):
        with pool.connection() as conn:
            session = session_id(conn)
            for statement in (
                "SET search_path TO elsewhere",
                "CREATE TEMPORARY TABLE mine (n INTEGER)",
                "LISTEN news",
                "PREPARE mine AS SELECT 1",
                "SELECT pg_advisory_lock(7)",
            ):
                run(conn, statement)
            conn.commit()
        assert ask(other, "SELECT pg_try_advisory_lock(7)")
        with pool.connection() as conn:
            assert session_id(conn) == session
            assert ask(conn, "SHOW search_path") != "elsewhere"
            assert ask(conn, "SELECT to_regclass('pg_temp.mine')") is None
            assert ask(conn, "SELECT count(*) FROM pg_listening_channels()") == 0
            assert ask(conn, "SELECT count(*) FROM pg_prepared_statements") == 0


@only_psycopg2
def test_what_the_user_set_on_the_connection_is_set_back(database: Database) -> None:
    with make_pool(database.driver, database.address, **DISCARD) as pool:
        with pool.connection() as conn:
            conn.autocommit = True
            conn.isolation_level = psycopg2.extensions.ISOLATION_LEVEL_SERIALIZABLE
            conn.readonly = True
            conn.cursor_factory = object
        with pool.connection() as again:
            assert again is conn
            assert (again.autocommit, again.isolation_level) == (False, None)
            assert (again.readonly, again.cursor_factory) == (None, None)


@only_psycopg2
def test_a_connection_is_configured_again(database: Database) -> None:
    def configure(conn: Any) -> None:
        run(conn, "SET search_path TO shop")
        conn.commit()

    options = {**DISCARD, "configure": configure}
    with make_pool(database.driver, database.address, **options) as pool:
        for _ in range(3):
            with pool.connection() as conn:
                assert ask(conn, "SHOW search_path") == "shop"
                run(conn, "SET search_path TO elsewhere")
                conn.commit()
        assert pool.stats().opened == 1


@only_psycopg2
def test_a_reset_that_leaves_its_work_uncommitted_is_told(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"reset": lambda conn: run(conn, "RESET ALL"), "name": "shop"}
    with make_pool(database.driver, database.address, max_size=1, **options) as pool:
        session = new_session(pool)
        assert pool.stats().total == 0
        assert "reset of shop left a transaction open, and the connection is closed" in caplog.text
        assert new_session(pool) != session


@pytest.mark.parametrize("commits", [False, True])
def test_sqlite_tells_that_too(caplog: pytest.LogCaptureFixture, commits: bool) -> None:
    def reset(conn: sqlite3.Connection) -> None:
        conn.execute("INSERT INTO numbers VALUES (1)")
        if commits:
            conn.commit()

    def configure(conn: sqlite3.Connection) -> None:
        conn.execute("CREATE TABLE numbers (n INTEGER)")

    with Pool(lambda: sqlite3.connect(":memory:"), configure=configure, reset=reset) as pool:
        pool.release(pool.acquire())
        assert pool.stats().total == commits
    assert ("left a transaction open" in caplog.text) is not commits


def test_sqlite_runs_a_statement() -> None:
    with Pool(lambda: sqlite3.connect(":memory:"), reset="PRAGMA foreign_keys = 0") as pool:
        with pool.connection() as conn:
            conn.execute("PRAGMA foreign_keys = 1")
            at_first: Any = conn.isolation_level
            conn.isolation_level = None
            conn.row_factory = sqlite3.Row
        with pool.connection() as again:
            assert again is conn
            assert again.row_factory is None
            assert again.isolation_level == at_first
            assert again.execute("PRAGMA foreign_keys").fetchone() == (0,)


@only_pymysql
def test_pymysql_s_reset_that_leaves_a_transaction_open_is_told(
    table: str, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    def reset(conn: Any) -> None:
        run(conn, "INSERT INTO numbers VALUES (1)")

    with make_pool(database.driver, database.address, reset=reset, max_size=1) as pool:
        pool.release(pool.acquire())
        assert pool.stats().total == 0
    assert "left a transaction open" in caplog.text


# MariaDB and MySQL reset a session by a command of the protocol, not by a statement.


def recipe(driver: str) -> Any:
    """The function that `Pool`'s docstring shows, with the tests' names in the place of its own."""
    found = re.search(rf"With {driver}::\n\n(.*?)\n\n", str(Pool.__doc__), re.DOTALL)
    assert found
    source = textwrap.dedent(found[1]).replace('"user", "password"', '"root", ""')
    assert '"shop"' in source
    names: dict[str, Any] = {}
    exec(source.replace('"shop"', '"mysql"'), names)  # noqa: S102 - our own
    return names["reset"]


@pytest.mark.parametrize(
    ("database", "reset"),
    [("pymysql", recipe("PyMySQL")), ("mysqlclient", recipe("mysqlclient"))],
    indirect=["database"],
)
def test_what_a_session_of_mariadb_has_is_gone(database: Database, reset: Any) -> None:
    look = (
        "SELECT @x, @@sql_mode LIKE '%ANSI%', @@tx_isolation, @@time_zone, database(),"
        " @@character_set_client, @@autocommit, is_used_lock('mine')"
    )

    def state(conn: Any) -> Any:
        with closing(conn.cursor()) as cursor:
            cursor.execute(look)
            return cursor.fetchone()

    with make_pool(database.driver, database.address, reset=reset, max_size=1) as pool:
        with pool.connection() as conn:
            session = session_id(conn)
            at_first = state(conn)
            for statement in (
                "SET @x = 5",
                "SET sql_mode = 'ANSI'",
                "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "SET time_zone = '+05:00'",
                "SET NAMES latin1",
                "SET autocommit = 1",
                "CREATE TEMPORARY TABLE mine (n INTEGER)",
                "USE information_schema",
                "SELECT get_lock('mine', 1)",
            ):
                run(conn, statement)
            assert not set(state(conn)[:3]) & set(at_first[:3])
        with pool.connection() as conn:
            assert session_id(conn) == session
            assert state(conn) == at_first
            with pytest.raises(Exception, match=r"mine.* doesn't exist"):
                run(conn, "SELECT * FROM mine")
        assert pool.stats().opened == 1


@pytest.mark.parametrize("database", ["pymysql", "mysqlclient"], indirect=True)
def test_a_statement_of_mariadb(database: Database) -> None:
    reset = "SET @@sql_mode = DEFAULT, @@time_zone = DEFAULT"
    with make_pool(database.driver, database.address, reset=reset, max_size=1) as pool:
        with pool.connection() as conn:
            session = session_id(conn)
            run(conn, "SET sql_mode = 'ANSI'")
            conn.autocommit(True)
        with pool.connection() as conn:
            assert not ask(conn, "SELECT @@sql_mode LIKE '%ANSI%'")
            assert not ask(conn, "SELECT @@autocommit")
            assert session_id(conn) == session


@pytest.mark.parametrize("reset", [sqlite3.Connection.close, lambda conn: False])
def test_a_reset_that_refuses_says_nothing_of_transactions(
    reset: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with Pool(lambda: sqlite3.connect(":memory:"), reset=reset) as pool:
        pool.release(pool.acquire())
        assert pool.stats().total == 0
    assert "transaction" not in caplog.text


@pytest.mark.parametrize("reset", ["", b"DISCARD ALL", 5])
def test_what_is_no_statement(reset: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="reset must be a function or a statement"):
        Pool(lambda: sqlite3.connect(":memory:"), reset=reset)
