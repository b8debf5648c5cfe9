"""An engine that was used before the fork: real forks, real drivers, real servers."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from contextlib import closing

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from forksafe_sqlalchemy import QueuePool
from tests.forksafe_pool.threads import Caller
from tests.integrations.forksafe_sqlalchemy.work import Work, new_session, session_id
from tests.support.forks import in_child, open_descriptors, open_sockets
from tests.support.postgres import Postgres
from tests.support.quiet import LIMIT, in_quiet_child
from tests.support.sql import Onlooker, connect, wait_in_line

Fork = Callable[[], int]


def close(engine: Engine, work: Work) -> None:
    work.connection.close()
    assert work.connection.closed


def roll_back(engine: Engine, work: Work) -> None:
    work.connection.rollback()


def detach(engine: Engine, work: Work) -> None:
    work.connection.detach()
    work.connection.close()


def drop(engine: Engine, work: Work) -> None:
    del work.connection
    gc.collect()


def replace(engine: Engine, work: Work) -> None:
    engine.dispose(close=False)
    gc.collect()


@pytest.mark.parametrize(
    "action",
    [close, roll_back, detach, drop, replace],
    ids=lambda action: action.__name__,
)
def test_what_the_child_does_with_what_it_inherited(
    engine: Engine, fork: Fork, action: Callable[[Engine, Work], None]
) -> None:
    """The first thing that the child does, and after it has used the engine."""
    work = Work(engine)

    def child_acts_first() -> tuple[bool, set[str]]:
        action(engine, work)
        return new_session(engine) in work.sessions, open_sockets() & work.sockets

    def child_acts_later() -> tuple[bool, set[str]]:
        with engine.connect() as mine:
            theirs = session_id(mine) in work.sessions
            action(engine, work)
        return theirs, open_sockets() & work.sockets

    for child in (child_acts_first, child_acts_later):
        assert in_quiet_child(child, fork) == (False, set())
    work.finish(engine)


def query(connection: Connection) -> None:
    connection.exec_driver_sql("DELETE FROM mine")


def query_by_the_fairy(connection: Connection) -> None:
    connection.connection.cursor().execute("DELETE FROM mine")


def commit_by_the_fairy(connection: Connection) -> None:
    connection.connection.commit()


@pytest.mark.parametrize(
    "act", [query, query_by_the_fairy, commit_by_the_fairy], ids=lambda act: act.__name__
)
def test_a_child_s_first_act_is_to_use_what_its_parent_has_in_use(
    engine: Engine, fork: Fork, act: Callable[[Connection], None]
) -> None:
    """After a C-level fork it has asked the pool for nothing yet."""
    work = Work(engine)

    def child() -> set[str]:
        with pytest.raises(Exception, match=r"(?i)closed|lost|gone away|broken pipe"):
            act(work.connection)
        return open_sockets() & work.sockets

    assert in_child(child, fork, LIMIT) == set()
    work.finish(engine)


def test_a_child_s_first_act_is_to_drop_what_its_parent_has_in_use(
    engine: Engine, fork: Fork
) -> None:
    """Its copies of the sockets go at once: the finalizer asks."""
    work = Work(engine)

    def child() -> set[str]:
        drop(engine, work)
        return open_sockets() & work.sockets

    assert in_quiet_child(child, fork) == set()
    work.finish(engine)


def test_no_dead_end_is_left_after_dispose(engine: Engine, fork: Fork) -> None:
    before = open_descriptors()
    session = new_session(engine)
    ours = open_descriptors() - before
    assert len(ours) >= 1

    def child() -> set[int]:
        engine.pool.dispose()
        return open_descriptors() & ours

    assert in_quiet_child(child, fork) == set()
    assert new_session(engine) == session


def test_a_connection_that_another_thread_was_using_is_not_touched(
    postgres: Postgres, fork: Fork
) -> None:
    """libpq may have been in the middle of writing to its memory: only psycopg's are closed at
    all, and not that one."""
    engine = create_engine(postgres.url("psycopg"), poolclass=QueuePool, pool_size=2)
    work = Work(engine)
    busy, free = work.connection.connection.driver_connection, engine.connect()
    idle = free.connection.driver_connection
    assert busy is not None
    assert idle is not None

    def child() -> tuple[bool, bool]:
        new_session(engine)
        return busy.closed, idle.closed

    with closing(connect("psycopg", postgres.dsn)) as onlooker:
        with Onlooker(onlooker).holding_up(work.session) as wait_for_it:
            caller = Caller(lambda: wait_in_line(busy))
            wait_for_it()
            assert in_quiet_child(child, fork) == (False, True)
        caller.result(LIMIT)
    free.close()
    work.finish(engine)
    engine.dispose()


def test_a_block_that_the_child_leaves(engine: Engine, fork: Fork) -> None:
    work = Work(engine)
    savepoint = work.connection.begin_nested()

    class Leave(Exception):
        pass

    def child() -> int:
        with pytest.raises(Leave), work.connection, savepoint:
            raise Leave
        return new_session(engine)

    assert in_quiet_child(child, fork) not in work.sessions
    work.finish(engine)


def test_who_uses_an_inherited_connection_hears_of_it_and_may_go_on(
    engine: Engine, fork: Fork
) -> None:
    work = Work(engine)

    def child() -> tuple[bool, int]:
        kept = engine.connect()
        mine = session_id(kept)
        with pytest.raises(OperationalError) as caught:
            session_id(work.connection)
        assert caught.value.connection_invalidated
        work.connection.rollback()
        assert session_id(work.connection) not in work.sessions
        kept.close()
        work.connection.close()
        # The loss says nothing about the connections that the child has made.
        return mine in (new_session(engine), new_session(engine)), len(
            open_sockets() & work.sockets
        )

    assert in_quiet_child(child, fork) == (True, 0)
    work.finish(engine)


def test_a_commit_of_the_parent_s_transaction_fails(engine: Engine, fork: Fork) -> None:
    work = Work(engine)

    def child() -> None:
        with pytest.raises(OperationalError):
            work.connection.commit()
        work.connection.close()

    in_quiet_child(child, fork)
    work.finish(engine)


def test_an_inherited_orm_session(engine: Engine, fork: Fork) -> None:
    with Session(engine) as session:
        theirs = session_id(session.connection())

        def child() -> int:
            session.rollback()
            mine = session_id(session.connection())
            session.close()
            return mine

        assert in_quiet_child(child, fork) != theirs
        assert session_id(session.connection()) == theirs


def test_a_connection_in_the_hands_of_another_thread(engine: Engine, fork: Fork) -> None:
    """In the child the thread's variables are freed, and with them all that refers to it."""
    holding, proceed = threading.Event(), threading.Event()
    done: list[str] = []

    def hold() -> None:
        detached = engine.connect()
        detached.detach()
        other = session_id(detached)
        work = Work(engine)
        holding.set()
        assert proceed.wait(LIMIT)
        assert session_id(detached) == other
        detached.close()
        work.finish(engine)
        done.append("undisturbed")

    before = open_sockets()
    thread = threading.Thread(target=hold)
    thread.start()
    assert holding.wait(LIMIT)
    sockets = open_sockets() - before
    assert len(sockets) == 3

    def child() -> set[str]:
        new_session(engine)
        return open_sockets() & sockets

    try:
        assert in_quiet_child(child, fork) == set()
    finally:
        proceed.set()
        thread.join(LIMIT)
    assert done == ["undisturbed"]


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_that_the_parent_detached(engine: Engine, fork: Fork, closes: bool) -> None:
    before = open_sockets()
    connection = engine.connect()
    connection.detach()
    theirs = session_id(connection)
    sockets = open_sockets() - before

    def child() -> set[str]:
        nonlocal connection
        if closes:
            connection.close()
        del connection
        gc.collect()
        new_session(engine)
        return open_sockets() & sockets

    assert in_quiet_child(child, fork) == set()
    assert session_id(connection) == theirs
    connection.close()


