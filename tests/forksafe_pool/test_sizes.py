"""resize and drain: the pool's size, and all that it holds, change while it is used."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from forksafe_pool import Pool, PoolClosed, PoolTimeout
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection, pretend_fork
from tests.forksafe_pool.threads import LIMIT, Caller, wait_in_line

# -- read-only --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "max_size",
        "min_size",
        "timeout",
        "max_waiting",
        "max_lifetime",
        "max_idle",
        "check_after",
        "name",
    ],
)
def test_a_setting_cannot_be_written(connections: Connections, name: str) -> None:
    pool = Pool(connections)
    before = getattr(pool, name)
    with pytest.raises(AttributeError):
        setattr(pool, name, 4)
    assert getattr(pool, name) == before


# -- resize -----------------------------------------------------------------------------------


def fill(pool: Pool[FakeConnection], count: int) -> list[FakeConnection]:
    """``count`` connections, all idle; the first has been idle the longest."""
    conns = [pool.acquire() for _ in range(count)]
    for conn in conns:
        pool.release(conn)
    return conns


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ({"max_size": 0}, ValueError, "max_size must be at least 1, not 0"),
        ({"max_size": "4"}, TypeError, "max_size must be a whole number, not '4'"),
        ({"min_size": -1}, ValueError, "min_size must be at least 0, not -1"),
        ({"max_size": 1}, ValueError, r"min_size must not be larger than max_size \(1\), not 2"),
        ({"min_size": 5}, ValueError, r"min_size must not be larger than max_size \(4\), not 5"),
    ],
)
def test_a_wrong_size_changes_nothing(
    connections: Connections, sizes: Any, error: type[Exception], message: str
) -> None:
    pool = Pool(connections, max_size=4, min_size=2)
    with pytest.raises(error, match=message):
        pool.resize(**sizes)
    assert (pool.max_size, pool.min_size, pool._ledger.max_size) == (4, 2, 4)


def test_a_larger_pool_serves_who_waits(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    pool.acquire()
    waiters = [wait_in_line(pool, pool.acquire) for _ in range(2)]
    pool.resize(max_size=3)
    assert {waiter.result() for waiter in waiters} == set(connections.made[1:])
    assert (pool.max_size, pool.stats().max_size, pool.stats().total) == (3, 3, 3)
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)


def test_a_smaller_pool_closes_what_has_been_idle_the_longest(connections: Connections) -> None:
    pool = Pool(connections, max_size=4)
    conns = fill(pool, 4)
    pool.resize(max_size=2)
    assert [conn.times_closed for conn in conns] == [1, 1, 0, 0]
    assert (pool.stats().total, pool.stats().available) == (2, 2)


@pytest.mark.parametrize("max_idle", [None, 600.0])
@pytest.mark.parametrize("blocks", [True, False])
def test_a_smaller_pool_closes_what_is_in_use_when_it_comes_back(
    connections: Connections, max_idle: float | None, blocks: bool
) -> None:
    pool = Pool(connections, max_size=3, max_idle=max_idle, timeout=0)
    leases = [pool.connection() for _ in range(3)]
    held = [lease.__enter__() for lease in leases]
    pool.resize(max_size=1)
    assert not any(conn.closed for conn in held)

    def give_back(number: int) -> None:
        if blocks:
            leases[number].__exit__(None, None, None)
        else:
            pool.release(held[number])

    give_back(0)
    give_back(1)
    assert [conn.times_closed for conn in held] == [1, 1, 0]
    with pytest.raises(PoolTimeout):
        pool.acquire()
    give_back(2)
    assert (pool.stats().total, pool.stats().available) == (1, 1)
    for _ in range(3):
        with pool.connection() as conn:
            assert conn is held[2]


def test_what_comes_back_to_a_smaller_pool_is_closed_though_somebody_waits(
    connections: Connections,
) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    held = [pool.acquire(), pool.acquire()]
    waiter = wait_in_line(pool, pool.acquire)
    pool.resize(max_size=1)
    pool.release(held[0])
    assert held[0].closed
    assert waiter.running
    pool.release(held[1])
    assert waiter.result() is held[1]


def test_idle_connections_are_reaped_after_a_resize(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=4, max_idle=60)
    held = [pool.acquire() for _ in range(4)]
    pool.resize(max_size=3)
    for conn in held:
        pool.release(conn)
    assert pool.stats().total == 3
    clock.advance(61)
    pool.release(pool.acquire())
    assert pool.stats().total == 1


def test_fill_goes_by_the_new_size(connections: Connections) -> None:
    pool = Pool(connections, max_size=2)
    pool.resize(max_size=5, min_size=4)
    pool.fill()
    assert (pool.min_size, pool.stats().min_size, pool.stats().available) == (4, 4, 4)


def test_a_child_has_the_new_size(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, fileno=lambda _: -1, timeout=0)
    pool.resize(max_size=2)
    pretend_fork(pool)
    pool.acquire()
    pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire()


# -- drain ------------------------------------------------------------------------------------


def test_drain_closes_what_is_idle(connections: Connections) -> None:
    pool = Pool(connections, max_size=3)
    conns = fill(pool, 3)
    pool.drain()
    assert [conn.times_closed for conn in conns] == [1, 1, 1]
    assert pool.stats().total == 0
    assert pool.acquire() is connections.made[3]


@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("blocks", [True, False])
def test_drain_replaces_what_is_in_use_when_it_comes_back(
    connections: Connections, blocks: bool, resets: bool
) -> None:
    pool = Pool(connections, max_size=1, reset=(lambda _: True) if resets else None)
    lease = pool.connection()
    conn = lease.__enter__()
    pool.drain()
    assert not conn.closed
    if blocks:
        lease.__exit__(None, None, None)
    else:
        pool.release(conn)
    assert conn.times_closed == 1
    with pool.connection() as other:
        assert other is connections.made[1]
    with pool.connection() as again:  # once is enough
        assert again is other


def test_drain_before_anything_was_connected(connections: Connections) -> None:
    pool = Pool(connections)
    pool.drain()
    with pool.connection():
        pass
    assert pool.stats().available == 1


def test_drain_leaves_a_closed_pool_closed(connections: Connections) -> None:
    pool = Pool(connections)
    pool.close()
    pool.drain()
    with pytest.raises(PoolClosed):
        pool.acquire()


@pytest.mark.parametrize("step", ["connect", "configure", "check", "reset"])
def test_what_is_on_its_way_when_the_pool_is_drained_is_not_used_again(
    connections: Connections, step: str
) -> None:
    """It is neither idle nor in use just then."""
    armed = threading.Event()

    def drain(*_: FakeConnection) -> None:
        if armed.is_set():
            armed.clear()
            pool.drain()

    def connect() -> FakeConnection:
        conn = connections()
        if step == "connect":
            drain()
        return conn

    callbacks: dict[str, Any] = {} if step == "connect" else {step: drain}
    pool = Pool(connect, max_size=1, check_after=0, **callbacks)
    if step in ("check", "reset"):
        pool.release(pool.acquire())
    armed.set()
    with pool.connection():
        pass
    assert not armed.is_set()
    with pool.connection() as conn:
        assert conn is connections.made[1]
    assert connections.made[0].times_closed == 1


def test_what_a_waiter_was_handed_when_the_pool_is_drained_is_replaced(
    connections: Connections,
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    handed, drained = threading.Event(), threading.Event()

    def acquire() -> FakeConnection:
        slot = pool._take_or_queue(pool._ledger, pool._deadline(LIMIT))
        got = pool._wait(pool._ledger, slot, pool._deadline(LIMIT))  # type: ignore[arg-type]
        handed.set()
        assert drained.wait(LIMIT)
        assert got is not None
        return pool._lend(pool._ledger, got, pool._deadline(LIMIT)).conn  # type: ignore[return-value]

    waiter = wait_in_line(pool, acquire)
    pool.release(conn)
    assert handed.wait(LIMIT)
    pool.drain()
    drained.set()
    assert waiter.result() is connections.made[1]
    assert conn.times_closed == 1


def test_what_is_just_being_acquired_when_the_pool_is_drained_is_used_once_at_most(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each reading of the clock: the only places where another thread may come in."""
    for readings in range(1, 5):
        pool = Pool(connections, max_size=1)
        pool.release(pool.acquire())
        left = [readings]

        def clock(pool: Pool[FakeConnection] = pool, left: list[int] = left) -> float:
            left[0] -= 1
            if left[0] == 0:
                pool.drain()
            return 1000.0

        with monkeypatch.context() as patch:
            for module in ("_clock", "_lease", "_pool", "_upkeep"):
                patch.setattr(f"forksafe_pool.{module}.monotonic", clock)
            before = pool._ledger.available[0].conn
            for slot in pool._ledger.available:
                slot.fresh_until, slot.expires_at = 1001.0, 5000.0
            with pool.connection():
                pass
            pool.release(pool.acquire())
            if left[0] <= 0:
                assert before is not None
                assert before.times_closed == 1
                with pool.connection() as conn:
                    assert conn is not before


