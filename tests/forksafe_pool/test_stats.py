"""The numbers: exact under threads, and told by repr and by every error."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import random
import sys
from collections.abc import Callable, Iterator

import pytest

from forksafe_pool import Pool, PoolClosed, PoolError, PoolStats, PoolTimeout, TooManyWaiting
from tests.forksafe_pool.fakes import Connections, FakeConnection, pretend_fork
from tests.forksafe_pool.threads import LIMIT, together, wait_in_line


def test_a_new_pool_counts_nothing(connections: Connections) -> None:
    pool = Pool(connections, max_size=7, min_size=2, name="db")
    counters = {field.name: 0 for field in dataclasses.fields(PoolStats)}
    counters |= {"pid": os.getpid(), "max_size": 7, "min_size": 2}
    assert dataclasses.asdict(pool.stats()) == counters | {"name": "db"}


def test_each_number_counts_what_it_says(connections: Connections) -> None:
    pool = Pool(connections, max_size=2, timeout=0, fileno=lambda _: -1)
    first, second = pool.acquire(), pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire()
    pool.discard(second)
    connections.errors.append(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    third = pool.acquire()
    pool.release(third)
    pool.release(third)
    pool.release(pool.acquire())
    stats = pool.stats()
    assert (stats.total, stats.available, stats.in_use, stats.waiting) == (2, 1, 1, 0)
    assert (stats.acquired, stats.opened, stats.closed) == (4, 3, 1)
    assert (stats.connect_errors, stats.timeouts, stats.foreign_releases) == (1, 1, 1)
    assert stats.severed == 0
    pool.release(first)
    assert pool.stats().acquired == 4


def test_a_counter_does_not_fall_while_a_connection_is_looked_at(connections: Connections) -> None:
    told: list[int] = []
    look: Callable[[object], None] = lambda conn: told.append(pool.stats().acquired)  # noqa: E731
    pool = Pool(connections, check=look, check_after=0, reset=look)
    for _ in range(5):
        pool.release(pool.acquire())
        told.append(pool.stats().acquired)
    assert told == sorted(told)
    assert told[-1] == 5


def test_a_fork_starts_them_all_from_zero(connections: Connections) -> None:
    pool = Pool(connections, max_size=2, timeout=0, fileno=lambda _: -1)
    pool.release(pool.acquire())
    pool.acquire()
    pool.release(FakeConnection(99))
    pretend_fork(pool)
    stats = pool.stats()
    assert (stats.total, stats.available, stats.in_use, stats.severed) == (0, 0, 0, 1)
    assert (stats.acquired, stats.opened, stats.closed, stats.foreign_releases) == (0, 0, 0, 0)


def test_a_snapshot_does_not_change(connections: Connections) -> None:
    stats = Pool(connections).stats()
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.total = 1  # type: ignore[misc]


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads that switch as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_threads")
def test_the_counters_are_exact_under_threads(connections: Connections) -> None:
    threads, cycles = 8, 2000
    pool = Pool(connections, max_size=4, timeout=LIMIT)

    def use(number: int) -> tuple[int, int]:
        chance = random.Random(number)
        discarded = foreign = 0
        stranger = FakeConnection(-1)
        for _ in range(cycles):
            conn = pool.acquire()
            if chance.random() < 0.02:
                pool.discard(conn)
                discarded += 1
            else:
                pool.release(conn)
            if chance.random() < 0.1:
                pool.release(stranger)
                foreign += 1
        return discarded, foreign

    counts = together(threads, use)
    stats = pool.stats()
    assert stats.acquired == threads * cycles
    assert stats.closed == sum(discarded for discarded, _ in counts)
    assert stats.foreign_releases == sum(foreign for _, foreign in counts)
    assert stats.opened == len(connections.made)
    assert stats.opened - stats.closed == stats.total == stats.available == len(connections.open)
    assert (stats.in_use, stats.waiting, stats.timeouts, stats.connect_errors) == (0, 0, 0, 0)
    assert stats.total <= 4


@pytest.mark.usefixtures("busy_threads")
def test_failures_are_counted_exactly_under_threads() -> None:
    def connect() -> FakeConnection:
        raise OSError("refused")

    pool = Pool(connect, max_size=2, timeout=LIMIT)

    def use(_: int) -> int:
        failed = 0
        for _ in range(200):
            with pytest.raises((OSError, PoolTimeout)) as caught:
                pool.acquire(timeout=0)
            failed += not isinstance(caught.value, PoolTimeout)
        return failed

    refused = sum(together(8, use))
    stats = pool.stats()
    assert (stats.connect_errors, stats.timeouts) == (refused, 1600 - refused)
    assert (stats.total, stats.acquired, stats.opened) == (0, 0, 0)


@pytest.mark.usefixtures("busy_threads")
def test_numbers_may_be_read_while_others_work(connections: Connections) -> None:
    pool = Pool(connections, max_size=4, timeout=LIMIT)

    def work(number: int) -> None:
        for turn in range(500):
            if number < 2:
                stats = pool.stats()
                assert 0 <= stats.available + stats.in_use <= 8
                assert repr(pool).startswith("<Pool ")
            else:
                (pool.release if turn % 5 else pool.discard)(pool.acquire())

    together(6, work)


# -- repr and errors --------------------------------------------------------------------------


def test_repr_tells_the_state(connections: Connections) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT, name="db")
    assert repr(pool) == "<Pool 'db': total 0 of 2, available 0, in use 0, waiting 0>"
    conn, _ = pool.acquire(), pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    assert repr(pool) == "<Pool 'db': total 2 of 2, available 0, in use 2, waiting 1>"
    pool.release(conn)
    pool.release(caller.result())
    assert repr(pool) == "<Pool 'db': total 2 of 2, available 1, in use 1, waiting 0>"
    pool.close(timeout=0)
    assert repr(pool) == "<Pool 'db': closed, total 1 of 2, available 0, in use 1, waiting 0>"


def test_repr_names_the_subclass(connections: Connections) -> None:
    class Databases(Pool[FakeConnection]):
        pass

    assert repr(Databases(connections)).startswith("<Databases 'pool-")


def test_a_pool_does_not_travel(connections: Connections) -> None:
    pool = Pool(connections, name="db")
    for travel in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"'db'.* cannot be pickled: build it at import"):
            travel(pool)


def test_the_errors_are_pool_errors() -> None:
    assert issubclass(PoolTimeout, PoolError)
    assert issubclass(PoolTimeout, TimeoutError)
    assert issubclass(PoolClosed, PoolError)
    assert issubclass(TooManyWaiting, PoolError)
    assert not issubclass(TooManyWaiting, TimeoutError)
    assert not issubclass(PoolError, OSError)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_a_timeout_tells_the_numbers(connections: Connections, timeout: float) -> None:
    pool = Pool(connections, max_size=1, timeout=timeout, name="db")
    pool.acquire()
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire()
    assert str(caught.value) == (
        f"no connection from db within {timeout} s (total 1 of 1, available 0, in use 1, waiting 0)"
    )
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_the_last_error_of_connect_is_the_cause_of_a_timeout(
    connections: Connections, timeout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forksafe_pool._upkeep._chance", lambda: 0.0)  # no wait between attempts
    causes: list[BaseException | None] = []

    def connect() -> FakeConnection:
        # The only place is taken while it connects.
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire()
        causes.append(caught.value.__cause__)
        return connections()

    pool = Pool(connect, max_size=1, timeout=timeout)
    errors = [OSError("refused"), OSError("no route to host")]
    connections.errors.extend(errors)
    for error in errors:
        with pytest.raises(OSError, match=str(error)):
            pool.acquire()
    pool.acquire()
    assert [repr(cause) for cause in causes] == ["None", *map(repr, errors)]
    with pytest.raises(PoolTimeout) as caught:
        pool.acquire()
    assert caught.value.__cause__ is None  # it has connected since


def test_the_cause_of_a_timeout_may_be_an_error_that_cannot_be_copied() -> None:
    class Refused(Exception):
        def __init__(self, host: str, port: int) -> None:
            super().__init__(f"refused by {host}:{port}")

    causes: list[BaseException | None] = []

    def connect() -> FakeConnection:
        if not causes:
            causes.append(None)
            raise Refused("db", 5432)
        with pytest.raises(PoolTimeout) as caught:
            pool.acquire()
        causes.append(caught.value.__cause__)
        return FakeConnection(0)

    pool = Pool(connect, max_size=1, timeout=0)
    with pytest.raises(Refused, match="refused by db:5432"):
        pool.acquire()
    pool.acquire()
    assert "Refused" in str(causes[1])
    assert "refused by db:5432" in str(causes[1])
