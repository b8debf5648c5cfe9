"""Who connects again after failures waits a little, each a random time."""

from __future__ import annotations

import itertools
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from forksafe_pool import Pool, PoolBackOff, PoolClosed, PoolTimeout, _upkeep
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection
from tests.forksafe_pool.threads import LIMIT, Caller, wait_in_line
from tests.support.forks import c_fork, in_child


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> list[float]:
    """How long each wait was, if the chance was always the most that it can be."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)
    return slept


def fail(pool: Pool[FakeConnection], connections: Connections, times: int) -> None:
    for _ in range(times):
        connections.errors.append(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            pool.acquire()


def test_the_first_attempt_and_the_first_failure_wait_for_nothing(
    connections: Connections, slept: list[float]
) -> None:
    pool = Pool(connections)
    pool.release(pool.acquire())
    pool.discard(pool.acquire())
    fail(pool, connections, 1)
    assert slept == []


def test_each_failure_doubles_what_the_next_attempt_may_wait(
    connections: Connections, slept: list[float]
) -> None:
    pool = Pool(connections)
    fail(pool, connections, 8)
    assert slept == [0.05, 0.1, 0.2, 0.4, 0.5, 0.5, 0.5]


def test_a_connection_that_cannot_be_configured_is_a_failure(
    connections: Connections, slept: list[float]
) -> None:
    def configure(conn: FakeConnection) -> None:
        raise OSError("refused")

    pool = Pool(connections, configure=configure)
    for _ in range(3):
        with pytest.raises(OSError, match="refused"):
            pool.acquire()
    assert slept == [0.05, 0.1]


def test_who_is_killed_meanwhile_is_none(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, timeout=0)
    for _ in range(5):
        connections.errors.append(SystemExit())
        with pytest.raises(SystemExit):
            pool.acquire()
    pool.release(pool.acquire())
    assert pool.stats().connect_errors == 5


def test_it_is_a_random_part_of_that(
    connections: Connections, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    chances: Iterator[float] = itertools.chain([0.1, 0.9], itertools.repeat(0.0))
    monkeypatch.setattr(_upkeep, "_chance", lambda: next(chances))
    pool = Pool(connections, max_lifetime=None)
    fail(pool, connections, 3)
    assert slept == [pytest.approx(0.005), pytest.approx(0.09)]


def test_a_success_ends_it(connections: Connections, slept: list[float]) -> None:
    pool = Pool(connections)
    fail(pool, connections, 5)
    pool.discard(pool.acquire())
    slept.clear()
    fail(pool, connections, 2)
    assert slept == [0.05]


def test_what_has_passed_since_the_last_failure_counts(
    connections: Connections, slept: list[float], clock: Clock
) -> None:
    pool = Pool(connections)
    fail(pool, connections, 4)
    slept.clear()
    clock.advance(0.3)
    fail(pool, connections, 1)
    assert slept == [pytest.approx(0.1)]
    clock.advance(0.5)
    pool.acquire()
    assert len(slept) == 1


def test_a_crowd_that_comes_long_after_is_spread_all_the_same(
    connections: Connections, slept: list[float], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One tries; the others wait, each its own time, as if that one had failed."""
    waits: queue.SimpleQueue[float] = queue.SimpleQueue()
    everybody_came = threading.Event()

    def connect() -> FakeConnection:
        assert everybody_came.wait(LIMIT)
        return connections()

    pool = Pool(connect, max_size=20, max_lifetime=None)
    everybody_came.set()
    fail(pool, connections, 8)
    everybody_came.clear()
    monkeypatch.setattr(time, "sleep", waits.put)
    clock.advance(3600)
    chances = iter(range(1, 100))
    monkeypatch.setattr(_upkeep, "_chance", lambda: next(chances) / 100)
    callers = [Caller(pool.acquire) for _ in range(20)]
    waited = {waits.get(timeout=LIMIT) for _ in range(19)}
    everybody_came.set()
    assert len({caller.result() for caller in callers}) == 20
    assert len(waited) == 19
    assert max(waited) > 0.05
    assert waits.empty()


