"""A server that has become read-only costs one error, not one for each connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pymysql
import pytest

from forksafe_dbapi import Pool
from forksafe_dbapi._failures import is_read_only
from forksafe_pool import Pool as AnyPool
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql import run, session_id

SIZE = 3


@pytest.fixture
def replicated(
    table: str, database: Database
) -> Iterator[tuple[AnyPool[Any], Callable[[bool], None]]]:
    """A pool, and what makes its server read-only, or a primary again.

    MariaDB's is so for all that are not root, PostgreSQL's for the sessions that there are.
    """
    if database.driver == "psycopg2":
        with Pool(database.connect, max_size=SIZE) as pool:
            yield pool, lambda read_only: demote(pool) if read_only else None
        return
    with closing(database.connect()) as root:
        run(root, "CREATE USER app@'127.0.0.1'")
        run(root, "GRANT ALL ON mysql.numbers TO app@'127.0.0.1'")
        try:
            with Pool(lambda: database.connect(user="app"), max_size=SIZE) as pool:
                yield pool, lambda read_only: run(root, f"SET GLOBAL read_only = {read_only}")
        finally:
            run(root, "SET GLOBAL read_only = 0")
            run(root, "DROP USER app@'127.0.0.1'")


def fill(pool: AnyPool[Any]) -> set[int]:
    """Each of its sessions, all of them idle afterwards."""
    conns = [pool.acquire() for _ in range(SIZE)]
    sessions = {session_id(conn) for conn in conns}
    for conn in conns:
        pool.release(conn)
    assert len(sessions) == SIZE
    return sessions


def demote(pool: AnyPool[Any]) -> None:
    conns = [pool.acquire() for _ in range(SIZE)]
    for conn in conns:
        run(conn, "SET default_transaction_read_only = on")
        conn.commit()
        pool.release(conn)


def write(pool: AnyPool[Any]) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        conn.commit()


def test_a_failover_costs_one_error(replicated: Any) -> None:
    pool, set_read_only = replicated
    sessions = fill(pool)
    set_read_only(True)
    with pytest.raises(Exception, match=r"read-only"):
        write(pool)
    assert pool.stats().total == 0
    set_read_only(False)
    write(pool)
    assert sessions.isdisjoint(fill(pool))


def test_what_is_released_in_a_finally_is_closed(replicated: Any) -> None:
    """Where no block tells the pool, the others are left."""
    pool, set_read_only = replicated

    def write_by_hand() -> None:
        conn = pool.acquire()
        try:
            run(conn, "INSERT INTO numbers VALUES (1)")
        finally:
            pool.release(conn)

    fill(pool)
    set_read_only(True)
    for left in range(SIZE - 1, -1, -1):
        with pytest.raises(Exception, match=r"read-only"):
            write_by_hand()
        assert pool.stats().total == left
    set_read_only(False)
    write_by_hand()


def test_an_evict_on_of_the_user_s_replaces_the_default(database: Database) -> None:
    def fail(pool: AnyPool[Any]) -> None:
        with pool.connection() as conn:
            run(conn, "SELEKT")

    with Pool(database.connect, max_size=SIZE, evict_on=lambda error: True) as pool:
        sessions = fill(pool)
        with pytest.raises(Exception, match=r"(?i)syntax"):
            fail(pool)
        assert sessions.isdisjoint(fill(pool))
    with Pool(database.connect, max_size=SIZE) as pool:
        sessions = fill(pool)
        with pytest.raises(Exception, match=r"(?i)syntax"):
            fail(pool)
        assert fill(pool) == sessions


def with_state(**attributes: str) -> Exception:
    error = Exception("cannot execute INSERT in a read-only transaction")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def led_to(error: Exception) -> Exception:
    wrapped = ValueError("no luck")
    wrapped.__cause__ = error
    return wrapped


def circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymysql.err.OperationalError(1290, "The MySQL server is running with --read-only"), True),
        (pymysql.err.OperationalError(1290, "… with the --super-read-only option so"), True),
        (pymysql.err.OperationalError(1290, "… with the --secure-file-priv option so"), False),
        (pymysql.err.InternalError(1792, "Cannot execute statement in a READ ONLY"), True),
        (pymysql.err.OperationalError(1836, "Running in read-only mode"), True),
        (pymysql.err.OperationalError(2013, "Lost connection"), False),
        (with_state(pgcode="25006"), True),
        (with_state(sqlstate="25006"), True),
        (with_state(sqlstate="25P02"), False),
        (led_to(with_state(pgcode="25006")), True),
        (led_to(ValueError(1836.0)), False),
        (Exception(), False),
        (circle(), False),
    ],
)
def test_which_errors_say_so(error: Exception, expected: bool) -> None:
    assert is_read_only(error) is expected
