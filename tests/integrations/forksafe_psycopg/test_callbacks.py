"""What the pool is given to call, and what that leaves behind."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from forksafe_psycopg import Pool
from tests.support.sql import ask, new_session, run, session_id

Connection = psycopg.Connection[Any]


def select(conn: Connection) -> None:
    run(conn, "SELECT 1")


def fail(conn: Connection) -> None:
    run(conn, "SELECT 1 / 0")


def fail_quietly(conn: Connection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        fail(conn)


def is_idle(conn: Connection) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


def close(conn: Connection) -> None:
    conn.close()


def test_configure_prepares_each_connection(dsn: str) -> None:
    def configure(conn: Connection) -> None:
        conn.execute("SET search_path TO elsewhere")
        conn.commit()

    with Pool(dsn, configure=configure) as pool:
        with pytest.raises(ZeroDivisionError), pool.connection() as conn:
            _ = 1 / 0
        for _ in range(2):
            with pool.connection() as conn:
                assert ask(conn, "SHOW search_path") == "elsewhere"


@pytest.mark.parametrize(
    ("configure", "state"), [(select, "INTRANS"), (fail_quietly, "INERROR"), (close, "UNKNOWN")]
)
def test_configure_that_leaves_a_transaction_open(dsn: str, configure: Any, state: str) -> None:
    made = []

    def remember(conn: Connection) -> None:
        made.append(conn)
        configure(conn)

    with Pool(dsn, configure=remember, name="shop", max_size=1, timeout=0) as pool:
        for _ in range(3):
            with pytest.raises(psycopg.ProgrammingError, match=f"configure of shop .* {state}"):
                pool.acquire()
        stats = pool.stats()
        assert (stats.total, stats.connect_errors) == (0, 3)
        assert [conn.closed for conn in made] == [True] * 3


def test_configure_that_raises(dsn: str) -> None:
    with Pool(dsn, configure=fail, max_size=1, timeout=0) as pool:
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                pool.acquire()
        assert pool.stats().total == 0


@pytest.mark.parametrize("check", [select, fail_quietly])
def test_a_check_may_leave_a_transaction_open(dsn: str, check: Any) -> None:
    with Pool(dsn, check=check, check_after=0, max_size=1) as pool:
        session = new_session(pool)
        conn = pool.acquire()
        assert is_idle(conn)
        assert session_id(conn) == session
        pool.release(conn)


@pytest.mark.parametrize("check", [fail, close, lambda conn: False])
def test_a_check_that_fails_replaces_the_connection(dsn: str, check: Any) -> None:
    with Pool(dsn, check=check, check_after=0, max_size=1, timeout=0) as pool:
        session = new_session(pool)
        assert new_session(pool) != session
        stats = pool.stats()
        assert (stats.total, stats.closed) == (1, 1)


def test_a_reset_finds_the_transaction_ended(dsn: str) -> None:
    """It may change what cannot be changed inside of one."""

    def reset(conn: Connection) -> None:
        conn.autocommit = False

    with Pool(dsn, reset=reset, max_size=1) as pool:
        conn = pool.acquire()
        conn.autocommit = True
        run(conn, "BEGIN")
        pool.release(conn)
        assert pool.acquire() is conn
        assert not conn.autocommit
        pool.release(conn)


@pytest.mark.parametrize("reset", [close, lambda conn: False])
def test_a_reset_that_refuses(dsn: str, reset: Any) -> None:
    with Pool(dsn, reset=reset, max_size=1, timeout=0) as pool:
        session = new_session(pool)
        assert pool.stats().total == 0
        assert new_session(pool) != session


def test_a_reset_that_raises(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with Pool(dsn, reset=fail, name="shop", max_size=1, timeout=0) as pool:
        session = new_session(pool)
        assert pool.stats().total == 0
        assert new_session(pool) != session
    assert "shop: reset failed" in caplog.text


def test_a_reset_that_is_cut_off(dsn: str) -> None:
    def reset(conn: Connection) -> None:
        raise KeyboardInterrupt

    with Pool(dsn, reset=reset, max_size=1, timeout=0) as pool:
        conn = pool.acquire()
        with pytest.raises(KeyboardInterrupt):
            pool.release(conn)
        assert conn.closed
        assert pool.stats().total == 0


def test_close_is_called(dsn: str) -> None:
    closed = []

    def say_and_close(conn: Connection) -> None:
        closed.append(conn)
        conn.close()

    with Pool(dsn, close=say_and_close) as pool:
        conn = pool.acquire()
        pool.release(conn)
    assert closed == [conn]
