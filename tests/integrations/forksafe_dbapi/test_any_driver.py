"""Drivers that show no socket, that refuse to roll back, that are short of something."""

from __future__ import annotations

import contextlib
import gc
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from forksafe_dbapi import Pool
from forksafe_pool import Pool as AnyPool
from forksafe_pool import PoolError
from tests.support.quiet import in_quiet_child

Fork = Callable[[], int]


class Connection:
    """Fails to roll back when it is told to, and says how often it did."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.rollbacks = 0
        self.closed = False

    def cursor(self) -> Any:
        raise NotImplementedError

    def rollback(self) -> None:
        if self.error is not None:
            raise self.error
        self.rollbacks += 1

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [ValueError("out of step"), NotImplementedError()])
def test_one_that_cannot_roll_back_is_replaced(error: Exception) -> None:
    with Pool(Connection, max_size=1, timeout=0) as pool:
        conn = pool.acquire()
        conn.error = error
        pool.release(conn)
        assert conn.closed
        assert pool.stats().total == 0
        with pool.connection() as other:
            assert other is not conn


def test_a_rollback_that_is_cut_off() -> None:
    with Pool(Connection, max_size=1, timeout=0) as pool:
        conn = pool.acquire()
        conn.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            pool.release(conn)
        assert conn.closed
        assert pool.stats().total == 0


class OutOfStep(Connection):
    """Answers an earlier statement, or fails as it is told to."""

    def cursor(self) -> OutOfStep:
        return self

    def execute(self, statement: str) -> None:
        if self.error is not None:
            raise self.error

    def fetchone(self) -> tuple[int, ...] | None:
        return (7,)


@pytest.mark.parametrize("error", [None, ValueError("no such statement")])
def test_a_block_that_raises_on_a_connection_out_of_step(error: Exception | None) -> None:
    def fail(conn: OutOfStep) -> None:
        conn.error = error
        raise ZeroDivisionError

    with Pool(OutOfStep, max_size=1, timeout=0) as pool:
        with pytest.raises(ZeroDivisionError), pool.connection() as conn:
            fail(conn)
        assert conn.closed
        assert pool.stats().total == 0


def release_in_finally(pool: AnyPool[Any], error: BaseException) -> Any:
    conn = pool.acquire()
    with contextlib.suppress(type(error)):
        try:
            raise error
        finally:
            pool.release(conn)
    return conn


def release_in_except(pool: AnyPool[Any], error: BaseException) -> Any:
    conn = pool.acquire()
    try:
        raise error
    except type(error):
        pool.release(conn)
    return conn


def end_a_stack(pool: AnyPool[Any], error: BaseException) -> Any:
    """The block is told of an error that is not being handled any more."""

    def fail() -> None:
        raise error

    with contextlib.suppress(type(error)), contextlib.ExitStack() as stack:
        conn = stack.enter_context(pool.connection())
        stack.callback(fail)
    return conn


ENDS = [release_in_finally, release_in_except, end_a_stack]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_however_an_error_ends_it_what_is_out_of_step_is_closed(
    end: Callable[[AnyPool[Any], BaseException], Any],
) -> None:
    with Pool(OutOfStep, max_size=1, timeout=0) as pool:
        assert end(pool, ZeroDivisionError()).closed
        assert pool.stats().total == 0


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize(
    ("error", "kept"),
    [(ZeroDivisionError(), True), (GeneratorExit(), True), (SystemExit(), False)],
    ids=lambda value: type(value).__name__,
)
def test_however_an_error_ends_it_what_is_in_step_is_asked_once(
    end: Callable[[AnyPool[Any], BaseException], Any], error: BaseException, kept: bool
) -> None:
    statements: list[str] = []

    def connect() -> sqlite3.Connection:
        conn = sqlite3.connect(":memory:")
        conn.set_trace_callback(statements.append)
        return conn

    with Pool(connect, max_size=1, timeout=0) as pool:
        end(pool, error)
        assert pool.stats().total == kept
        assert [statement.split()[0] for statement in statements] == ["SELECT"] * kept
        with pool.connection():
            statements.clear()
        assert statements == []  # nothing is in doubt any more


def test_a_question_that_is_cut_off() -> None:
    class Struck(OutOfStep):
        def execute(self, statement: str) -> None:
            raise KeyboardInterrupt

    with Pool(Struck, max_size=1, timeout=0) as pool:
        with pytest.raises(KeyboardInterrupt), pool.connection() as conn:
            raise ZeroDivisionError
        assert conn.closed
        assert pool.stats().total == 0


@pytest.mark.parametrize("rows", [None, sqlite3.Row, dict])
def test_a_block_that_raises_leaves_a_connection_in_step(rows: type | None) -> None:
    def connect() -> sqlite3.Connection:
        conn = sqlite3.connect(":memory:")
        conn.row_factory = (
            rows
            if rows is not dict
            else lambda cursor, row: {
                column[0]: value for column, value in zip(cursor.description, row, strict=True)
            }
        )
        return conn

    with Pool(connect, max_size=1, timeout=0) as pool:
        with pytest.raises(ZeroDivisionError), pool.connection() as conn:
            raise ZeroDivisionError
        with pool.connection() as other:
            assert other is conn


def test_a_rollback_fails_after_the_user_s_own_callback() -> None:
    def break_it(conn: Connection) -> None:
        conn.error = ValueError("out of step")

    with Pool(Connection, reset=break_it) as pool:
        pool.release(pool.acquire())
        assert pool.stats().total == 0
    with Pool(Connection, check=break_it, check_after=0) as pool:
        conn = pool.acquire()
        pool.release(conn)
        with pool.connection() as other:
            assert other is not conn
        assert conn.closed


def test_no_more_rollbacks_than_needed() -> None:
    """Most drivers ask the server for each."""
    with Pool(Connection, max_size=1, check_after=0) as pool:
        for expected in range(3):
            with pool.connection() as conn:
                assert conn.rollbacks == expected
    with Pool(Connection, max_size=1) as pool:
        conn = pool.acquire()
        pool.discard(conn)
        assert conn.rollbacks == 0


def test_the_refusal_of_reset_spares_the_second_rollback() -> None:
    with Pool(Connection, reset=lambda conn: False) as pool:
        conn = pool.acquire()
        pool.release(conn)
        assert conn.rollbacks == 1


class HasNoCursor:
    cursor = "server side"

    def __repr__(self) -> str:
        return "<what has no cursor>"


@pytest.mark.parametrize(
    ("connect", "message"),
    [
        (socket.socket, "shop returned <socket.*>, not a DB-API connection: it has no cursor"),
        (lambda: sqlite3.connect(":memory:").cursor(), "shop returned <sqlite3.Cursor .*>, not"),
        (HasNoCursor, "shop returned <what has no cursor>, not"),
        (lambda: None, "shop returned None, not a connection"),
    ],
)
def test_what_is_no_connection_is_refused(connect: Callable[[], Any], message: str) -> None:
    with contextlib.ExitStack() as stack:

        def remember() -> Any:
            made = connect()
            if isinstance(made, sqlite3.Cursor):
                stack.callback(made.connection.close)
            if hasattr(made, "close"):
                stack.callback(made.close)
            return made

        pool = Pool(remember, max_size=1, timeout=0, name="shop")
        for _ in range(2):
            with pytest.raises(PoolError, match=message):
                pool.acquire()
        assert pool.stats().total == 0


def test_options_are_the_pool_s() -> None:
    with pytest.raises(TypeError, match="connect must be a function, not 'dbname=shop'"):
        Pool("dbname=shop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_size must be at least 1, not 0"):
        Pool(Connection, max_size=0)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Pool[sqlite3.Connection]]:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "database", check_same_thread=False, timeout=0)

    with closing(Pool(connect, max_size=2, check_after=0)) as pool:
        with pool.connection() as conn:
            conn.execute("CREATE TABLE numbers (n INTEGER)")
        yield pool


def numbers(pool: Pool[sqlite3.Connection]) -> list[int]:
    with pool.connection() as conn:
        return [n for (n,) in conn.execute("SELECT n FROM numbers ORDER BY n")]


def test_sqlite_rolls_back_too(sqlite: Pool[sqlite3.Connection]) -> None:
    with sqlite.connection() as conn:
        conn.execute("INSERT INTO numbers VALUES (1)")
        conn.commit()
        conn.execute("INSERT INTO numbers VALUES (2)")
    assert numbers(sqlite) == [1]
    assert sqlite.stats().opened == 1


def test_sqlite_through_a_fork(sqlite: Pool[sqlite3.Connection], fork: Fork) -> None:
    """The parent's transaction, and its locks on the file, are left alone."""
    with sqlite.connection() as conn:
        conn.execute("INSERT INTO numbers VALUES (1)")

        def child() -> str:
            assert numbers(sqlite) == []
            sqlite.release(conn)
            sqlite.discard(conn)
            gc.collect()
            with sqlite.connection() as mine, pytest.raises(sqlite3.OperationalError) as caught:
                mine.execute("INSERT INTO numbers VALUES (2)")
            return str(caught.value)

        assert in_quiet_child(child, fork) == "database is locked"
        conn.commit()
    assert numbers(sqlite) == [1]
