"""A pool that was used before the fork: real forks, a real server, with TLS and without."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from forksafe_psycopg import Pool
from tests.forksafe_pool.threads import Caller
from tests.support.forks import open_sockets
from tests.support.postgres import Postgres
from tests.support.quiet import in_quiet_child
from tests.support.relay import Relay
from tests.support.sql import (
    LIMIT,
    Onlooker,
    Work,
    connect,
    new_session,
    readdressed,
    run,
    wait_in_line,
)
from tests.support.sql_forks import Fork, ForkCases


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


@pytest.fixture
def relay(server: Postgres) -> Iterator[Relay]:
    relay = Relay(server.port)
    yield relay
    relay.stop()


@pytest.fixture
def relayed(server: Postgres, relay: Relay) -> Iterator[Pool]:
    address = readdressed("psycopg", server.dsn, relay.port)
    with closing(Pool(address, max_size=2)) as pool:
        yield pool


class TestForks(ForkCases):
    pass


def open_descriptors() -> set[int]:
    found = set()
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the one that listed them
            os.fstat(descriptor)
            found.add(descriptor)
    return found


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

        assert in_quiet_child(child, fork) == set()
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
