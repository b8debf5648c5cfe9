"""What a caller meets is SQLAlchemy's error, whichever door it came through, and ours as well."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, exc, text
from sqlalchemy.orm import Session

import forksafe_pool
from forksafe_sqlalchemy import QueuePool
from tests.forksafe_pool.threads import Caller, eventually, wait_in_line
from tests.support.postgres import Postgres
from tests.support.quiet import LIMIT


def by_session(engine: Engine) -> None:
    with Session(engine) as session:
        session.execute(text("SELECT 1"))


DOORS: dict[str, Callable[[Engine], object]] = {
    "engine.connect": lambda engine: engine.connect(),
    "engine.raw_connection": lambda engine: engine.raw_connection(),
    "pool.connect": lambda engine: engine.pool.connect(),
    "Session": by_session,
}


@pytest.fixture(params=list(DOORS))
def enter(request: pytest.FixtureRequest) -> Callable[[Engine], object]:
    return DOORS[request.param]


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[Engine, Connection]]:
    """An engine whose only connection is in use, and that connection."""
    engine = create_engine(
        f"sqlite:///{tmp_path / 'database'}",
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=0,
        pool_timeout=LIMIT,
        connect_args={"check_same_thread": False},
    )
    held = engine.connect()
    yield engine, held
    held.close()
    engine.dispose()


def inner(engine: Engine) -> forksafe_pool.Pool[Any]:
    pool: Any = engine.pool
    found: forksafe_pool.Pool[Any] = pool._pool
    return found


def test_who_waits_while_the_pools_are_closed(
    full: tuple[Engine, Connection], enter: Callable[[Engine], object]
) -> None:
    """As the last hook of a server does, `forksafe_pool.close_pools`."""
    engine, held = full
    waiting = wait_in_line(inner(engine), lambda: enter(engine))
    closer = Caller(lambda: inner(engine).close(LIMIT))
    with pytest.raises(exc.ResourceClosedError, match="was closed while the caller waited") as told:
        waiting.result()
    assert isinstance(told.value, forksafe_pool.PoolClosed)
    with pytest.raises(exc.ResourceClosedError, match="is closed"):
        enter(engine)
    held.close()
    assert closer.result()


@pytest.mark.parametrize("end", ["rollback", "close"])
def test_a_descriptor_that_was_closed_by_others(
    postgres: Postgres, tmp_path: Path, end: str
) -> None:
    """By a daemon's start, say, which then opens its log under that number."""
    engine = create_engine(postgres.url("psycopg"), poolclass=QueuePool)
    held = engine.connect()
    assert held.scalar(text("SELECT 1")) == 1
    log = tmp_path / "log"
    raw: Any = held.connection.dbapi_connection
    with log.open("wb") as file:
        os.dup2(file.fileno(), raw.fileno())
    with pytest.raises(exc.SQLAlchemyError, match="has closed the descriptor") as told:
        getattr(held, end)()
    assert isinstance(told.value, forksafe_pool.PoolError)
    held.close()
    assert log.read_bytes() == b""
    with engine.connect() as other:
        assert other.scalar(text("SELECT 1")) == 1
    engine.dispose()


def test_who_waits_in_vain(sqlite: Engine, enter: Callable[[Engine], object]) -> None:
    held = [sqlite.connect() for _ in range(3)]
    with pytest.raises(exc.TimeoutError, match="connection timed out") as told:
        enter(sqlite)
    assert isinstance(told.value, forksafe_pool.PoolTimeout)
    assert told.value.code == "3o7r"
    for connection in held:
        connection.close()


def test_too_many_wait(full: tuple[Engine, Connection], enter: Callable[[Engine], object]) -> None:
    engine, _ = full
    inner(engine)._max_waiting = 0
    with pytest.raises(exc.TimeoutError, match="max_waiting is 0") as told:
        enter(engine)
    assert isinstance(told.value, forksafe_pool.TooManyWaiting)


def test_who_waits_while_the_engine_is_disposed_gets_what_comes_back(
    full: tuple[Engine, Connection], enter: Callable[[Engine], object]
) -> None:
    engine, held = full
    disposed = engine.pool
    waiting = wait_in_line(inner(engine), lambda: enter(engine))
    engine.dispose()
    assert engine.pool is not disposed
    held.close()
    result: Any = waiting.result()
    if result is not None:
        result.close()
    disposed.dispose()


def test_who_connects_again_while_the_pools_are_closed(
    full: tuple[Engine, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was lost, after failed attempts to make it again."""
    engine, held = full
    held.invalidate()
    held.close()
    pool = inner(engine)
    pool._ledger.note_failure(ConnectionRefusedError(), time.monotonic())
    closers = []

    def sleep(_: float) -> None:
        monkeypatch.undo()
        closers.append(Caller(lambda: pool.close(LIMIT)))
        eventually(lambda: bool(pool._ledger.closers))

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(exc.ResourceClosedError, match="was closed while the caller waited"):
        engine.connect()
    assert closers[0].result()
    with closing(engine.connect()) as connection:  # an engine may be used again
        assert connection.scalar(text("SELECT 42")) == 42
