"""A server that has become read-only costs one error, not one for each connection."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from forksafe_pool import Pool as AnyPool
from forksafe_psycopg import Pool
from tests.support.sql import ask, new_session, run, session_id

Connection = psycopg.Connection[Any]

SIZE = 3


def fill(pool: AnyPool[Connection]) -> set[int]:
    """Each of its sessions, all of them idle afterwards."""
    conns = [pool.acquire() for _ in range(SIZE)]
    sessions = {session_id(conn) for conn in conns}
    for conn in conns:
        pool.release(conn)
    assert len(sessions) == SIZE
    return sessions


def demote(pool: AnyPool[Connection]) -> set[int]:
    """The sessions that there are lead to what was the primary; new ones to the new primary."""
    conns = [pool.acquire() for _ in range(SIZE)]
    for conn in conns:
        run(conn, "SET default_transaction_read_only = on")
        conn.commit()
        pool.release(conn)
    return fill(pool)


def write(pool: AnyPool[Connection]) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")


class Unavailable(Exception):
    """What an application makes of it."""


def write_and_wrap(pool: AnyPool[Connection]) -> None:
    with pool.connection() as conn:
        try:
            run(conn, "INSERT INTO numbers VALUES (1)")
        except psycopg.Error as error:
            raise Unavailable from error


def test_what_is_released_in_a_finally_is_closed(table: str, dsn: str) -> None:
    """Where no block tells the pool, the others are left."""

    def write_by_hand(pool: AnyPool[Connection]) -> None:
        conn = pool.acquire()
        try:
            run(conn, "INSERT INTO numbers VALUES (1)")
        finally:
            pool.release(conn)

    with Pool(dsn, max_size=SIZE) as pool:
        demote(pool)
        for left in range(SIZE - 1, -1, -1):
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                write_by_hand(pool)
            assert pool.stats().total == left
        write_by_hand(pool)


@pytest.mark.parametrize(
    ("write_first", "error"),
    [(write, psycopg.errors.ReadOnlySqlTransaction), (write_and_wrap, Unavailable)],
)
def test_a_failover_costs_one_error(
    table: str, dsn: str, write_first: Any, error: type[Exception]
) -> None:
    with Pool(dsn, max_size=SIZE) as pool:
        sessions = demote(pool)
        with pytest.raises(error):
            write_first(pool)
        assert pool.stats().total == 0
        write(pool)
        assert sessions.isdisjoint(fill(pool))
        assert pool.stats().foreign_releases == 0


def test_what_is_in_use_meanwhile_is_replaced_when_it_comes_back(table: str, dsn: str) -> None:
    with Pool(dsn, max_size=SIZE) as pool:
        sessions = demote(pool)
        with pool.connection() as conn:
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                write(pool)
            assert session_id(conn) in sessions
        assert pool.stats().total == 0
        assert new_session(pool) not in sessions


def test_other_errors_evict_nothing(dsn: str) -> None:
    def fail(pool: AnyPool[Connection]) -> None:
        with pool.connection() as conn:
            run(conn, "SELECT 1 / 0")

    with Pool(dsn, max_size=SIZE) as pool:
        sessions = fill(pool)
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail(pool)
        assert fill(pool) == sessions


def test_an_evict_on_of_the_user_s_replaces_the_default(table: str, dsn: str) -> None:
    errors: list[BaseException] = []

    def evict_on(error: BaseException) -> bool:
        errors.append(error)
        return isinstance(error, psycopg.errors.DivisionByZero)

    def fail(pool: AnyPool[Connection]) -> None:
        with pool.connection() as conn:
            run(conn, "SELECT 1 / 0")

    with Pool(dsn, max_size=SIZE, evict_on=evict_on) as pool:
        sessions = demote(pool)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            write(pool)
        assert fill(pool) == sessions
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail(pool)
        assert sessions.isdisjoint(fill(pool))
        assert [type(error).__name__ for error in errors] == [
            "ReadOnlySqlTransaction",
            "DivisionByZero",
        ]


def test_a_connection_may_be_discarded_inside_its_block(table: str, dsn: str) -> None:
    """The answer to such an error that is handled inside."""
    with Pool(dsn, max_size=SIZE) as pool:
        with pool.connection() as conn:
            run(conn, "INSERT INTO numbers VALUES (1)")
            pool.discard(conn)
        stats = pool.stats()
        assert (stats.total, stats.in_use, stats.foreign_releases) == (0, 0, 0)
        with pool.connection() as conn:
            assert ask(conn, "SELECT count(*) FROM numbers") == 0  # it was not committed
            run(conn, "INSERT INTO numbers VALUES (1)")
        assert pool.stats().available == 1


def test_a_block_that_is_entered_twice(table: str, dsn: str) -> None:
    with Pool(dsn, max_size=SIZE) as pool:
        block = pool.connection()
        with block as conn:
            run(conn, "INSERT INTO numbers VALUES (1)")
            with pytest.raises(RuntimeError, match="entered again"):
                block.__enter__()
        with pytest.raises(RuntimeError, match="not been entered"):
            block.__exit__(None, None, None)
        with block as conn:  # one after the other
            assert ask(conn, "SELECT count(*) FROM numbers") == 1
        stats = pool.stats()
        assert (stats.total, stats.in_use, stats.available) == (1, 0, 1)
