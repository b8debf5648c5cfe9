"""fill: connect before the first request comes."""

from __future__ import annotations

import contextlib

import pytest

from forksafe_pool import Pool, PoolBackOff, PoolClosed
from forksafe_pool._clock import monotonic
from tests.forks.test_signal_handlers import interrupted_at
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import LIMIT, wait_in_line
from tests.support.forks import in_child


def test_fill_connects_up_to_min_size(connections: Connections) -> None:
    pool = Pool(connections, max_size=5, min_size=3)
    pool.fill()
    assert len(connections.made) == 3
    assert pool.stats().available == pool.stats().total == 3
    pool.fill()
    assert len(connections.made) == 3


def test_fill_counts_what_is_there_already(connections: Connections) -> None:
    pool = Pool(connections, max_size=5, min_size=3)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    pool.fill()
    assert len(connections.made) == 3
    assert (pool.stats().available, pool.stats().in_use) == (2, 1)
    assert not busy.closed


def test_fill_without_min_size_does_nothing(connections: Connections) -> None:
    Pool(connections).fill()
    assert not connections.made


def test_fill_keeps_what_it_had_connected_when_connect_fails() -> None:
    connections = Connections()

    def connect() -> FakeConnection:
        if len(connections.made) == 2:
            raise OSError("refused")
        return connections()

    pool = Pool(connect, max_size=5, min_size=4)
    with pytest.raises(OSError, match="refused"):
        pool.fill()
    assert len(connections.open) == 2
    assert (pool.stats().available, pool.stats().total) == (2, 2)


def test_fill_of_a_closed_pool_is_refused(connections: Connections) -> None:
    pool = Pool(connections, min_size=1)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.fill()
    assert not connections.made


class Struck(BaseException):
    """As gevent's Timeout is: no Exception."""


@pytest.mark.parametrize("error", [Struck, TimeoutError])
def test_fill_loses_nothing_wherever_an_exception_strikes(
    connections: Connections, error: type[BaseException]
) -> None:
    def strike() -> None:
        raise error

    def strike_everywhere() -> int:
        line = 0
        where = ["the start"]
        while where:
            line += 1
            pool = Pool(connections, max_size=3, min_size=3, timeout=0)
            with contextlib.suppress(error), interrupted_at(line, strike) as where:
                pool.fill()
            assert pool.stats().in_use == 0, where
            assert pool.stats().total == pool.stats().available, where
            pool._ledger.failures = 0  # of a connect that the handler has cut off
            pool.fill()
            assert pool.stats().available == pool.stats().total == 3, where
            pool.close()
        return line

    # In a child: see test_attempts.
    assert in_child(strike_everywhere, limit=3 * LIMIT) > 60


def test_fill_after_failures_is_refused_as_acquire_is(connections: Connections) -> None:
    pool = Pool(connections, min_size=2)
    for _ in range(3):
        connections.errors.append(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            pool.fill()
    pool._ledger.retry_at = monotonic() + 0.4
    with pytest.raises(PoolBackOff):
        pool.fill()


def test_fill_leaves_what_somebody_waits_for_to_them(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, min_size=1, timeout=LIMIT)
    held = pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    pool.fill()
    pool.discard(held)
    assert waiter.result() is connections.made[1]
