"""Test suites freeze time, by freezegun or time-machine; the pool goes by a clock of its own."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import time_machine
from freezegun import freeze_time

from forksafe_pool import Pool
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import eventually

Freeze = Callable[[], AbstractContextManager[Any]]

BEFORE = "2001-09-09 01:46:40"
AFTER = "2096-10-02 07:06:40"


@pytest.fixture(
    params=[
        lambda: freeze_time(BEFORE),
        lambda: freeze_time(AFTER),
        lambda: freeze_time(AFTER, tick=True),
        lambda: time_machine.travel(BEFORE, tick=False),
        lambda: time_machine.travel(AFTER, tick=False),
    ],
    ids=[
        "freezegun-before",
        "freezegun-after",
        "freezegun-ticks",
        "machine-before",
        "machine-after",
    ],
)
def freeze(request: pytest.FixtureRequest) -> Freeze:
    made: Freeze = request.param
    return made


@pytest.fixture
def peers() -> Iterator[list[socket.socket]]:
    peers: list[socket.socket] = []
    yield peers
    for peer in peers:
        peer.close()


def test_what_died_since_it_was_released_under_a_frozen_clock_is_not_handed_out(
    freeze: Freeze, peers: list[socket.socket]
) -> None:
    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        return ours

    with Pool(connect, max_size=1, check_after=0.001) as pool:
        with freeze():
            conn = pool.acquire()
            pool.release(conn)
        peers[0].close()
        # Once check_after has passed it is looked at.
        slot = pool._ledger.available[0]
        eventually(lambda: not pool._is_usable(pool._ledger, slot))
        with pool.connection() as other:
            assert other is not conn
            assert len(peers) == 2


def test_failures_under_a_frozen_clock_do_not_have_the_pool_refuse_afterwards(
    freeze: Freeze, connections: Connections
) -> None:
    pool = Pool(connections, timeout=0)
    with freeze():
        for _ in range(3):
            connections.errors.append(OSError("refused"))
            with pytest.raises(OSError, match="refused"):
                pool.acquire()
    eventually(lambda: connects(pool), limit=10)


def test_failures_before_do_not_have_it_refuse_under_a_frozen_clock(
    freeze: Freeze, connections: Connections
) -> None:
    pool = Pool(connections, timeout=0)
    for _ in range(3):
        connections.errors.append(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            pool.acquire()
    with freeze():
        for _ in range(10_000):  # no clock of ours tells how long
            if connects(pool):
                return
            time.sleep(0.001)
    raise AssertionError("it refuses for ever")


def connects(pool: Pool[FakeConnection]) -> bool:
    try:
        pool.release(pool.acquire())
    except TimeoutError:
        return False
    return True
