"""A pool that was used before the fork: real forks, a real server, with TLS and without."""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from forksafe_pool.conformance.children import Fork
from forksafe_psycopg import Pool
from tests.forksafe_pool.threads import Caller
from tests.support.forks import in_child, open_descriptors, open_sockets
from tests.support.postgres import Postgres
from tests.support.quiet import in_quiet_child
from tests.support.sql import (
    LIMIT,
    Onlooker,
    Work,
    connect,
    new_session,
    run,
    session_id,
    wait_in_line,
)


@pytest.fixture(params=["postgres", "postgres_tls"], ids=["plain", "TLS"])
def server(request: pytest.FixtureRequest) -> Postgres:
    server: Postgres = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def inherited(server: Postgres) -> Iterator[Pool]:
    with closing(Pool(server.dsn, max_size=2, timeout=0)) as pool:
        yield pool


@pytest.fixture
def onlooker(server: Postgres) -> Iterator[Onlooker]:
    with closing(connect("psycopg", server.dsn)) as conn:
        yield Onlooker(conn)


def query(conn: Any) -> None:
    run(conn, "DELETE FROM mine")


def query_by_itself(conn: Any) -> None:
    conn.execute("DELETE FROM mine")


def commit(conn: Any) -> None:
    conn.commit()


def roll_back(conn: Any) -> None:
    conn.rollback()


def leave_a_block(conn: Any) -> None:
    with conn.transaction():
        pass


def use_a_pipeline(conn: Any) -> None:
    with conn.pipeline():
        conn.execute("DELETE FROM mine")


def copy_in(conn: Any) -> None:
    with conn.cursor().copy("COPY mine FROM STDIN") as rows:
        rows.write("2\n")


@pytest.mark.parametrize(
    "act",
    [query, query_by_itself, commit, roll_back, leave_a_block, use_a_pipeline, copy_in],
    ids=lambda act: act.__name__,
)
def test_a_child_s_first_act_is_to_use_what_its_parent_has_in_use(
    inherited: Pool, fork: Fork, act: Callable[[Any], None]
) -> None:
    """After a C-level fork it has asked the pool for nothing yet."""
    before = open_sockets()
    work = Work(inherited)
    ours = open_sockets() - before

    def child() -> set[str]:
        with pytest.raises(psycopg.OperationalError):
            act(work.conn)
        return open_sockets() & ours

    assert in_child(child, fork) == set()
    work.finish(inherited)


def test_a_child_s_first_act_is_to_close_what_its_parent_has_in_use(
    inherited: Pool, fork: Fork
) -> None:
    before = open_sockets()
    work = Work(inherited)
    ours = open_sockets() - before

    def child() -> tuple[bool, set[str]]:
        work.conn.close()
        return work.conn.closed, open_sockets() & ours

    assert in_quiet_child(child, fork) == (True, set())
    work.finish(inherited)


@pytest.mark.parametrize("name", ["cancel", "cancel_safe"])
@pytest.mark.parametrize("severed", [False, True])
def test_a_child_cancels_nothing_of_its_parent_s(
    inherited: Pool, onlooker: Onlooker, fork: Fork, name: str, severed: bool
) -> None:
    """libpq asks for it on another socket."""
    if not hasattr(psycopg.Connection, name):
        pytest.skip(f"this psycopg has no {name}()")
    work = Work(inherited)

    def child() -> None:
        if severed:
            inherited.stats()
        getattr(work.conn, name)()

    with onlooker.holding_up(work.session) as wait_for_it:
        caller = Caller(lambda: wait_in_line(work.conn))
        wait_for_it()
        in_quiet_child(child, fork)
    caller.result(LIMIT)
    work.finish(inherited)


@pytest.mark.parametrize("name", ["rollback", "close"])
def test_a_connection_that_has_outlived_its_pool(dsn: str, fork: Fork, name: str) -> None:
    conn = Pool(dsn).acquire()
    gc.collect()
    theirs = session_id(conn)
    before = open_sockets()

    def child() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            getattr(conn, name)()
        return open_sockets() < before

    assert in_quiet_child(child, fork)
    assert session_id(conn) == theirs
    conn.close()


