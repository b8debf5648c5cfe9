"""A server that has become read-only costs one error, not one for each connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import psycopg
import pytest

from forksafe_pool import Pool as AnyPool
from forksafe_psycopg import Pool
from tests.support.sql import ask, run
from tests.support.sql_failover import SIZE, FailoverCases, SetReadOnly, demote, fill, write

Connection = psycopg.Connection[Any]


class TestFailover(FailoverCases):
    pass


@pytest.fixture
def make_pool(dsn: str) -> Callable[..., Pool]:
    return partial(Pool, dsn)


@pytest.fixture
def replicated(table: str, dsn: str) -> Iterator[tuple[AnyPool[Connection], SetReadOnly]]:
    with Pool(dsn, max_size=SIZE) as pool:
        yield pool, lambda read_only: demote(pool) if read_only else None


class Unavailable(Exception):
    """What an application makes of it."""


def write_and_wrap(pool: AnyPool[Connection]) -> None:
    with pool.connection() as conn:
        try:
            run(conn, "INSERT INTO numbers VALUES (1)")
        except psycopg.Error as error:
            raise Unavailable from error


def test_so_it_does_where_the_application_raises_its_own(
    replicated: tuple[AnyPool[Connection], SetReadOnly],
) -> None:
    pool, set_read_only = replicated
    set_read_only(True)
    with pytest.raises(Unavailable):
        write_and_wrap(pool)
    assert pool.stats().total == 0
    write(pool)


def test_an_evict_on_of_the_user_s_replaces_the_default(table: str, dsn: str) -> None:
    errors: list[BaseException] = []

    def evict_on(error: BaseException) -> bool:
        errors.append(error)
        return isinstance(error, psycopg.errors.DivisionByZero)

    def fail(pool: AnyPool[Connection]) -> None:
        with pool.connection() as conn:
            run(conn, "SELECT 1 / 0")

    with Pool(dsn, max_size=SIZE, evict_on=evict_on) as pool:
        demote(pool)
        sessions = fill(pool)
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
