"""What every driver must show in one process."""

from __future__ import annotations

import threading
import unittest
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from forksafe_pool.conformance.hooks import Hooks, Killed
from forksafe_pool.conformance.relay import Relay
from forksafe_pool.conformance.threads import Caller, eventually


class Using(Hooks):
    def test_acquire_and_release(self) -> None:
        with self.pool() as pool:
            conn = pool.acquire()
            assert self.echo(conn, "hello") == "hello"
            assert (pool.stats().in_use, pool.stats().available) == (1, 0)
            pool.release(conn)
            assert (pool.stats().in_use, pool.stats().available) == (0, 1)

    def test_the_next_user_gets_the_same_session(self, check_after: float) -> None:
        with self.pool(check_after=check_after) as pool:
            first = self.next_session(pool)
            for _ in range(3):
                assert self.next_session(pool) == first
            assert pool.stats().opened == 1

    def test_two_simultaneous_users_have_different_sessions(self) -> None:
        with self.pool() as pool, pool.connection() as one, pool.connection() as other:
            assert self.session_id(one) != self.session_id(other)

    def test_the_next_user_does_not_see_unfinished_work(self) -> None:
        self.need("begin")
        with self.pool(max_size=1, timeout=0) as pool:
            conn = pool.acquire()
            self.begin(conn)
            pool.release(conn)
            with pool.connection() as conn:
                assert not self.finish(conn), "the next user finds what another one began"
            self.next_session(pool)

    def test_the_next_user_does_not_see_unfinished_work_of_a_failed_block(
        self, error: type[BaseException]
    ) -> None:
        self.need("begin")
        with self.pool(max_size=1, timeout=0) as pool:
            self._end_block(pool, error)
            with pool.connection() as conn:
                assert not self.finish(conn), "the next user finds what another one began"
            self.next_session(pool)

    def _end_block(self, pool: Any, error: type[BaseException]) -> Any:
        """The session of a block that leaves something unfinished, and ends by ``error``."""
        session = None
        with suppress(ZeroDivisionError, Killed), pool.connection() as conn:
            session = self.session_id(conn)
            self.begin(conn)
            raise error
        return session

    def test_a_block_that_is_killed_closes_its_connection(self) -> None:
        if not self.closes_killed_blocks:
            raise unittest.SkipTest("an exception does not close its connections")
        with self.pool(max_size=1, timeout=0) as pool:
            killed = self._end_block(pool, Killed)
            assert pool.stats().total == 0
            assert self.next_session(pool) != killed

    def test_a_discarded_connection_is_not_reused(self) -> None:
        with self.pool(max_size=1, timeout=0) as pool:
            conn = pool.acquire()
            discarded = self.session_id(conn)
            pool.discard(conn)
            assert pool.stats().in_use == 0
            assert self.next_session(pool) != discarded

    def test_a_discarded_connection_is_closed_at_the_server(self) -> None:
        self.need("lives")
        with self.pool() as pool:
            conn = pool.acquire()
            discarded = self.session_id(conn)
            assert self.lives(discarded)
            pool.discard(conn)
            eventually(lambda: not self.lives(discarded))

    # -- dead connections ---------------------------------------------------------------------

    def test_a_session_that_died_idle_is_replaced(self) -> None:
        self.need("killer")
        with self.pool(max_size=1, timeout=0, check_after=0) as pool:
            conn = pool.acquire()
            dead = self.session_id(conn)
            kill = self.killer(conn)
            pool.release(conn)
            kill()
            assert self.next_session(pool) != dead
            assert (pool.stats().total, pool.stats().in_use) == (1, 0)

    def test_a_session_that_died_in_use_is_not_reused(self, noticed: bool) -> None:
        """Whether or not its user has had an error before the release."""
        self.need("killer")
        with self.pool(max_size=1, timeout=0, check_after=0) as pool:
            conn = pool.acquire()
            dead = self.session_id(conn)
            self.killer(conn)()
            if noticed:
                with suppress(Exception):
                    self.echo(conn, "dead")
            pool.release(conn)
            assert self.next_session(pool) != dead
            assert (pool.stats().total, pool.stats().in_use) == (1, 0)

    def test_a_connection_that_its_user_has_closed_is_not_reused(self) -> None:
        with self.pool(max_size=1, timeout=0) as pool:
            conn = pool.acquire()
            closed = self.session_id(conn)
            self.close(conn)
            pool.release(conn)
            assert self.next_session(pool) != closed
            assert (pool.stats().total, pool.stats().in_use) == (1, 0)

    # -- limits -------------------------------------------------------------------------------

    def test_no_more_than_max_size_connections_are_in_use(self) -> None:
        with self.pool(max_size=2, timeout=0) as pool:
            held = [pool.acquire(), pool.acquire()]
            self._assert_exhausted(pool)
            pool.release(held.pop())
            held.append(pool.acquire())
            assert self.echo(held[-1], "again") == "again"
            for conn in held:
                pool.release(conn)

    def _assert_exhausted(self, pool: Any) -> None:
        try:
            pool.acquire()
        except self.exhausted_error:
            return
        raise AssertionError("more than max_size connections are in use")

    def test_a_wait_ends_at_the_timeout(self) -> None:
        self.need_waits()
        with self.pool(max_size=1, timeout=0.05) as pool, pool.connection() as conn:
            Caller(lambda: self._assert_exhausted(pool)).result()
            assert self.echo(conn, "held") == "held"

    def test_a_waiter_gets_the_released_connection(self) -> None:
        before, after = self._sessions_of_a_waiter(lambda pool, conn: pool.release(conn))
        assert after == before

    def test_a_waiter_gets_the_slot_of_a_discarded_connection(self) -> None:
        before, after = self._sessions_of_a_waiter(lambda pool, conn: pool.discard(conn))
        assert after != before

    def _sessions_of_a_waiter(self, give_back: Callable[[Any, Any], object]) -> tuple[Any, Any]:
        """The session that ``give_back(pool, conn)`` ends the use of, and that of the waiter."""
        self.need_waits()
        with self.pool(max_size=1) as pool:
            conn = pool.acquire()
            session = self.session_id(conn)
            caller = Caller(lambda: self.next_session(pool))
            eventually(lambda: pool.stats().waiting == 1)
            give_back(pool, conn)
            return session, caller.result()

    def test_a_second_release_is_ignored_and_counted(self) -> None:
        with self.pool(max_size=1, timeout=0) as pool:
            conn = pool.acquire()
            pool.release(conn)
            pool.release(conn)
            stats = pool.stats()
            assert (stats.total, stats.available) == (1, 1)
            assert stats.foreign_releases == self.counts_foreign_releases
            with pool.connection():
                self._assert_exhausted(pool)

    def test_threads_get_their_own_replies(self) -> None:
        with self.pool(max_size=4) as pool:
            barrier = threading.Barrier(4)

            def talk(name: str) -> None:
                barrier.wait(10)
                for number in range(20):
                    text = f"{name}{number}"
                    with pool.connection() as conn:
                        assert self.echo(conn, text) == text

            for caller in [Caller(lambda name=name: talk(name)) for name in "abcd"]:  # type: ignore[misc]
                caller.result()
            assert pool.stats().in_use == 0

    # -- all of them --------------------------------------------------------------------------

    def test_close_closes_idle_connections(self) -> None:
        self.need("lives")
        with self.pool() as pool:
            session = self.next_session(pool)
            assert self.lives(session)
            pool.close(timeout=0)
            eventually(lambda: not self.lives(session))

    def test_acquire_after_close(self) -> None:
        with self.pool() as pool:
            session = self.next_session(pool)
            pool.close(timeout=0)
            if self.closed_error is None:
                assert self.next_session(pool) != session
                return
            try:
                pool.acquire()
            except self.closed_error:
                return
            raise AssertionError("acquire returned a connection of a closed pool")

    def test_drain_replaces_every_connection(self) -> None:
        with self.pool() as pool:
            with pool.connection() as held:
                sessions = {self.session_id(held), self.next_session(pool)}
                pool.drain()
                assert self.echo(held, "held") == "held"
                assert self.next_session(pool) not in sessions
            with pool.connection() as one, pool.connection() as other:
                assert sessions.isdisjoint({self.session_id(one), self.session_id(other)})

    def test_resize_closes_the_surplus(self) -> None:
        if not self.resizes:
            raise unittest.SkipTest("the pool has no resize")
        with self.pool(max_size=2, timeout=0) as pool:
            with pool.connection(), pool.connection():
                pool.resize(1)
            assert pool.stats().total == 1
            with pool.connection():
                self._assert_exhausted(pool)
            pool.resize(2)
            with pool.connection() as one, pool.connection() as other:
                assert self.session_id(one) != self.session_id(other)

    # -- errors -------------------------------------------------------------------------------

    def test_a_refused_connect_reaches_the_caller(self) -> None:
        self.need("port")
        relay = Relay(self.port or 0)
        relay.stop()
        with self.pool(port=relay.port, max_size=1, timeout=0) as pool:
            for _ in range(2):  # the slot is not lost
                try:
                    pool.acquire()
                except self.connect_error:
                    continue
                raise AssertionError("acquire returned a connection although the port is closed")
            stats = pool.stats()
            assert (stats.in_use, stats.connect_errors) == (0, 2)
