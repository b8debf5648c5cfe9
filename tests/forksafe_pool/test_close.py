"""close: for good, for everybody, and without leaving a connection open."""

from __future__ import annotations

import threading

import pytest

from forksafe_pool import Pool, PoolClosed
from tests.forksafe_pool.fakes import (
    Clock,
    Connections,
    FakeConnection,
    end_first_wait_by,
    interrupted,
)
from tests.forksafe_pool.threads import LIMIT, Caller, eventually, wait_in_line


def is_closed(pool: Pool[FakeConnection]) -> bool:
    return ": closed, " in repr(pool)


def test_close_closes_what_is_available(connections: Connections) -> None:
    pool = Pool(connections)
    held = [pool.acquire() for _ in range(3)]
    for conn in held:
        pool.release(conn)
    assert pool.close() is True
    assert [conn.times_closed for conn in held] == [1, 1, 1]
    assert (pool.stats().total, pool.stats().closed) == (0, 3)


def test_close_of_an_unused_pool(connections: Connections) -> None:
    pool = Pool(connections)
    assert pool.close(timeout=0) is True
    assert not connections.made


def test_a_closed_pool_lends_nothing(connections: Connections) -> None:
    pool = Pool(connections, name="db")
    pool.release(pool.acquire())
    pool.close()
    with pytest.raises(PoolClosed, match="db is closed"):
        pool.acquire()
    with pytest.raises(PoolClosed), pool.connection():
        pass
    assert len(connections.made) == 1
    assert is_closed(pool)


def test_closing_again_is_harmless(connections: Connections) -> None:
    pool = Pool(connections)
    pool.release(pool.acquire())
    assert [pool.close() for _ in range(3)] == [True] * 3
    assert connections.made[0].times_closed == 1


def test_what_is_in_use_is_left_alone_and_closed_when_it_comes_back(
    connections: Connections,
) -> None:
    pool = Pool(connections)
    released, discarded = pool.acquire(), pool.acquire()
    assert pool.close(timeout=0) is False
    assert not released.closed
    assert pool.stats().in_use == 2
    pool.release(released)
    assert released.times_closed == 1
    assert pool.close(timeout=0) is False
    pool.discard(discarded)
    assert discarded.times_closed == 1
    assert pool.close(timeout=0) is True
    assert pool.stats().total == 0


def test_what_a_block_holds_is_closed_at_its_end(connections: Connections) -> None:
    pool = Pool(connections)
    with pool.connection() as conn:
        assert pool.close(timeout=0) is False
        assert not conn.closed
    assert conn.times_closed == 1
    assert pool.stats().total == 0


@pytest.mark.parametrize("timeout", [None, LIMIT])
@pytest.mark.parametrize("give_back", ["release", "discard"])
def test_close_waits_for_what_is_in_use(
    connections: Connections, timeout: float | None, give_back: str
) -> None:
    pool = Pool(connections)
    conns = [pool.acquire(), pool.acquire()]
    closing = Caller(lambda: pool.close(timeout))
    eventually(lambda: is_closed(pool))
    for conn in conns:
        assert closing.running
        getattr(pool, give_back)(conn)
    assert closing.result() is True
    assert not connections.open


def test_close_gives_up_after_its_timeout(connections: Connections) -> None:
    pool = Pool(connections)
    conn = pool.acquire()
    assert pool.close(timeout=0.01) is False
    assert not conn.closed


def test_close_waits_for_as_long_as_inf(connections: Connections) -> None:
    pool = Pool(connections)
    conn = pool.acquire()
    closing = Caller(lambda: pool.close(float("inf")))
    eventually(lambda: is_closed(pool))
    pool.release(conn)
    assert closing.result() is True


def test_several_threads_close(connections: Connections) -> None:
    pool = Pool(connections)
    conn = pool.acquire()
    closing = [Caller(lambda: pool.close(LIMIT)) for _ in range(4)]
    eventually(lambda: is_closed(pool))
    pool.release(conn)
    assert [caller.result() for caller in closing] == [True] * 4
    assert conn.times_closed == 1


