"""Callers that wait: how long, in which order, and that no connection gets lost among them."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, PoolTimeout, TooManyWaiting
from forksafe_pool._ledger import Ledger, Waiter
from tests.forksafe_pool.fakes import (
    Connections,
    FakeConnection,
    change_next_waiter,
    end_first_wait_by,
    interrupted,
    pretend_fork,
)
from tests.forksafe_pool.threads import LIMIT, Caller, together, wait_in_line

# -- how long ---------------------------------------------------------------------------------


def forbid_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_: Waiter[Any]) -> None:
        raise AssertionError("it waits")

    change_next_waiter(monkeypatch, forbidden)


def test_timeout_0_never_waits(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_waiting(monkeypatch)
    pool = Pool(connections, max_size=1, timeout=0)
    pool.acquire()
    with pytest.raises(PoolTimeout, match="within 0 s"):
        pool.acquire()
    assert pool.stats().timeouts == 1


def test_a_call_may_refuse_to_wait_where_the_pool_would(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_waiting(monkeypatch)
    pool = Pool(connections, max_size=1, timeout=None)
    pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)
    with pytest.raises(PoolTimeout), pool.connection(timeout=0):
        pass


def test_a_caller_gives_up_after_its_timeout(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0.01)
    pool.acquire()
    with pytest.raises(PoolTimeout, match=r"within 0\.01 s"):
        pool.acquire()
    with pytest.raises(PoolTimeout, match=r"within 0\.02 s"):
        pool.acquire(timeout=0.02)
    with pytest.raises(PoolTimeout, match=r"within 0\.03 s"), pool.connection(timeout=0.03):
        pass
    assert pool.stats().timeouts == 3
    assert pool.stats().waiting == 0


@pytest.mark.parametrize("timeout", [None, LIMIT, float("inf"), 10**12])
def test_a_caller_waits_for_a_release(connections: Connections, timeout: float | None) -> None:
    pool = Pool(connections, max_size=1, timeout=timeout)
    conn = pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is conn
    assert pool.stats().waiting == 0


def test_a_caller_waits_for_the_end_of_a_block(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    with pool.connection() as conn:
        waiter = wait_in_line(pool, pool.acquire)
    assert waiter.result() is conn


def test_a_call_may_wait_where_the_pool_would_not(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    conn = pool.acquire()
    caller = wait_in_line(pool, lambda: pool.acquire(timeout=None))
    pool.release(conn)
    assert caller.result() is conn


# -- in which order ---------------------------------------------------------------------------


def test_waiters_are_served_in_the_order_of_their_arrival(connections: Connections) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    held = [pool.acquire(), pool.acquire()]
    callers = [wait_in_line(pool, pool.acquire) for _ in range(5)]
    for left in range(4, -1, -1):
        conn = held.pop(0)
        pool.release(conn)
        got = callers.pop(0).result()
        assert got is conn
        assert pool.stats().waiting == left
        held.append(got)


def test_a_later_caller_cannot_take_what_a_waiter_was_handed(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)
    assert waiter.result() is conn


def enter(pool: Pool[FakeConnection]) -> FakeConnection:
    return pool.connection(timeout=0).__enter__()


@pytest.mark.parametrize("acquire", [lambda pool: pool.acquire(timeout=0), enter])
def test_a_later_caller_cannot_take_what_is_just_being_released(
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
    acquire: Callable[[Pool[FakeConnection]], FakeConnection],
) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    conn, _ = pool.acquire(), pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    serve = Ledger.serve
    barged: list[FakeConnection] = []

    def serve_late(ledger: Ledger[Any]) -> None:
        # The connection is available, and not handed over yet.
        assert len(ledger.available) == len(ledger.waiters) == 1
        try:
            barged.append(acquire(pool))
        except PoolTimeout:
            serve(ledger)

    monkeypatch.setattr(Ledger, "serve", serve_late)
    pool.release(conn)
    assert not barged
    assert waiter.result() is conn


def test_a_release_that_misses_the_waiter_is_seen_by_the_waiter(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=0.01)
    conn = pool.acquire()

    def release_meanwhile(_: Waiter[Any]) -> None:
        # Nothing was available, and nobody has queued yet.
        pool.release(conn)

    change_next_waiter(monkeypatch, release_meanwhile)
    assert pool.acquire() is conn


# -- how many ---------------------------------------------------------------------------------


def test_one_more_than_max_waiting_is_turned_away(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, max_waiting=2, timeout=LIMIT, name="db")
    conn = pool.acquire()
    first = wait_in_line(pool, pool.acquire)
    second = wait_in_line(pool, pool.acquire)
    with pytest.raises(TooManyWaiting, match=r"from db: .*max_waiting is 2 .*waiting 2\)"):
        pool.acquire()
    assert pool.stats().waiting == 2
    assert pool.stats().timeouts == 0
    pool.release(conn)
    pool.release(first.result())
    assert second.result() is conn


def test_max_waiting_0_lets_nobody_wait(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, max_waiting=0)
    conn = pool.acquire()
    with pytest.raises(TooManyWaiting):
        pool.acquire()
    pool.release(conn)
    assert pool.acquire() is conn


# -- nothing gets lost ------------------------------------------------------------------------


def test_a_waiter_that_gave_up_is_no_longer_served(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    first = wait_in_line(pool, pool.acquire)
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0.01)  # waits behind the first
    last = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    pool.release(first.result())
    pool.release(last.result())
    assert (pool.stats().available, pool.stats().waiting) == (1, 0)
    assert pool.acquire(timeout=0) is conn


def test_a_waiter_that_is_handed_a_connection_as_its_time_runs_out_takes_it(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    end_first_wait_by(monkeypatch, lambda: False)
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is conn
    assert pool.stats().timeouts == 0


def test_a_waiter_that_was_interrupted_passes_its_connection_on(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    end_first_wait_by(monkeypatch, interrupted)
    first = wait_in_line(pool, pool.acquire)
    second = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() is conn
    assert pool.stats().total == 1


def test_a_waiter_that_was_interrupted_passes_a_free_place_on(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    end_first_wait_by(monkeypatch, interrupted)
    first = wait_in_line(pool, pool.acquire)
    second = wait_in_line(pool, pool.acquire)
    pool.discard(conn)
    with pytest.raises(KeyboardInterrupt):
        first.result()
    assert second.result() is connections.made[1]
    assert pool.stats().total == 1


def test_a_connection_that_an_interrupted_waiter_was_handed_stays_in_the_pool(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    end_first_wait_by(monkeypatch, interrupted)
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    with pytest.raises(KeyboardInterrupt):
        caller.result()
    assert pool.stats().available == pool.stats().total == 1
    assert pool.acquire(timeout=0) is conn


def test_a_waiter_that_was_interrupted_before_its_turn_leaves_the_queue(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()

    class Interrupted:
        def acquire(self, timeout: float = -1) -> bool:
            raise KeyboardInterrupt

        def locked(self) -> bool:
            return False

    def change(waiter: Waiter[Any]) -> None:
        waiter.ready = Interrupted()  # type: ignore[assignment]

    change_next_waiter(monkeypatch, change)
    with pytest.raises(KeyboardInterrupt):
        pool.acquire()
    assert pool.stats().waiting == 0
    pool.release(conn)
    assert pool.acquire(timeout=0) is conn


def test_a_failed_connect_wakes_the_next_waiter_who_tries_for_itself() -> None:
    entered, fail = threading.Event(), threading.Event()
    made = FakeConnection(0)

    def connect() -> FakeConnection:
        if entered.is_set():
            return made
        entered.set()
        assert fail.wait(LIMIT)
        raise OSError("refused")

    pool = Pool(connect, max_size=1, timeout=LIMIT)
    first = Caller(pool.acquire)
    assert entered.wait(LIMIT)
    second = wait_in_line(pool, pool.acquire)
    fail.set()
    with pytest.raises(OSError, match="refused"):
        first.result()
    assert second.result() is made
    assert pool.stats().total == 1


def test_every_waiter_tries_for_itself_while_connect_fails(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    callers = [wait_in_line(pool, pool.acquire) for _ in range(3)]
    connections.errors.extend(OSError(f"refused {number}") for number in range(3))
    pool.discard(conn)
    for number, caller in enumerate(callers):
        with pytest.raises(OSError, match=f"refused {number}"):
            caller.result()
    assert (pool.stats().total, pool.stats().connect_errors) == (0, 3)


def test_discard_wakes_a_waiter(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    pool.discard(conn)
    assert caller.result() is connections.made[1]


def test_a_failed_reset_wakes_a_waiter(connections: Connections) -> None:
    def reset(_: FakeConnection) -> None:
        raise OSError("lost")

    pool = Pool(connections, max_size=1, timeout=LIMIT, reset=reset)
    conn = pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is connections.made[1]


def test_a_foreign_release_wakes_nobody(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT)
    conn = pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    for _ in range(3):
        pool.release(FakeConnection(99))
        pool.discard(FakeConnection(99))
    assert (pool.stats().waiting, pool.stats().foreign_releases) == (1, 6)
    assert caller.running
    pool.release(conn)
    assert caller.result() is conn


def test_a_waiter_that_wakes_in_a_child_gets_a_connection_of_the_child(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A greenlet does: it goes on in the child as well."""
    pool = Pool(connections, max_size=1, timeout=LIMIT, fileno=lambda _: -1)
    inherited = pool.acquire()

    def fork() -> bool:
        pretend_fork(pool)
        return True

    end_first_wait_by(monkeypatch, fork)
    caller = wait_in_line(pool, pool.acquire)
    pool.release(inherited)
    assert caller.result() is connections.made[1]
    assert (pool.stats().total, pool.stats().severed) == (1, 1)


def test_nothing_is_lost_while_callers_time_out_fail_and_wait(connections: Connections) -> None:
    pool = Pool(connections, max_size=3, timeout=LIMIT)

    def use(number: int) -> None:
        chance = random.Random(number)
        for _ in range(300):
            if chance.random() < 0.05:
                connections.errors.append(OSError("refused"))
            try:
                conn = pool.acquire(timeout=chance.choice((0, 0.0001, 0.001, LIMIT)))
            except (PoolTimeout, OSError):
                continue
            (pool.discard if chance.random() < 0.1 else pool.release)(conn)

    together(8, use)
    connections.errors.clear()
    stats = pool.stats()
    assert (stats.in_use, stats.waiting) == (0, 0)
    assert stats.available == stats.total == len(connections.open) <= 3
    held = {pool.acquire(timeout=0) for _ in range(3)}
    assert held == set(connections.open)