def test_no_event_tells_of_the_parent_s_connections(engine: Engine, fork: Fork) -> None:
    work = Work(engine)
    told: list[str] = []
    for name in (
        *("connect", "checkout", "checkin", "reset", "close", "close_detached", "detach"),
        *("invalidate", "soft_invalidate"),
    ):
        event.listen(engine, name, lambda *_, name=name: told.append(name))

    def child() -> list[str]:
        assert isinstance(engine.pool, QueuePool)
        assert (engine.pool.checkedin(), engine.pool.checkedout()) == (0, 0)
        work.connection.close()
        gc.collect()
        assert told == []
        new_session(engine)
        return told

    assert in_quiet_child(child, fork) == ["connect", "checkout", "reset", "checkin"]
    work.finish(engine)


def test_two_engines(url: str, engine: Engine, fork: Fork) -> None:
    other = create_engine(url, poolclass=QueuePool)
    works = [Work(engine), Work(other)]
    theirs = works[0].sessions | works[1].sessions

    def child() -> bool:
        return {new_session(engine), new_session(other)}.isdisjoint(theirs)

    assert in_quiet_child(child, fork)
    for work, pool in zip(works, (engine, other), strict=True):
        work.finish(pool)
    other.dispose()


def test_a_connection_that_reconnected(engine: Engine, fork: Fork) -> None:
    """A record has a new socket after `invalidate`: it is that one which is cut off."""
    before = open_sockets()
    connection: Connection = engine.connect()
    connection.invalidate()
    theirs = session_id(connection)
    sockets = open_sockets() - before
    assert len(sockets) == 1

    def child() -> tuple[bool, set[str]]:
        return new_session(engine) == theirs, open_sockets() & sockets

    assert in_quiet_child(child, fork) == (False, set())
    assert session_id(connection) == theirs
    connection.execute(text("SELECT 1"))
    connection.close()


def test_a_driver_that_shows_no_socket(sqlite: Engine, fork: Fork) -> None:
    """Its connections are not closed in a child: SQLite's would undo the parent's transaction."""
    with sqlite.begin() as connection:
        connection.execute(text("CREATE TABLE t (words TEXT)"))
    connection = sqlite.connect()
    connection.execute(text("PRAGMA cache_size = 1"))  # what does not fit goes to the file
    connection.exec_driver_sql("INSERT INTO t VALUES (?)", [("x" * 1000,)] * 100)

    def child() -> object:
        connection.close()
        sqlite.dispose()
        gc.collect()
        with sqlite.connect() as mine:
            return mine.scalar(text("SELECT 42"))

    assert in_quiet_child(child, fork) == 42
    connection.commit()
    connection.close()
    with sqlite.connect() as again:
        assert again.scalar(text("SELECT count(*) FROM t")) == 100
        assert again.scalar(text("PRAGMA integrity_check")) == "ok"
