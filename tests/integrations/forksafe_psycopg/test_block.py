"""``with pool.connection() as conn:`` is a transaction."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus

from forksafe_psycopg import Pool
from tests.support.sql import Onlooker, ask, new_session, run, session_id


class Stop(BaseException):
    """As SystemExit is, or a greenlet's."""


def insert_and_raise(pool: Pool, error: BaseException) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        raise error


def numbers(pool: Pool) -> list[int]:
    with pool.connection() as conn:
        return [n for (n,) in conn.execute("SELECT n FROM numbers ORDER BY n")]


def test_it_commits_at_the_end(table: str, pool: Pool) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        session = session_id(conn)
    pool.discard(pool.acquire())
    assert numbers(pool) == [1]
    assert new_session(pool) != session


def test_it_rolls_back_where_it_raises(table: str, pool: Pool) -> None:
    session = new_session(pool)
    with pytest.raises(ZeroDivisionError):
        insert_and_raise(pool, ZeroDivisionError())
    assert numbers(pool) == []
    assert new_session(pool) == session


def test_the_driver_s_error_reaches_the_user(pool: Pool) -> None:
    session = new_session(pool)
    with pytest.raises(psycopg.errors.SyntaxError), pool.connection() as conn:
        run(conn, "SELEKT")
    assert new_session(pool) == session


def test_what_the_user_has_committed_stays(table: str, pool: Pool) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        conn.commit()
        run(conn, "INSERT INTO numbers VALUES (2)")
        conn.rollback()
    assert numbers(pool) == [1]


def test_a_connection_that_the_user_has_closed_is_left_alone(pool: Pool) -> None:
    with pool.connection() as conn:
        conn.close()
    stats = pool.stats()
    assert (stats.total, stats.closed) == (0, 1)


def test_a_connection_that_the_user_has_given_back_is_left_alone(table: str, pool: Pool) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        pool.release(conn)
        run(conn, "INSERT INTO numbers VALUES (2)")
    conn.rollback()
    assert numbers(pool) == []


def test_a_commit_that_fails_reaches_the_user(table: str, pool: Pool) -> None:
    session = new_session(pool)
    with pytest.raises(psycopg.errors.UniqueViolation), pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1), (1)")  # the constraint is deferred
    assert numbers(pool) == []
    assert new_session(pool) == session


def test_a_commit_on_a_session_that_was_killed(pool: Pool, onlooker: Onlooker) -> None:
    session = new_session(pool)

    def work() -> None:
        with pool.connection() as conn:
            run(conn, "SELECT 1")
            onlooker.kill(session)

    with pytest.raises(psycopg.OperationalError):
        work()
    assert pool.stats().total == 0
    assert new_session(pool) != session


def test_a_commit_that_is_cut_off_closes_the_connection(dsn: str) -> None:
    class CutOff(psycopg.Connection[tuple[int]]):
        def commit(self) -> None:
            raise Stop

    with Pool(dsn, connection_class=CutOff) as pool:
        with pytest.raises(Stop), pool.connection() as conn:
            ask(conn, "SELECT 1")
        assert conn.closed
        assert pool.stats().total == 0


def test_what_was_given_back_inside_and_lent_again_is_not_committed(
    table: str, pool: Pool, onlooker: Onlooker
) -> None:
    with pool.connection() as conn:
        pool.release(conn)
        other = pool.acquire()
        run(other, "INSERT INTO numbers VALUES (1)")
    assert other.info.transaction_status == TransactionStatus.INTRANS
    other.rollback()
    pool.release(other)
    assert numbers(pool) == []


def test_a_block_of_psycopg_s_inside_does_not_close_the_connection(table: str, pool: Pool) -> None:
    with pool.connection() as conn:
        with conn:
            run(conn, "INSERT INTO numbers VALUES (1)")
        run(conn, "INSERT INTO numbers VALUES (2)")
    assert numbers(pool) == [1, 2]


def be_notified(conn: psycopg.Connection[Any]) -> Generator[psycopg.Notify, None, None]:
    """Once; the generator goes on listening."""
    conn.autocommit = True
    conn.execute("LISTEN news")
    conn.execute("NOTIFY news, 'first'")
    notifies = conn.notifies(timeout=30)
    assert next(notifies).payload == "first"
    return notifies


def test_a_block_that_ends_while_it_listens_says_so(pool: Pool) -> None:
    """It would wait for the generator, for ever."""

    def listen() -> None:
        with pool.connection() as conn:
            notifies = be_notified(conn)
        notifies.close()

    session = new_session(pool)
    with pytest.raises(psycopg.ProgrammingError, match=r"notifies\(\)"):
        listen()
    assert new_session(pool) != session


def test_what_is_released_while_it_listens_is_closed(pool: Pool) -> None:
    conn = pool.acquire()
    notifies = be_notified(conn)
    pool.release(conn)
    notifies.close()
    assert conn.closed
    assert pool.stats().total == 0


def test_a_generator_that_is_left_early_keeps_its_connection(pool: Pool) -> None:
    def rows() -> Generator[int, None, None]:
        with pool.connection() as conn:
            yield from (n for (n,) in conn.execute("SELECT generate_series(1, 9)"))

    session = new_session(pool)
    generator = rows()
    assert next(generator) == 1
    generator.close()
    assert new_session(pool) == session
