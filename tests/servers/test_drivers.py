"""The generic `Pool` serves drivers as they come: with a connect and, mostly, nothing else."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool._fork.descriptor import Descriptor, find_descriptor
from forksafe_pool._fork.sever import DeadEnd, sever
from tests.servers.drivers import SIZE, Driver
from tests.support.forks import Child, c_fork, in_child, open_sockets, os_fork

LIMIT = 30.0
CHILDREN = 3
ROUNDS = 25

Fork = Callable[[], int]


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Fork:
    function: Fork = request.param
    return function


def test_its_descriptor_is_found(driver: Driver) -> None:
    before = open_sockets()
    conn = driver.connect()
    assert driver.ask(conn, "begin") == "begin"
    found = os.readlink(f"/proc/self/fd/{find_descriptor(conn)}")
    assert {found} == open_sockets() - before
    driver.close(conn)


def leave(driver: Driver, conn: Any) -> None:
    driver.close(conn)


def lose(driver: Driver, conn: Any) -> None:
    """The server's end, and an attempt to use it."""
    with socket.socket(fileno=os.dup(find_descriptor(conn))) as same:
        same.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(Exception):
        driver.ask(conn, "anybody there?")


@pytest.mark.parametrize("end", [leave, lose])
def test_a_number_that_somebody_else_has_by_now_is_left_alone(
    driver: Driver, end: Callable[[Driver, Any], None]
) -> None:
    conn = driver.connect()
    assert driver.ask(conn, "begin") == "begin"
    number = find_descriptor(conn)
    noted = Descriptor()
    noted.record(number, conn)
    with open(os.devnull) as somebody, DeadEnd() as dead_end:
        end(driver, conn)
        try:
            os.fstat(number)
        except OSError:
            os.dup2(somebody.fileno(), number)
            try:
                sever(conn, find_descriptor, dead_end, noted)
                assert os.readlink(f"/proc/self/fd/{number}") == os.devnull
            finally:
                os.close(number)
    with contextlib.suppress(Exception):
        driver.close(conn)


def test_a_child_s_sessions_are_its_own_and_its_parent_s_go_on(driver: Driver, fork: Fork) -> None:
    before = open_sockets()
    pool = driver.make_pool()
    idle, held = pool.acquire(), pool.acquire()
    mine = {driver.session(idle), driver.session(held)}
    driver.begin(held)
    pool.release(idle)
    ours = open_sockets() - before
    assert len(ours) == len(mine) == 2

    def child() -> tuple[int, set[object], set[str]]:
        pool.release(held)
        conns = [pool.acquire() for _ in range(SIZE)]
        theirs = [driver.session(conn) for conn in conns]
        for conn in conns:
            pool.release(conn)
        with pool.connection() as conn:
            assert driver.session(conn) in theirs
        pool.discard(held)
        pool.close()
        return len(set(theirs)), mine.intersection(theirs), open_sockets() & ours

    assert in_child(child, fork, LIMIT) == (SIZE, set(), set())
    driver.finish(held)
    pool.release(held)
    with pool.connection() as one, pool.connection() as other:
        assert {driver.session(one), driver.session(other)} == mine
    stats = pool.stats()
    assert (stats.total, stats.opened, stats.foreign_releases) == (2, 2, 0)
    pool.close()


def test_everybody_hears_the_replies_to_their_own_questions(driver: Driver, fork: Fork) -> None:
    pool = driver.make_pool()
    with pool.connection() as conn:
        assert driver.ask(conn, "begin") == "begin"
    wait, start = os.pipe()

    def talk() -> int:
        right = 0
        for number in range(ROUNDS):
            word = f"process-{os.getpid()}-{number}"
            with pool.connection() as conn:
                right += driver.ask(conn, word) == word
        return right

    def child() -> int:
        assert os.read(wait, 1)
        return talk()

    children = [Child(child, fork) for _ in range(CHILDREN)]
    try:
        os.write(start, b"." * CHILDREN)
        assert talk() == ROUNDS
        while children:
            assert children.pop().result(LIMIT) == ROUNDS
    finally:
        for left in children:
            left.kill()
        os.close(wait)
        os.close(start)
    assert pool.stats().opened == 1
    pool.close()