@pytest.mark.parametrize(
    ("acquire", "longest"),
    [
        (lambda pool: pool.acquire(timeout=0.02), 0.02),
        (lambda pool: pool.acquire(timeout=None), 0.5),
        (lambda pool: pool.acquire(), 0.3),
    ],
)
def test_nobody_waits_longer_than_the_caller_would(
    connections: Connections,
    slept: list[float],
    acquire: Callable[[Pool[FakeConnection]], FakeConnection],
    longest: float,
) -> None:
    pool = Pool(connections, timeout=0.3)
    fail(pool, connections, 8)
    slept.clear()
    acquire(pool)
    assert slept == [pytest.approx(longest)]


def test_who_has_waited_in_line_waits_for_what_is_left_of_the_time(
    connections: Connections, slept: list[float], clock: Clock
) -> None:
    pool = Pool(connections, max_size=1)
    held = pool.acquire()
    pool._ledger.failures, pool._ledger.tried_at = 8, clock.now + LIMIT - 0.2
    waiter = wait_in_line(pool, lambda: pool.acquire(LIMIT))
    clock.advance(LIMIT - 0.2)
    slept.clear()
    pool.discard(held)
    waiter.result()
    assert slept == [pytest.approx(0.2)]


def test_children_of_a_c_level_fork_do_not_wait_alike() -> None:
    """Python's own chance is the same in each, until a hook seeds it anew."""

    def chances() -> list[float]:
        return [_upkeep._chance() for _ in range(3)]

    assert in_child(chances, c_fork) != in_child(chances, c_fork)


def test_a_pool_that_is_closed_meanwhile_does_not_connect(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections)
    fail(pool, connections, 1)
    monkeypatch.setattr(time, "sleep", lambda seconds: pool.close(timeout=0))
    with pytest.raises(PoolClosed):
        pool.acquire()
    assert connections.made == []
    assert pool.stats().total == 0


def test_an_idle_connection_is_there_for_who_asks_meanwhile(
    connections: Connections, slept: list[float]
) -> None:
    pool = Pool(connections, max_size=2)
    idle, other = pool.acquire(), pool.acquire()
    pool.discard(other)
    fail(pool, connections, 3)
    pool.release(idle)
    slept.clear()
    assert pool.acquire() is idle
    assert slept == []


def test_who_does_not_wait_fails_at_once_until_it_is_time_to_try_again(
    connections: Connections, slept: list[float], clock: Clock
) -> None:
    pool = Pool(connections, timeout=0)
    fail(pool, connections, 3)  # each has tried
    said = "reconnect suppressed by back-off; last error: OSError('refused')"
    with pytest.raises(PoolBackOff, match=re.escape(said)) as raised:
        pool.acquire()
    assert str(raised.value.__cause__) == "refused"
    assert pool.stats().connect_errors == 3
    clock.advance(0.1)  # by as much, at most, the last attempt has put off the next
    fail(pool, connections, 1)
    clock.advance(0.19)
    with pytest.raises(PoolTimeout):
        pool.acquire()
    clock.advance(0.01)
    pool.release(pool.acquire())
    pool.discard(pool.acquire())
    pool.acquire()  # a success ends it
    assert slept == []
    assert (pool.stats().total, pool.stats().timeouts) == (1, 2)


def test_of_those_who_do_not_wait_one_tries(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=9, timeout=0)
    fail(pool, connections, 3)
    clock.advance(1)
    connections.errors.append(OSError("refused"))
    errors = []
    for _ in range(5):
        with pytest.raises((OSError, PoolTimeout)) as raised:
            pool.acquire()
        errors.append(raised.type)
    assert errors == [OSError, *[PoolBackOff] * 4]


def test_a_clock_that_jumps_back_puts_nobody_off_for_longer(
    connections: Connections, slept: list[float], clock: Clock
) -> None:
    pool = Pool(connections)
    fail(pool, connections, 8)
    slept.clear()
    clock.advance(-1e9)
    connections.errors.append(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        pool.acquire(timeout=0)
    clock.advance(-1e9)
    pool.acquire()
    assert slept == [0.5]


def test_a_clock_that_jumps_back_prolongs_no_timeout(
    connections: Connections, clock: Clock
) -> None:
    deadline = Pool(connections)._deadline(2.0)
    clock.advance(-1e9)
    assert deadline.left() == 2.0
