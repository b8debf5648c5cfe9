"""What holds for a fork in the middle of work with any database, through any driver.

`ForkCases` is for a test package to inherit: its fixture ``inherited`` is a pool with two places,
``onlooker`` a session beside it, ``fork`` makes the child; ``relayed`` is a pool whose connections
go through ``relay``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool.conformance.relay import Relay
from tests.forks.ends import run_forking_program
from tests.forksafe_pool.threads import Caller
from tests.support.forks import open_sockets
from tests.support.quiet import in_quiet_child
from tests.support.sql import LIMIT, Onlooker, Work, ask, new_session, run, session_id, wait_in_line

Fork = Callable[[], int]


class Stop(BaseException):
    """As SystemExit is, or a greenlet's."""


def release(pool: Pool[Any], work: Work) -> None:
    pool.release(work.conn)


def discard(pool: Pool[Any], work: Work) -> None:
    pool.discard(work.conn)


def close(pool: Pool[Any], work: Work) -> None:
    pool.stats()  # after a C-level fork the first use severs
    work.conn.close()


def collect(pool: Pool[Any], work: Work) -> None:
    pool.stats()
    del work.conn
    gc.collect()


def close_the_pool(pool: Pool[Any], work: Work) -> None:
    assert pool.close(timeout=0)


def nothing(pool: Pool[Any], work: Work) -> None:
    pool.stats()


class ForkCases:
    def test_the_child_has_sessions_of_its_own(self, inherited: Pool[Any], fork: Fork) -> None:
        before = open_sockets()
        work = Work(inherited)
        ours = open_sockets() - before
        assert len(ours) == 2

        def child() -> tuple[bool, set[str], int, int]:
            with inherited.connection() as one, inherited.connection() as other:
                mine = {session_id(one), session_id(other)}
            assert mine == {new_session(inherited), new_session(inherited)} | mine
            stats = inherited.stats()
            return mine.isdisjoint(work.sessions), open_sockets() & ours, stats.total, stats.opened

        assert in_quiet_child(child, fork) == (True, set(), 2, 2)
        work.finish(inherited)

    @pytest.mark.parametrize(
        "action",
        [release, discard, close, collect, close_the_pool, nothing],
        ids=lambda action: action.__name__,
    )
    def test_what_the_child_does_with_what_it_inherited(
        self, inherited: Pool[Any], fork: Fork, action: Callable[[Pool[Any], Work], None]
    ) -> None:
        """The first thing that the child does, and after it has used the pool."""
        before = open_sockets()
        work = Work(inherited)
        ours = open_sockets() - before

        def child_acts_first() -> set[str]:
            action(inherited, work)
            left = open_sockets() & ours
            if action is not close_the_pool:
                assert new_session(inherited) not in work.sessions
            return left

        def child_acts_later() -> set[str]:
            assert new_session(inherited) not in work.sessions
            action(inherited, work)
            return open_sockets() & ours

        for child in (child_acts_first, child_acts_later):
            assert in_quiet_child(child, fork) == set()
            work.go_on()
        work.finish(inherited)

    @pytest.mark.parametrize("error", [None, ZeroDivisionError, Stop])
    @pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
    def test_a_block_that_the_child_leaves(
        self, inherited: Pool[Any], fork: Fork, error: type[BaseException] | None, used: bool
    ) -> None:
        """It neither fails nor commits, nor rolls back."""
        work = Work(inherited)
        inherited.release(work.conn)
        block = inherited.connection()
        work.conn = block.__enter__()
        run(work.conn, "CREATE TEMPORARY TABLE also_mine (n INTEGER)")
        work.conn.commit()
        run(work.conn, "INSERT INTO also_mine VALUES (1)")
        session = session_id(work.conn)

        def child() -> tuple[int, int]:
            if used:
                assert new_session(inherited) not in work.sessions
            block.__exit__(error, None, None)
            assert new_session(inherited) not in work.sessions
            stats = inherited.stats()
            return stats.in_use, stats.foreign_releases

        assert in_quiet_child(child, fork) == (0, 1)
        assert session_id(work.conn) == session
        assert ask(work.conn, "SELECT count(*) FROM also_mine") == 1
        work.conn.rollback()
        assert ask(work.conn, "SELECT count(*) FROM also_mine") == 0
        block.__exit__(None, None, None)

    def test_another_thread_is_inside_a_query(
        self, inherited: Pool[Any], onlooker: Onlooker, fork: Fork
    ) -> None:
        """Its driver's lock is held: in the child nobody will ever let go of it."""
        before = open_sockets()
        work = Work(inherited)
        ours = open_sockets() - before

        def child() -> tuple[int, set[str]]:
            theirs = new_session(inherited)
            inherited.release(work.conn)
            inherited.discard(work.conn)
            del work.conn
            gc.collect()
            assert theirs not in work.sessions
            assert new_session(inherited) == theirs
            return inherited.stats().foreign_releases, open_sockets() & ours

        with onlooker.holding_up(work.session) as wait_for_it:
            caller = Caller(lambda: wait_in_line(work.conn))
            wait_for_it()
            assert in_quiet_child(child, fork) == (2, set())
        caller.result(LIMIT)
        work.finish(inherited)

    def test_another_thread_is_connecting(
        self, relayed: Pool[Any], relay: Relay, fork: Fork
    ) -> None:
        """What it has made so far, nobody can find: the child goes its own way."""
        caller = Caller(relayed.acquire)
        relay.wait_for_the_first()

        def child() -> int:
            assert relayed.stats().total == 0
            return new_session(relayed)

        theirs = in_quiet_child(child, fork)
        relay.let_go()
        conn = caller.result(LIMIT)
        assert session_id(conn) != theirs
        relayed.release(conn)
        assert relayed.stats().total == 1


# For `run_to_an_end`: argv has the fork, the end, the driver and the address.
_PROGRAM = r"""
import weakref, warnings
from tests.support.sql import Work, make_pool, new_session

warnings.simplefilter("always", ResourceWarning)
pool = make_pool(sys.argv[3], sys.argv[4], max_size=4)
work = Work(pool)
child = fork()
if child == 0:
    end_the_child()
    if end == "closed":
        assert pool.close(timeout=0)
    elif end == "used":
        assert new_session(pool) not in work.sessions
        pool.release(work.conn)
        pool.discard(work.conn)
        work.conn.close()
        pool.discard(pool.acquire())
    elif end == "collected":
        pool.stats()
        del work
        gc.collect()
    elif end == "dropped":
        gone = weakref.ref(pool)
        del work, pool
        gc.collect()
        assert gone() is None
else:
    go_on_until_its_end(child, work.go_on)
    work.finish(pool)
"""


def run_to_an_end(driver: str, address: str, fork: str, end: str) -> None:
    """Raises AssertionError where the child, or its parent after it, is not well."""
    assert run_forking_program(_PROGRAM, fork, end, driver, address) == ""
