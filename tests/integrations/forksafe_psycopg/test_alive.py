"""An idle connection is replaced when it has ended, and only then."""

from __future__ import annotations

import select
import threading
from contextlib import closing
from typing import Any

import psycopg
import pytest

from forksafe_psycopg import Pool
from tests.support.sql import (
    LIMIT,
    Onlooker,
    connect,
    new_session,
    run,
    session_id,
    wait_for_the_end,
)


@pytest.mark.parametrize("autocommit", [False, True])
def test_a_session_that_was_killed_is_replaced(
    dsn: str, onlooker: Onlooker, autocommit: bool
) -> None:
    kwargs = {"autocommit": autocommit}
    with Pool(dsn, kwargs=kwargs, max_size=1, timeout=0, check_after=0) as pool:
        conn = pool.acquire()
        session = session_id(conn)
        pool.release(conn)
        onlooker.kill(session)
        wait_for_the_end(conn)
        assert new_session(pool) != session
        stats = pool.stats()
        assert (stats.total, stats.opened, stats.closed) == (1, 2, 1)


def test_all_of_many_are_replaced(dsn: str, onlooker: Onlooker) -> None:
    with Pool(dsn, max_size=3, timeout=0, check_after=0) as pool:
        conns = [pool.acquire() for _ in range(3)]
        sessions = {session_id(conn) for conn in conns}
        for conn in conns:
            pool.release(conn)
        for session in sessions:
            onlooker.kill(session)
        for conn in conns:
            wait_for_the_end(conn)
        conns = [pool.acquire() for _ in range(3)]
        assert sessions.isdisjoint(session_id(conn) for conn in conns)
        assert pool.stats().total == 3
        for conn in conns:
            pool.release(conn)


@pytest.mark.parametrize("autocommit", [False, True])
def test_one_that_was_notified_is_not(dsn: str, autocommit: bool) -> None:
    kwargs = {"autocommit": autocommit}
    with (
        Pool(dsn, kwargs=kwargs, max_size=1, check_after=0) as pool,
        closing(connect("psycopg", dsn, autocommit=True)) as sender,
    ):
        heard: list[str] = []
        with pool.connection() as conn:
            conn.add_notify_handler(lambda notify: heard.append(notify.payload))
            conn.execute("LISTEN news")
            session = session_id(conn)
        run(sender, "NOTIFY news, 'hello'")
        assert select.select([conn], [], [], LIMIT)[0]
        conn = pool.acquire()
        assert heard == ["hello"]
        assert conn.pgconn.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert session_id(conn) == session
        pool.release(conn)


def test_threads_never_have_more_than_max_size(dsn: str, onlooker: Onlooker) -> None:
    """While sessions are killed under them, too."""
    lock = threading.Lock()
    in_use: set[int] = set()
    most = [0]

    def work(pool: Pool) -> None:
        for number in range(30):
            try:
                with pool.connection() as conn:
                    session = conn.info.backend_pid
                    with lock:
                        assert session not in in_use
                        in_use.add(session)
                        most[0] = max(most[0], len(in_use), pool.stats().total)
                    try:
                        run(conn, "SELECT 1")
                        if number % 10 == 5:
                            run(conn, f"SELECT pg_terminate_backend({session})")
                    finally:
                        with lock:
                            in_use.remove(session)
            except psycopg.OperationalError:
                pass

    errors: list[Any] = []

    def guarded(pool: Pool) -> None:
        try:
            work(pool)
        except BaseException as error:
            errors.append(error)

    with Pool(dsn, max_size=3, check_after=0, timeout=LIMIT) as pool:
        threads = [threading.Thread(target=guarded, args=(pool,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert not any(thread.is_alive() for thread in threads)
        assert errors == []
        assert most[0] <= 3
        stats = pool.stats()
        assert (stats.in_use, stats.waiting, stats.foreign_releases) == (0, 0, 0)
        assert stats.opened - stats.closed == stats.total == stats.available
    assert pool.stats().total == 0