def test_configure_in_a_child_that_comes_out_of_connect(
    server: Postgres, onlooker: Onlooker, fork: Fork
) -> None:
    """A signal's handler, or a connect of one's own, may fork: the session is the parent's."""
    pids: list[int] = []
    held: list[Any] = []

    class Forking(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            conn = super().connect(*args, **kwargs)
            pids.append(fork())
            return conn

    def configure(conn: Any) -> None:
        conn.execute("SELECT 1")
        conn.commit()

    pool = Pool(server.dsn, connection_class=Forking, configure=configure, max_size=1)

    def fork_inside() -> int:
        with contextlib.suppress(psycopg.OperationalError):
            held.append(pool.acquire())
        return pids[0]

    assert in_child(lambda: held, fork_inside) == []
    assert onlooker.lives(held[0].info.backend_pid)
    pool.release(held[0])
    assert pool.close()


def test_a_connection_that_is_dropped_is_freed_at_once(dsn: str) -> None:
    with Pool(dsn) as pool:
        conn = pool.acquire()
        cancel, close = conn.cancel, conn.close
        gone = weakref.ref(conn)
        pool.discard(conn)
        del conn
        assert gone() is None
        cancel()
        close()


def test_no_dead_end_is_left_after_the_first_use(inherited: Pool, fork: Fork) -> None:
    """psycopg frees nothing of what another process has made, unless it is closed."""
    before = open_descriptors()
    work = Work(inherited)
    ours = open_descriptors() - before
    assert len(ours) >= 2

    def child() -> bool:
        with inherited.connection() as conn:
            return open_descriptors() & ours <= {conn.fileno()}

    assert in_quiet_child(child, fork)
    work.finish(inherited)


def test_a_connection_that_another_thread_was_using_is_not_touched(
    inherited: Pool, onlooker: Onlooker, fork: Fork
) -> None:
    """libpq may have been in the middle of writing to its memory."""
    work = Work(inherited)

    def child() -> tuple[bool, bool]:
        new_session(inherited)
        untouched = not work.conn.closed
        del work.conn
        gc.collect()
        return untouched, new_session(inherited) in work.sessions

    with onlooker.holding_up(work.session) as wait_for_it:
        caller = Caller(lambda: wait_in_line(work.conn))
        wait_for_it()
        assert in_quiet_child(child, fork) == (True, False)
    caller.result(LIMIT)
    work.finish(inherited)


def copy(conn: Any) -> Iterator[Any]:
    with conn.cursor().copy("COPY (SELECT generate_series(1, 50000)) TO STDOUT") as rows:
        for row in rows.rows():
            yield int(row[0])


def stream(conn: Any) -> Iterator[Any]:
    for row in conn.cursor().stream("SELECT generate_series(1, 50000)"):
        yield row[0]


@pytest.mark.parametrize("read", [copy, stream])
def test_rows_on_their_way_are_the_parent_s(
    inherited: Pool, fork: Fork, read: Callable[[Any], Iterator[Any]]
) -> None:
    before = open_sockets()
    with inherited.connection() as conn:
        ours = open_sockets() - before
        rows = read(conn)
        received = [next(rows) for _ in range(10)]

        def child() -> set[str]:
            inherited.release(conn)
            new_session(inherited)
            return open_sockets() & ours

        def child_that_reads_on() -> set[str]:
            with pytest.raises(psycopg.OperationalError):
                list(rows)
            return open_sockets() & ours

        assert in_quiet_child(child, fork) == set()
        assert in_child(child_that_reads_on, fork) == set()
        received += rows
    assert received == list(range(1, 50001))


def test_a_pipeline_goes_on(inherited: Pool, fork: Fork) -> None:
    with inherited.connection() as conn, conn.pipeline() as pipeline:
        cursors = [conn.execute("SELECT %s::int", [number]) for number in range(10)]

        def child() -> int:
            inherited.release(conn)
            return new_session(inherited)

        theirs = in_quiet_child(child, fork)
        pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [(number,) for number in range(10)]
        assert conn.info.backend_pid != theirs


def test_notifications_are_the_parent_s(server: Postgres, inherited: Pool, fork: Fork) -> None:
    conn = inherited.acquire()
    conn.execute("LISTEN news")
    conn.commit()

    def child() -> list[Any]:
        with inherited.connection() as mine:
            run(mine, "LISTEN other_news")
        inherited.release(conn)
        return list(mine.notifies(timeout=0))

    with closing(connect("psycopg", server.dsn, autocommit=True)) as sender:
        run(sender, "NOTIFY news, 'before'")
        assert in_quiet_child(child, fork) == []
        run(sender, "NOTIFY news, 'after'")
    heard = [notify.payload for notify in conn.notifies(timeout=LIMIT, stop_after=2)]
    assert heard == ["before", "after"]
    inherited.release(conn)


class Pause:
    """A callback that does not return, once it is armed, before it is told to."""

    def __init__(self) -> None:
        self.armed = False
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def __call__(self, conn: Any) -> None:
        if self.armed:
            self.armed = False
            self.under_way.set()
            assert self.proceed.wait(LIMIT)


@pytest.mark.parametrize("stage", ["configure", "check", "reset"])
def test_another_thread_has_it_in_hand(server: Postgres, fork: Fork, stage: str) -> None:
    """It is in none of the pool's queues just then."""
    pause = Pause()
    callbacks: dict[str, Any] = {stage: pause}
    before = open_sockets()
    with Pool(server.dsn, max_size=1, timeout=0, check_after=0, **callbacks) as pool:
        if stage != "configure":
            new_session(pool)
        pause.armed = True
        caller = Caller(lambda: new_session(pool))
        assert pause.under_way.wait(LIMIT)
        ours = open_sockets() - before
        assert len(ours) == 1

        def child() -> tuple[int, set[str]]:
            return new_session(pool), open_sockets() & ours

        theirs, left = in_quiet_child(child, fork)
        assert left == set()
        pause.proceed.set()
        session = caller.result(LIMIT)
        assert session != theirs
        assert new_session(pool) == session
