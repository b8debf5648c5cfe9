"""What every driver must show under fork: real forks, in which the child reports what it saw.

``in_child`` runs a function in a child, and each test is run once for each way to fork; the child
may neither log nor warn.
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

    def test_a_child_has_sessions_of_its_own(self, in_child: InChild) -> None:
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

    def test_a_child_has_nothing_of_its_parent_s_before_its_first_use(
        self, fork_with_hooks: InChild
    ) -> None:
        """What the parent closes is closed then, though a child of its own lives on."""
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

    def test_a_waiter_of_the_parent_is_the_parent_s(self, in_child: InChild) -> None:
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

    def test_a_child_s_child_has_sessions_of_its_own(self, in_child: InChild, fork: Fork) -> None:
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

    def test_processes_get_the_replies_to_their_own_questions(self, fork: Fork) -> None:
        """All of them at the same time, over a pool that was used before the forks."""
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
        self._ends_up_alone(in_child, lambda parent: parent.pool.release(parent.held))

    def test_a_child_that_discards_an_inherited_connection(self, in_child: InChild) -> None:
        self._ends_up_alone(in_child, lambda parent: parent.pool.discard(parent.held))

    def test_a_child_that_closes_an_inherited_connection(self, in_child: InChild) -> None:
        def close(parent: Parent) -> None:
            parent.pool.stats()  # after a C-level fork the first use severs
            self.close(parent.held)

        self._ends_up_alone(in_child, close)

    def test_a_child_that_drops_an_inherited_connection(self, in_child: InChild) -> None:
        def drop(parent: Parent) -> None:
            parent.pool.stats()  # after a C-level fork the first use severs
            if self.warns_when_dropped:
                warnings.simplefilter("ignore", ResourceWarning)
            del parent.held
            gc.collect()

        self._ends_up_alone(in_child, drop)

    def test_a_child_that_closes_the_pool(self, in_child: InChild) -> None:
        with self.pool() as pool:
            parent = Parent(self, pool)

            def child() -> set[str]:
                pool.close(timeout=0)
                return open_sockets() & parent.sockets

            assert in_child(child) == set()
            parent.finish()

    def test_a_child_that_drains_the_pool(self, in_child: InChild) -> None:
        self._ends_up_alone(in_child, lambda parent: parent.pool.drain())

    def test_a_child_that_uses_an_inherited_connection(self, in_child: InChild) -> None:
        """It raises, or it goes on with a session of the child's own: never with the parent's."""
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

    def _ends_up_alone(self, in_child: InChild, act: Any) -> None:
        """``act(parent)`` is the first thing that a child does, and in another one comes after it
        has used the pool."""
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
                raise AssertionError("a foreign release made room for one more than max_size")

            assert in_child(child) == self.counts_foreign_releases
            assert self.session_id(held) == session
            assert pool.stats().foreign_releases == 0

    def test_a_block_that_the_child_leaves(
        self, in_child: InChild, end: type[BaseException] | None, used: bool
    ) -> None:
        """Whatever ends it: it does not fail, and ends nothing of its parent's."""
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

    def test_another_thread_is_connecting(self, fork: Fork) -> None:
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

    def test_another_thread_waits_for_a_reply(self, fork: Fork) -> None:
        """The lock of its driver is held: in the child nobody will ever let go of it."""
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
        """Its own files have the numbers that the parent's sockets had: they are left alone."""
        with self.pool() as pool:
            parent = Parent(self, pool)
            numbers = {number for number in open_descriptors() if number > 2}

            def child() -> tuple[tuple[set[Any], set[str]], list[str]]:
                logging.disable()  # a handler of the test's may have lost its descriptor, too
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
