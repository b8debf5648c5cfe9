"""The next user of a connection finds no trace of the one before."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.pq import PipelineStatus, TransactionStatus

from forksafe_psycopg import Pool
from tests.support.sql import Onlooker, ask, run, session_id

Connection = psycopg.Connection[Any]


def assert_clean(conn: Connection) -> None:
    assert conn.pgconn.transaction_status == TransactionStatus.IDLE
    assert conn.pgconn.pipeline_status == PipelineStatus.OFF
    assert ask(conn, "SELECT 42") == 42
    conn.commit()
    with conn.transaction():
        assert ask(conn, "SELECT 43") == 43


def start_transaction(conn: Connection) -> None:
    run(conn, "CREATE TABLE never (n INTEGER)")


def fail_in_transaction(conn: Connection) -> None:
    start_transaction(conn)
    with pytest.raises(psycopg.errors.DivisionByZero):
        run(conn, "SELECT 1 / 0")


def begin_in_autocommit(conn: Connection) -> None:
    conn.autocommit = True
    run(conn, "BEGIN")
    start_transaction(conn)


@pytest.mark.parametrize(
    "leave",
    [start_transaction, fail_in_transaction, begin_in_autocommit],
    ids=lambda leave: leave.__name__,
)
def test_an_open_transaction_is_rolled_back(
    pool: Pool, leave: Callable[[Connection], None]
) -> None:
    conn = pool.acquire()
    session = session_id(conn)
    conn.rollback()
    leave(conn)
    pool.release(conn)
    assert conn.pgconn.transaction_status == TransactionStatus.IDLE

    conn = pool.acquire()
    conn.autocommit = False
    assert session_id(conn) == session
    conn.rollback()
    assert ask(conn, "SELECT to_regclass('never')") is None
    conn.rollback()
    assert_clean(conn)
    pool.release(conn)


def copy_out(conn: Connection) -> Any:
    copy = conn.cursor().copy("COPY (SELECT generate_series(1, 100000)) TO STDOUT")
    return copy, copy.__enter__().read()


def copy_in(conn: Connection) -> Any:
    run(conn, "CREATE TEMPORARY TABLE here (n INTEGER)")
    copy = conn.cursor().copy("COPY here FROM STDIN")
    copy.__enter__().write("1\n")
    return copy


def stream(conn: Connection) -> Any:
    rows = conn.cursor().stream("SELECT generate_series(1, 100000)")
    return rows, next(rows)


def pipeline(conn: Connection) -> Any:
    pipeline = conn.pipeline()
    return pipeline, pipeline.__enter__(), conn.execute("SELECT 1")


def failed_pipeline(conn: Connection) -> Any:
    left = pipeline(conn)
    with pytest.raises(psycopg.errors.DivisionByZero):
        conn.execute("SELECT 1 / 0").fetchone()
    return left


def empty_pipeline(conn: Connection) -> Any:
    pipeline = conn.pipeline()
    return pipeline, pipeline.__enter__()


def query_sent(conn: Connection) -> Any:
    return conn.pgconn.send_query(b"SELECT 1")


def transaction(conn: Connection) -> Any:
    transaction = conn.transaction()
    transaction.__enter__()
    run(conn, "SELECT 1")
    return transaction


def transaction_that_was_ended(conn: Connection) -> Any:
    """The server knows of none any more; psycopg still refuses to commit."""
    transaction = conn.transaction()
    transaction.__enter__()
    run(conn, "ROLLBACK")
    assert conn.pgconn.transaction_status == TransactionStatus.IDLE
    return transaction


def two_phase_transaction(conn: Connection) -> Any:
    conn.tpc_begin(conn.xid(1, "transaction", "branch"))
    run(conn, "SELECT 1")


def two_phase_transaction_that_was_ended(conn: Connection) -> Any:
    conn.tpc_begin(conn.xid(1, "transaction", "branch"))
    run(conn, "ROLLBACK")


LEFT_IN_THE_MIDDLE = [
    copy_out,
    copy_in,
    stream,
    pipeline,
    failed_pipeline,
    empty_pipeline,
    query_sent,
    transaction,
    transaction_that_was_ended,
    two_phase_transaction,
    two_phase_transaction_that_was_ended,
]


@pytest.mark.parametrize("leave", LEFT_IN_THE_MIDDLE, ids=lambda leave: leave.__name__)
def test_what_was_left_in_the_middle_is_closed(
    pool: Pool, onlooker: Onlooker, leave: Callable[[Connection], Any]
) -> None:
    conn = pool.acquire()
    session = session_id(conn)
    conn.rollback()
    left = leave(conn)
    pool.release(conn)
    assert conn.closed
    assert pool.stats().total == 0
    del left
    gc.collect()

    conn = pool.acquire()
    assert session_id(conn) != session
    conn.rollback()
    assert_clean(conn)
    pool.release(conn)
    assert pool.stats().available == 1


@pytest.mark.parametrize("leave", [copy_out, copy_in, stream], ids=lambda leave: leave.__name__)
def test_a_block_that_ends_in_the_middle_of_a_statement(
    pool: Pool, leave: Callable[[Connection], Any]
) -> None:
    """psycopg's commit() would wait for ever: the statement has the connection's lock."""
    block = pool.connection()
    conn = block.__enter__()
    left = leave(conn)
    with pytest.raises(psycopg.ProgrammingError, match="nothing was committed"):
        block.__exit__(None, None, None)
    assert conn.closed
    del left
    assert pool.stats().total == 0
    with pool.connection() as conn:
        assert ask(conn, "SELECT 1") == 1


def test_prepared_statements_outlive_their_user(pool: Pool) -> None:
    for number in range(20):
        with pool.connection() as conn:
            cursor = conn.execute("SELECT %s::int", [number], prepare=True)
            assert cursor.fetchone() == (number,)
        conn = pool.acquire()  # it is rolled back, which makes psycopg forget them
        assert conn.execute("SELECT %s::int", [number], prepare=True).fetchone() == (number,)
        pool.release(conn)
    assert pool.stats().opened == 1
