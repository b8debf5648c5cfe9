"""A server that has become read-only costs one error, not one for each connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from tests.support.sql import run, session_id

SIZE = 3

#: Makes a server, or the sessions that lead to it, read-only, or a primary again.
SetReadOnly = Callable[[bool], object]


def fill(pool: Pool[Any]) -> set[int]:
    """Each of its sessions, all of them idle afterwards."""
    conns = [pool.acquire() for _ in range(SIZE)]
    sessions = {session_id(conn) for conn in conns}
    for conn in conns:
        pool.release(conn)
    assert len(sessions) == SIZE
    return sessions


def demote(pool: Pool[Any]) -> None:
    """PostgreSQL's sessions that there are lead to what was the primary; new ones do not."""
    conns = [pool.acquire() for _ in range(SIZE)]
    for conn in conns:
        run(conn, "SET default_transaction_read_only = on")
        conn.commit()
        pool.release(conn)


def write(pool: Pool[Any]) -> None:
    with pool.connection() as conn:
        run(conn, "INSERT INTO numbers VALUES (1)")
        conn.commit()


def write_by_hand(pool: Pool[Any]) -> None:
    conn = pool.acquire()
    try:
        run(conn, "INSERT INTO numbers VALUES (1)")
    finally:
        pool.release(conn)


def fail(pool: Pool[Any]) -> None:
    with pool.connection() as conn:
        run(conn, "SELEKT")


class FailoverCases:
    """For a test class to inherit. Its module has two fixtures: ``replicated``, a pool of SIZE and
    a `SetReadOnly`; ``make_pool``, which makes another pool, of which its options are given."""

    def test_a_failover_costs_one_error(self, replicated: tuple[Pool[Any], SetReadOnly]) -> None:
        pool, set_read_only = replicated
        sessions = fill(pool)
        set_read_only(True)
        with pytest.raises(Exception, match="read-only"):
            write(pool)
        assert pool.stats().total == 0
        set_read_only(False)
        write(pool)
        assert sessions.isdisjoint(fill(pool))
        assert pool.stats().foreign_releases == 0

    def test_what_is_in_use_meanwhile_is_replaced_when_it_comes_back(
        self, replicated: tuple[Pool[Any], SetReadOnly]
    ) -> None:
        pool, set_read_only = replicated
        sessions = fill(pool)
        set_read_only(True)
        with pool.connection() as conn:
            with pytest.raises(Exception, match="read-only"):
                write(pool)
            assert session_id(conn) in sessions
        assert pool.stats().total == 0
        set_read_only(False)
        assert sessions.isdisjoint(fill(pool))

    def test_what_is_released_in_a_finally_is_closed(
        self, replicated: tuple[Pool[Any], SetReadOnly]
    ) -> None:
        """Where no block tells the pool, the others are left."""
        pool, set_read_only = replicated
        fill(pool)
        set_read_only(True)
        for left in range(SIZE - 1, -1, -1):
            with pytest.raises(Exception, match="read-only"):
                write_by_hand(pool)
            assert pool.stats().total == left
        set_read_only(False)
        write_by_hand(pool)

    def test_another_error_evicts_nothing(self, make_pool: Callable[..., Pool[Any]]) -> None:
        with make_pool(max_size=SIZE) as pool:
            sessions = fill(pool)
            with pytest.raises(Exception, match=r"(?i)syntax"):
                fail(pool)
            assert fill(pool) == sessions

    def test_an_evict_on_of_the_user_s_evicts(self, make_pool: Callable[..., Pool[Any]]) -> None:
        with make_pool(max_size=SIZE, evict_on=lambda error: True) as pool:
            sessions = fill(pool)
            with pytest.raises(Exception, match=r"(?i)syntax"):
                fail(pool)
            assert sessions.isdisjoint(fill(pool))
