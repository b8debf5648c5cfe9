"""A daemon closes all descriptors and opens its own: their numbers are not the pool's any more."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import resource
import select
import signal
from collections.abc import Callable

import pytest

import forksafe_pool
from forksafe_pool.conformance.children import twice
from forksafe_pool.conformance.descriptors import close_all
from tests.servers.drivers import Driver
from tests.support.daemons import KINDS, all_but_standard, others_in_place_of
from tests.support.forks import Child, c_fork, in_child, open_descriptors, os_fork

LIMIT = 8.0

Fork = Callable[[], int]


FORKS: dict[str, Fork] = {
    "os.fork": os_fork,
    "C fork": c_fork,
    "daemon": twice(os_fork),
    "C daemon": twice(c_fork),
}


@pytest.fixture(params=FORKS)
def fork(request: pytest.FixtureRequest) -> Fork:
    return FORKS[request.param]


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_a_daemon_are_its_own(driver: Driver, fork: Fork, kind: str) -> None:
    pool = driver.make_pool()
    idle, held = pool.acquire(), pool.acquire()
    mine = {driver.session(idle), driver.session(held)}
    pool.release(held)  # what connects late is looked at when it comes back
    held = pool.acquire()
    driver.begin(held)
    pool.release(idle)
    numbers = all_but_standard()

    def child() -> tuple[list[str], bool]:
        logging.disable()  # pytest's handler has a descriptor, too
        files = others_in_place_of(numbers, kind)
        pool.stats()
        files.write()
        pool.release(held)
        theirs = []
        for word in ("one", "two"):
            with pool.connection() as conn:
                assert driver.ask(conn, word) == word
                theirs.append(driver.session(conn))
            files.write()
        pool.discard(pool.acquire())
        with pool.connection() as conn:
            assert driver.ask(conn, "end") == "end"
        pool.close()
        return files.damage(), mine.isdisjoint(theirs)

    assert in_child(child, fork, LIMIT) == ([], True)
    driver.finish(held)
    pool.release(held)
    with pool.connection() as one, pool.connection() as other:
        assert {driver.session(one), driver.session(other)} == mine
    pool.close()


def test_the_session_of_a_second_pool_is_not_the_first_one_s(driver: Driver, fork: Fork) -> None:
    """The second connects first: it gets the numbers that the first had."""
    pool, second = driver.make_pool(), driver.make_pool()
    with pool.connection() as conn:
        driver.session(conn)
    numbers = all_but_standard()

    def child() -> tuple[bool, list[str]]:
        close_all(numbers)
        conns = [second.acquire() for _ in range(2)]
        sessions = {driver.session(conn) for conn in conns}
        with pool.connection() as conn:
            distinct = driver.session(conn) not in sessions
        heard = [driver.ask(conn, word) for conn, word in zip(conns, "ab", strict=True)]
        assert {driver.session(conn) for conn in conns} == sessions
        for conn in conns:
            second.release(conn)
        pool.close()
        second.close()
        return distinct, heard

    assert in_child(child, fork, LIMIT) == (True, ["a", "b"])
    pool.close()
    second.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["used", "closed", "idle"])
def test_what_was_closed_behind_the_back_of_the_parent(driver: Driver, kind: str, end: str) -> None:
    """In a child, so that the test loses nothing by it: this process made the pool."""

    def child() -> list[str]:
        logging.disable()  # pytest's handler has a descriptor, too
        before = open_descriptors()
        pool = driver.make_pool()
        idle, held = pool.acquire(), pool.acquire()
        assert driver.ask(idle, "begin") == driver.ask(held, "begin") == "begin"
        mine = {driver.session(idle), driver.session(held)}
        pool.release(held)  # what connects late is looked at when it comes back
        pool.release(idle)
        if end != "idle":
            held = pool.acquire()
        files = others_in_place_of(open_descriptors() - before, kind)
        files.write()
        if end == "used":
            _let_grow_old()
            for word in ("one", "two"):
                with pool.connection() as conn:
                    assert driver.ask(conn, word) == word
                    assert driver.session(conn) not in mine
        if end != "idle":
            with contextlib.suppress(Exception):  # SQLAlchemy's events may use it
                pool.discard(held)
        files.write()
        pool.close()
        return files.damage()

    assert in_child(child, os_fork, LIMIT) == []


def test_a_pool_that_only_the_collector_finds_closes_no_file_of_a_daemon(driver: Driver) -> None:
    """The collector finalizes what it finds in no certain order: a socket before its pool, say."""

    def child() -> list[str]:
        logging.disable()  # pytest's handler has a descriptor, too
        gc.disable()
        before = open_descriptors()
        pool = driver.make_pool()
        gc.collect(0)  # what is older than its pool, and what is younger, come in this order
        driver.session(held := pool.acquire())
        with pool.connection() as conn:
            driver.session(conn)
        cycle = [pool, held, conn]
        cycle.append(cycle)
        del pool, held, conn, cycle
        numbers = open_descriptors() - before

        def daemon() -> list[str]:
            logging.disable()
            files = others_in_place_of(numbers, "files")
            files.write()
            gc.collect()
            return files.damage()

        return in_child(daemon, os_fork, LIMIT)  # type: ignore[no-any-return]

    assert in_child(child, os_fork, 2 * LIMIT) == []


def test_a_daemon_ends_with_its_test(fork: Fork) -> None:
    """One that hangs has a session of its own, and nobody who waits for it."""
    reader, writer = os.pipe()

    def hang() -> None:
        os.write(writer, b".")
        signal.pause()

    child = Child(hang, fork)
    os.close(writer)
    assert select.select([reader], [], [], LIMIT)[0]
    assert os.read(reader, 1)
    child.kill()
    ended = select.select([reader], [], [], LIMIT)[0]
    os.close(reader)
    assert ended


def test_what_a_daemon_cannot_have_is_no_endless_loop() -> None:
    def child() -> str:
        beyond = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with pytest.raises(AssertionError, match=str(beyond)):
            others_in_place_of({beyond}, "files")
        return "refused"

    assert in_child(child, os_fork, LIMIT) == "refused"


def _let_grow_old() -> None:
    """As if the idle had been idle for longer than `check_after`."""
    for pool in forksafe_pool.pools():
        for slot in list(pool._ledger.available):
            slot.fresh_until = 0.0