def test_drain_and_close_while_threads_work(connections: Connections) -> None:
    pool = Pool(connections, max_size=3, timeout=LIMIT, max_idle=0.001)
    stop = threading.Event()

    def use() -> None:
        while not stop.is_set():
            with pool.connection() as conn:
                assert not conn.closed

    callers = [Caller(use) for _ in range(4)]
    for size in (1, 4, 2, 3) * 25:
        old = list(connections.made)
        pool.drain()
        pool.resize(max_size=size)
        with pool.connection() as conn:
            assert conn not in old
    stop.set()
    for caller in callers:
        caller.result()
    stats = pool.stats()
    assert stats.in_use == stats.waiting == 0
    assert stats.available == stats.total == len(connections.open) <= 3


# -- evict_on ---------------------------------------------------------------------------------


class ReadOnly(Exception):
    pass


def is_read_only(error: BaseException) -> bool:
    return isinstance(error, ReadOnly)


@pytest.mark.parametrize("resets", [True, False])
def test_an_error_that_speaks_against_all_connections_costs_one_error(
    connections: Connections, resets: bool
) -> None:
    reset = (lambda _: True) if resets else None
    pool = Pool(connections, max_size=3, reset=reset, evict_on=is_read_only)
    idle = fill(pool, 3)
    with pool.connection() as busy:
        with pytest.raises(ReadOnly), pool.connection() as conn:
            raise ReadOnly
        assert conn.times_closed == 1
        assert [c.closed for c in idle if c is not busy] == [True, True]
        assert not busy.closed
    assert busy.times_closed == 1
    assert (pool.stats().total, pool.stats().closed) == (0, 3)


