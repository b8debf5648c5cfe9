"""The next user of a connection finds no trace of the one before: real drivers, real servers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg2.errors
import pymysql
import pytest

from forksafe_dbapi import Pool
from forksafe_pool import PoolError
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql import (
    LIMIT,
    ask,
    make_pool,
    new_session,
    run,
    session_id,
)

only_mariadb = pytest.mark.parametrize("database", ["pymysql", "mysqlclient"], indirect=True)
only_psycopg2 = pytest.mark.parametrize("database", ["psycopg2"], indirect=True)

# The same in both drivers' constants.
MULTI_STATEMENTS = 1 << 16


class Stop(BaseException):
    """As SystemExit is, or a greenlet's."""


def count(pool: Pool[Any]) -> int:
    with pool.connection() as conn:
        return int(ask(conn, "SELECT count(*) FROM numbers"))


def replaces(pool: Pool[Any], session: int) -> bool:
    """Whether the next user gets a new session in the only place."""
    other = new_session(pool)
    stats = pool.stats()
    assert (stats.total, stats.available, stats.in_use) == (1, 1, 0)
    return other != session


def test_what_was_committed_stays(table: str, pool: Pool[Any]) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        conn.commit()
    pool.discard(pool.acquire())
    assert count(pool) == 1


def test_a_block_that_raises(table: str, pool: Pool[Any]) -> None:
    session = new_session(pool)

    def insert_and_raise(error: BaseException) -> None:
        with pool.connection() as conn:
            run(conn, "INSERT INTO numbers VALUES (1)")
            raise error

    with pytest.raises(ZeroDivisionError):
        insert_and_raise(ZeroDivisionError())
    assert count(pool) == 0
    with pytest.raises(Exception, match=r"(?i)syntax"), pool.connection() as conn:
        run(conn, "SELEKT")
    assert not replaces(pool, session)
    with pytest.raises(Stop):
        insert_and_raise(Stop())
    assert pool.stats().total == 0
    assert count(pool) == 0
    assert replaces(pool, session)


def in_transaction(conn: Any) -> bool:
    """As far as the driver can tell."""
    status = getattr(conn, "get_transaction_status", lambda: 0)
    return bool(status() != 0)


def test_a_release_in_finally(pool: Pool[Any]) -> None:
    session = new_session(pool)

    def work(statement: str, conn: Any) -> None:
        try:
            run(conn, statement)
        finally:
            pool.release(conn)

    conn = pool.acquire()
    with pytest.raises(Exception, match=r"(?i)syntax"):
        work("SELEKT", conn)
    assert not in_transaction(conn)
    assert not replaces(pool, session)


class Soft(Exception):
    """What a time limit raises by a signal."""


@pytest.mark.parametrize("error", [Soft, Stop])
@pytest.mark.parametrize("database", ["pymysql"], indirect=True)
def test_a_release_in_finally_in_mid_reply(database: Database, error: type[BaseException]) -> None:
    class Struck(pymysql.connections.Connection):
        armed = False

        def _write_bytes(self, data: bytes) -> None:
            super()._write_bytes(data)  # type: ignore[misc]
            if self.armed:
                self.armed = False
                raise error

    def connect() -> Struck:
        return Struck(host="127.0.0.1", port=database.port, user="root", read_timeout=LIMIT)

    def work(pool: Any) -> None:
        conn = pool.acquire()
        try:
            conn.armed = True
            run(conn, "SET @answer = 1")
        finally:
            pool.release(conn)

    with Pool(connect, max_size=1) as pool:
        with pytest.raises(error):
            work(pool)
        assert pool.stats().total == 0
        for answer in range(3):
            with pool.connection() as conn:
                assert ask(conn, f"SELECT {answer}") == answer


def test_a_connect_that_returns_a_closed_connection(database: Database) -> None:
    def connect() -> Any:
        conn = database.connect()
        conn.close()
        return conn

    pool = Pool(connect, max_size=1, timeout=0, name="shop")
    for _ in range(2):
        with pytest.raises(PoolError, match="connect of shop returned a closed connection: <"):
            pool.acquire()
    assert pool.stats().total == 0


def test_what_a_check_begins_is_rolled_back(table: str, database: Database) -> None:
    def insert(conn: Any) -> None:
        run(conn, "INSERT INTO numbers VALUES (1)")

    def look(conn: Any) -> int:
        return int(ask(conn, "SELECT count(*) FROM numbers"))

    options: dict[str, Any] = {"check": insert, "max_size": 1, "check_after": 0}
    with make_pool(database.driver, database.address, **options) as pool:
        session = new_session(pool)
        with pool.connection() as conn:
            assert look(conn) == 0
            conn.commit()
        assert new_session(pool) == session


@pytest.mark.parametrize("callback", ["check", "reset"])
@pytest.mark.parametrize("refuse", [lambda conn: False, lambda conn: 1 / 0])
def test_a_callback_that_refuses(
    database: Database, callback: str, refuse: Callable[[Any], object]
) -> None:
    options: dict[str, Any] = {callback: refuse, "max_size": 1, "check_after": 0}
    with make_pool(database.driver, database.address, **options) as pool:
        session = new_session(pool)
        assert new_session(pool) != session
        assert pool.stats().total <= 1


@only_psycopg2
def test_a_transaction_that_psycopg2_does_not_know_of(table: str, pool: Pool[Any]) -> None:
    """In autocommit mode its rollback() does nothing."""
    with pool.connection() as conn:
        session = session_id(conn)
        conn.rollback()
        conn.autocommit = True
        run(conn, "BEGIN")
        run(conn, "INSERT INTO numbers VALUES (1)")
    assert conn.closed
    assert count(pool) == 0
    assert replaces(pool, session)


@only_psycopg2
def test_a_transaction_that_failed(pool: Pool[Any]) -> None:
    with pool.connection() as conn:
        session = session_id(conn)
        with pytest.raises(psycopg2.errors.DivisionByZero):
            run(conn, "SELECT 1 / 0")
    assert not replaces(pool, session)


@only_mariadb
def test_a_transaction_of_autocommit_mode(table: str, pool: Pool[Any]) -> None:
    with pool.connection() as conn:
        session = session_id(conn)
        conn.autocommit(True)
        run(conn, "BEGIN")
        run(conn, "INSERT INTO numbers VALUES (1)")
    assert count(pool) == 0
    assert not replaces(pool, session)


@pytest.mark.filterwarnings("ignore:Previous unbuffered result was left incomplete")
@pytest.mark.parametrize("rows", [10, 20000])
@only_mariadb
def test_rows_that_nobody_read(database: Database, pool: Pool[Any], rows: int) -> None:
    with pool.connection() as conn:
        cursor = conn.cursor(database.cursors().SSCursor)
        cursor.execute(f"SELECT seq, repeat('x', 1000) FROM seq_1_to_{rows}")  # noqa: S608
        assert cursor.fetchone()[0] == 1
    for answer in range(3):
        with pool.connection() as conn:
            assert ask(conn, f"SELECT {answer}") == answer
    assert pool.stats().total == 1


@only_mariadb
def test_results_that_nobody_read(database: Database) -> None:
    two_results = "SELECT 1; SELECT 2"
    with Pool(lambda: database.connect(client_flag=MULTI_STATEMENTS), max_size=1) as pool:
        with pool.connection() as conn:
            cursor = conn.cursor()
            cursor.execute(two_results)
        for answer in range(3, 6):
            with pool.connection() as conn:
                assert ask(conn, f"SELECT {answer}") == answer
        assert pool.stats().total == 1
        del cursor  # held until now: to free it reads what is left