def test_waiters_are_told_at_once(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=None, name="db")
    pool.acquire()
    waiters = [wait_in_line(pool, pool.acquire) for _ in range(3)]
    assert pool.close(timeout=0) is False
    for waiter in waiters:
        with pytest.raises(PoolClosed, match="db was closed while the caller waited"):
            waiter.result()
    assert pool.stats().waiting == 0
    assert pool.stats().timeouts == 0


def test_a_connection_that_is_being_made_is_closed(connections: Connections) -> None:
    entered, leave = threading.Event(), threading.Event()

    def connect() -> FakeConnection:
        entered.set()
        assert leave.wait(LIMIT)
        return connections()

    pool = Pool(connect)
    caller = Caller(pool.acquire)
    assert entered.wait(LIMIT)
    assert pool.close(timeout=0) is False
    closing = Caller(lambda: pool.close(timeout=None))
    leave.set()
    with pytest.raises(PoolClosed):
        caller.result()
    assert closing.result() is True
    assert connections.made[0].times_closed == 1


def test_a_connection_that_is_being_checked_is_closed(
    connections: Connections, clock: Clock
) -> None:
    pool: Pool[FakeConnection] = Pool(connections, check=lambda _: pool.close(timeout=0) or True)
    pool.release(pool.acquire())
    clock.advance(1.0)
    with pytest.raises(PoolClosed):
        pool.acquire()
    assert connections.made[0].times_closed == 1
    assert pool.close(timeout=0) is True


def test_a_connection_that_is_being_reset_is_closed(connections: Connections) -> None:
    pool: Pool[FakeConnection] = Pool(connections, reset=lambda _: pool.close(timeout=0))
    pool.release(pool.acquire())
    assert connections.made[0].times_closed == 1
    assert pool.close(timeout=0) is True


def test_a_waiter_that_was_handed_a_connection_is_told(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    results: list[bool] = []

    def closed_meanwhile() -> bool:
        results.append(pool.close(timeout=0))
        return True

    end_first_wait_by(monkeypatch, closed_meanwhile)
    waiter = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    with pytest.raises(PoolClosed):
        waiter.result()
    assert results == [False]
    assert conn.times_closed == 1
    assert pool.close(timeout=0) is True


@pytest.mark.parametrize("give_back", ["release", "discard"])
def test_what_an_interrupted_waiter_was_handed_is_closed(
    connections: Connections, monkeypatch: pytest.MonkeyPatch, give_back: str
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    closing: list[Caller[bool]] = []

    def closed_and_interrupted() -> bool:
        closing.append(Caller(lambda: pool.close(timeout=LIMIT)))
        eventually(lambda: len(pool._ledger.closers) == 1)
        return interrupted()

    end_first_wait_by(monkeypatch, closed_and_interrupted)
    waiter = wait_in_line(pool, pool.acquire)
    getattr(pool, give_back)(conn)
    with pytest.raises(KeyboardInterrupt):
        waiter.result()
    assert closing[0].result() is True
    assert conn.times_closed == 1


def test_what_the_reaper_is_looking_at_is_closed(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_idle=10.0)
    conn = pool.acquire()

    class Meanwhile(float):
        def __ge__(self, other: float) -> bool:
            Caller(lambda: pool.close(timeout=0)).result()
            return True

    clock.advance(10.0)
    pool._max_idle = Meanwhile(10.0)
    pool.release(conn)
    assert conn.times_closed == 1
    assert pool.close(timeout=0) is True


def test_close_does_not_wait_for_a_place_that_was_lost(connections: Connections) -> None:
    pool = Pool(connections)
    pool.release(pool.acquire())
    slot = pool._ledger.available.pop()
    closing = Caller(lambda: pool.close(timeout=LIMIT))
    eventually(lambda: len(pool._ledger.closers) == 1)
    del slot
    assert closing.result() is True


def test_the_with_block_of_a_pool_closes_it(connections: Connections) -> None:
    with Pool(connections) as pool:
        pool.release(pool.acquire())
    assert is_closed(pool)
    assert not connections.open


@pytest.mark.parametrize(("timeout", "error"), [("1", TypeError), (-1, ValueError)])
def test_a_wrong_timeout_closes_nothing(
    connections: Connections, timeout: float, error: type[Exception]
) -> None:
    pool = Pool(connections)
    with pytest.raises(error, match="timeout must be"):
        pool.close(timeout=timeout)
    assert not is_closed(pool)