@pytest.mark.parametrize("resets", [True, False])
def test_another_error_costs_at_most_its_connection(connections: Connections, resets: bool) -> None:
    reset = (lambda _: True) if resets else None
    pool = Pool(connections, max_size=3, reset=reset, evict_on=is_read_only)
    fill(pool, 3)
    with pytest.raises(ValueError, match="mine"), pool.connection():
        raise ValueError("mine")
    assert pool.stats().total == 2 + resets


def test_what_was_discarded_inside_the_block_is_evicted_all_the_same(
    connections: Connections,
) -> None:
    pool = Pool(connections, max_size=2, evict_on=is_read_only)
    idle = fill(pool, 2)
    lease = pool.connection()
    pool.discard(lease.__enter__())
    lease.__exit__(ReadOnly, ReadOnly(), None)
    assert [conn.times_closed for conn in idle] == [1, 1]
    assert pool.stats().foreign_releases == 0


def test_an_evict_on_that_fails_is_logged_and_closes_no_more_than_usual(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    def evict_on(error: BaseException) -> bool:
        raise KeyError("sqlstate")

    pool = Pool(connections, max_size=2, evict_on=evict_on, name="db")
    fill(pool, 2)
    with pytest.raises(ReadOnly), pool.connection():
        raise ReadOnly
    assert pool.stats().total == 1
    assert "db: evict_on failed" in caplog.text


@pytest.mark.parametrize("evict_on", [ReadOnly, (ReadOnly, KeyError)])
def test_an_evict_on_that_is_a_class_is_told(connections: Connections, evict_on: Any) -> None:
    """A class can be called with an error, too: it would make one, and any is true."""
    with pytest.raises(
        TypeError, match=r"evict_on must be a function of.*isinstance\(error, .?Read"
    ):
        Pool(connections, evict_on=evict_on)


def test_an_evict_on_that_is_async_is_told(connections: Connections) -> None:
    async def evict_on(error: BaseException) -> bool:
        return True

    with pytest.raises(TypeError, match=r"evict_on must be a function that is .* not async"):
        Pool(connections, evict_on=evict_on)
