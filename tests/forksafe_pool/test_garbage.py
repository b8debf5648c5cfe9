"""What happens to connections that nobody gives back, and to pools that nobody closes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import forksafe_pool
from forksafe_pool import Pool
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import wait_in_line


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_pool_that_is_dropped_closes_what_is_available_at_once(
    connections: Connections,
) -> None:
    pool = Pool(connections)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    gone = weakref.ref(pool)
    del pool
    assert gone() is None
    assert idle.times_closed == 1
    assert not busy.closed  # its holder's


@pytest.mark.usefixtures("no_collector")
def test_a_pool_that_could_not_connect_once_is_dropped_the_same_way(
    connections: Connections,
) -> None:
    pool = Pool(connections)
    idle = pool.acquire()
    connections.errors.append(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    pool.release(idle)
    del pool
    assert idle.times_closed == 1


@pytest.mark.usefixtures("no_collector")
def test_a_failed_connect_keeps_nothing_of_its_caller_alive(connections: Connections) -> None:
    class Request:
        pass

    def handle() -> weakref.ref[Request]:
        request = Request()
        connections.errors.append(OSError("refused"))
        try:
            pool.acquire()
        except OSError:
            return weakref.ref(request)
        raise AssertionError

    pool = Pool(connections)
    assert handle()() is None


def test_a_pool_in_a_cycle_is_collected() -> None:
    class Client:
        def __init__(self) -> None:
            self.conn = FakeConnection(0)
            self.pool = Pool(self.connect)

        def connect(self) -> FakeConnection:
            return self.conn

    client = Client()
    conn = client.pool.acquire()
    client.pool.release(conn)
    del client
    gc.collect()
    assert conn.times_closed == 1


def test_a_pool_whose_options_were_wrong_is_dropped_silently() -> None:
    with pytest.raises(ValueError, match="max_size"):
        Pool(object, max_size=0)
    gc.collect()


def test_a_place_that_is_lost_is_free_again(connections: Connections) -> None:
    """An exception, a signal's say, may strike between the pop and the hand-out."""
    pool = Pool(connections, max_size=2, timeout=0)
    held = [pool.acquire(), pool.acquire()]
    for conn in held:
        pool.release(conn)
    slot = pool._ledger.available.pop()
    assert (pool.stats().total, pool.stats().available) == (2, 1)
    del slot
    assert (pool.stats().total, pool.stats().available) == (1, 1)
    assert pool.stats().acquired == 2
    conns = {pool.acquire(), pool.acquire()}
    assert held[1] not in conns
    assert pool.stats().total == 2


def test_a_new_place_that_is_lost_is_free_again(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    for _ in range(3):
        slot = pool._ledger.take()
        assert slot is not None
        assert pool.stats().total == 1
        del slot
        assert pool.stats().total == 0
    pool.acquire()


def test_the_connection_of_a_lost_place_is_not_kept_alive() -> None:
    pool = Pool(lambda: FakeConnection(0), max_size=1)
    conn = weakref.ref(pool.acquire())
    pool._ledger.in_use.clear()
    assert conn() is None
    assert pool.stats().total == 0


def test_a_waiter_gets_a_place_that_was_lost(connections: Connections) -> None:
    pool = Pool(connections, max_size=1)
    pool.release(pool.acquire())
    slot = pool._ledger.available.pop()
    caller = wait_in_line(pool, lambda: pool.acquire(timeout=2.0))
    del slot
    assert caller.result() is connections.made[1]


PROGRAM = """
import socket
from forksafe_pool import Pool

peers = []

def connect():
    ours, theirs = socket.socketpair()
    peers.append(theirs)
    return ours

pool = Pool(connect, max_size=3)
idle, busy = pool.acquire(), pool.acquire()
pool.release(idle)
assert pool.stats().total == 2
pool.release(busy)
del idle, busy, connect
"""


def test_a_program_may_end_without_closing_its_pool() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-W", "ignore:unclosed", "-c", PROGRAM],
        check=False,
        timeout=60,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(forksafe_pool.__file__).parents[1])},
    )
    assert (done.returncode, done.stderr) == (0, "")


class _Garbage:
    """A cycle whose end is a release, of a connection that may be the last of its pool's."""

    def __init__(self, pool: Pool[FakeConnection]) -> None:
        self.itself = self
        self.pool = pool
        self.conn = pool.acquire()

    def __del__(self) -> None:
        self.pool.release(self.conn)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("allocations", range(1, 15))
@pytest.mark.parametrize(
    "look", [Pool.stats, lambda _: forksafe_pool.pools(), lambda _: os.fork() or os._exit(0)]
)
def test_garbage_is_collected_while_somebody_looks_at_a_pool(
    connections: Connections, look: Callable[[Pool[FakeConnection]], object], allocations: int
) -> None:
    """The collector comes by at any allocation, and what it frees may change what is looked at."""
    pool = Pool(connections, max_size=50)
    for conn in [pool.acquire() for _ in range(30)]:
        pool.release(conn)
    others = [Pool(connections) for _ in range(30)]
    _Garbage(pool)
    _Garbage(Pool(connections))
    usual = gc.get_threshold()
    gc.set_threshold(gc.get_count()[0] + allocations)
    gc.enable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = look(pool)
    gc.disable()
    gc.set_threshold(*usual)
    if isinstance(pid, int):
        os.waitpid(pid, 0)
    assert len(others) == 30
