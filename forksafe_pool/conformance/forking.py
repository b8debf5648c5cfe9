"""Tests with real forks, in which the child reports what it saw.

``in_child`` runs a function in a child. Each test runs once for each way to fork, and fails if the
child logs or warns.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import unittest
import warnings
from typing import Any

from forksafe_pool.conformance.children import (
    Child,
    Fork,
    InChild,
    open_descriptors,
    open_sockets,
    quiet,
)
from forksafe_pool.conformance.children import in_child as run_in_child
from forksafe_pool.conformance.descriptors import Logs, in_place_of
from forksafe_pool.conformance.hooks import Hooks, Parent
from forksafe_pool.conformance.relay import Relay
from forksafe_pool.conformance.threads import Caller, eventually

NOTHING: tuple[set[Any], set[str]] = (set(), set())


class Forking(Hooks):
    # -- the child is on its own, and its parent goes on --------------------------------------

    def test_a_child_has_its_own_sessions(self, in_child: InChild) -> None:
        with self.pool() as pool:
            parent = Parent(self, pool)

            def child() -> tuple[set[Any], set[str], int]:
                with pool.connection() as one, pool.connection() as other:
                    own = {self.session_id(one), self.session_id(other)}
                assert len(own) == 2
                assert self.next_session(pool) in own
                return own & parent.sessions, open_sockets() & parent.sockets, pool.stats().opened

            assert in_child(child) == (*NOTHING, 2)
            parent.finish()

    def test_a_child_has_no_socket_of_its_parent_s_before_its_first_use(
        self, fork_with_hooks: InChild
    ) -> None:
        """So a connection that the parent closes is closed, even if a child lives on."""
        with self.pool() as pool:
            parent = Parent(self, pool)
            assert fork_with_hooks(lambda: open_sockets() & parent.sockets) == set()
            parent.finish()

    def test_a_child_starts_from_zero(self, in_child: InChild) -> None:
        """Its parent's connections are all in use, and do not count in the child."""
        with self.pool(max_size=1, timeout=0) as pool, pool.connection() as held:
            session = self.session_id(held)

            def child() -> bool:
                stats = pool.stats()
                assert (stats.total, stats.in_use, stats.acquired, stats.opened) == (0, 0, 0, 0)
                return bool(self.next_session(pool) != session)

            assert in_child(child)
            assert self.session_id(held) == session

    def test_a_waiter_stays_in_the_parent(self, in_child: InChild) -> None:
        self.need_waits()
        with self.pool(max_size=1) as pool:
            held = pool.acquire()
            session = self.session_id(held)
            caller = Caller(lambda: self.next_session(pool))
            eventually(lambda: pool.stats().waiting == 1)

            def child() -> bool:
                assert pool.stats().waiting == 0
                return bool(self.next_session(pool) != session)

            assert in_child(child)
            pool.release(held)
            assert caller.result() == session

    def test_a_grandchild_has_its_own_sessions(self, in_child: InChild, fork: Fork) -> None:
        """The child has used the pool before it forks, and goes on afterwards."""
        with self.pool() as pool:
            parent = Parent(self, pool)

            def child() -> tuple[set[Any], set[str]]:
                own = Parent(self, pool)

                def grandchild() -> tuple[set[Any], set[str]]:
                    pool.release(own.held)
                    pool.release(parent.held)
                    lent, left = own.left_in_child()
                    return lent | parent.left_in_child()[0], left | open_sockets() & parent.sockets

                assert run_in_child(quiet(grandchild), fork) == NOTHING
                own.finish()
                return own.sessions & parent.sessions, open_sockets() & parent.sockets

            assert in_child(child) == NOTHING
            parent.finish()

    def test_processes_get_their_own_replies(self, fork: Fork) -> None:
        """All at the same time, over a pool that was used before the forks."""
        with self.pool() as pool:
            self.next_session(pool)
            wait, start = os.pipe()

            def talk(name: str) -> None:
                for number in range(20):
                    text = f"{name}{number}"
                    with pool.connection() as conn:
                        assert self.echo(conn, text) == text

            def child(name: str) -> None:
                assert os.read(wait, 1)
                talk(name)

            children = [Child(lambda name=name: child(name), fork) for name in "abc"]  # type: ignore[misc]
            try:
                os.write(start, b"...")
                talk("parent")
                while children:
                    children.pop().result()
            finally:
                for left in children:
                    left.kill()
                os.close(wait)
                os.close(start)
            assert pool.stats().opened == 1

    # -- what a child does with what it inherited ---------------------------------------------

    def test_a_child_that_releases_an_inherited_connection(self, in_child: InChild) -> None:
        self._assert_independent(in_child, lambda parent: parent.pool.release(parent.held))

    def test_a_child_that_discards_an_inherited_connection(self, in_child: InChild) -> None:
        self._assert_independent(in_child, lambda parent: parent.pool.discard(parent.held))

    def test_a_child_that_closes_an_inherited_connection(self, in_child: InChild) -> None:
        def close(parent: Parent) -> None:
            parent.pool.stats()  # after a C-level fork the first use severs
            self.close(parent.held)

        self._assert_independent(in_child, close)

    def test_a_child_that_drops_an_inherited_connection(self, in_child: InChild) -> None:
        def drop(parent: Parent) -> None:
            parent.pool.stats()  # after a C-level fork the first use severs
            if self.warns_when_dropped:
                warnings.simplefilter("ignore", ResourceWarning)
            del parent.held
            gc.collect()

        self._assert_independent(in_child, drop)

    def test_a_child_that_closes_the_pool(self, in_child: InChild) -> None:
        with self.pool() as pool:
            parent = Parent(self, pool)

            def child() -> set[str]:
                pool.close(timeout=0)
                return open_sockets() & parent.sockets

            assert in_child(child) == set()
            parent.finish()

    def test_a_child_that_drains_the_pool(self, in_child: InChild) -> None:
        self._assert_independent(in_child, lambda parent: parent.pool.drain())

    def test_a_child_that_uses_an_inherited_connection(self, in_child: InChild) -> None:
        """It raises, or continues with the child's own session: never with the parent's."""
        if not self.can_be_severed:
            raise unittest.SkipTest("its connections show no descriptor")

        with self.pool() as pool:
            parent = Parent(self, pool)

            def child() -> set[str]:
                logging.disable()  # a driver may well complain
                pool.stats()  # after a C-level fork the first use severs
                session = None
                with contextlib.suppress(Exception):
                    self.finish(parent.held)
                with contextlib.suppress(Exception):
                    session = self.session_id(parent.held)
                assert session not in parent.sessions
                return open_sockets() & parent.sockets

            assert in_child(child) == set()
            parent.finish()

    def _assert_independent(self, in_child: InChild, act: Any) -> None:
        """One child calls ``act(parent)`` first, another one after it has used the pool."""
        with self.pool() as pool:
            parent = Parent(self, pool)

            def acts_first() -> tuple[set[Any], set[str]]:
                act(parent)
                return parent.left_in_child()

            def acts_later() -> tuple[set[Any], set[str]]:
                self.next_session(pool)
                act(parent)
                return parent.left_in_child()

            for child in (acts_first, acts_later):
                assert in_child(child) == NOTHING
                parent.go_on()
            parent.finish()

    def test_a_foreign_release_is_ignored_and_counted(self, in_child: InChild) -> None:
        with self.pool(max_size=1, timeout=0) as pool, pool.connection() as held:
            session = self.session_id(held)

            def child() -> int:
                with pool.connection():
                    pool.release(held)
                    try:
                        pool.acquire()
                    except self.exhausted_error:
                        return int(pool.stats().foreign_releases)
                raise AssertionError("a foreign release allowed more than max_size connections")

            assert in_child(child) == self.counts_foreign_releases
            assert self.session_id(held) == session
            assert pool.stats().foreign_releases == 0

    def test_a_block_that_the_child_leaves(
        self, in_child: InChild, end: type[BaseException] | None, used: bool
    ) -> None:
        """Leaving the block does not fail, and does not disturb the parent."""
        with self.pool() as pool:
            block = pool.connection()
            held = block.__enter__()
            session = self.session_id(held)
            self.begin(held)

            def child() -> bool:
                if used:
                    self.next_session(pool)
                block.__exit__(end, end and end(), None)
                return bool(self.next_session(pool) == session)

            assert not in_child(child)
            assert self.finish(held), "what was unfinished on the parent's connection is gone"
            assert self.session_id(held) == session
            block.__exit__(None, None, None)

    # -- other threads at the moment of the fork ----------------------------------------------

    def test_a_fork_while_another_thread_is_connecting(self, fork: Fork) -> None:
        self.need("port")
        relay = Relay(self.port or 0)
        try:
            with self.pool(port=relay.port) as pool:
                caller = Caller(pool.acquire)
                relay.wait_for_the_first()
                theirs = run_in_child(quiet(lambda: self.next_session(pool)), fork)
                relay.let_go()
                conn = caller.result()
                assert self.session_id(conn) != theirs
                pool.release(conn)
                assert pool.stats().total == 1
        finally:
            relay.stop()

    def test_a_fork_while_another_thread_waits_for_a_reply(self, fork: Fork) -> None:
        """The driver's lock is held by a thread that does not exist in the child."""
        self.need("port")
        relay = Relay(self.port or 0, hold_first=False)
        try:
            with self.pool(port=relay.port) as pool:
                busy = pool.acquire()
                session = self.session_id(busy)
                relay.hold()
                caller = Caller(lambda: self.echo(busy, "late"))
                relay.wait_until_holding()

                def child() -> bool:
                    nonlocal busy
                    if self.warns_when_dropped:
                        warnings.simplefilter("ignore", ResourceWarning)
                    own = self.next_session(pool) != session
                    pool.release(busy)
                    pool.discard(busy)
                    del busy
                    gc.collect()
                    return bool(own and self.next_session(pool) != session)

                assert run_in_child(quiet(child), fork)
                relay.let_go()
                assert caller.result() == "late"
                assert self.session_id(busy) == session
                pool.release(busy)
        finally:
            relay.stop()

    # -- daemons ------------------------------------------------------------------------------

    def test_a_daemon_that_closes_every_descriptor(self, in_child: InChild) -> None:
        """Its own files get the numbers of the parent's sockets: the pool must not touch them."""
        with self.pool() as pool:
            parent = Parent(self, pool)
            numbers = {number for number in open_descriptors() if number > 2}

            def child() -> tuple[tuple[set[Any], set[str]], list[str]]:
                logging.disable()  # the test's handlers may have lost their descriptors, too
                logs = in_place_of(numbers, Logs)
                pool.stats()
                logs.write()
                pool.release(parent.held)
                left = parent.left_in_child()
                logs.write()
                pool.discard(pool.acquire())
                self.next_session(pool)
                pool.close(timeout=0)
                return left, logs.damage()

            assert in_child(child) == (NOTHING, [])
            parent.finish()
