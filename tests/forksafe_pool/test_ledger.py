"""The ledger's own corners: slots that change hands at the wrong moment."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool._ledger import Ledger, Slot, Waiter
from tests.forksafe_pool.fakes import Connections


def test_a_waiters_lock_is_looked_up_when_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = threading.Lock

    def patched() -> Any:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(threading, "Lock", patched)
    waiter: Waiter[object] = Waiter()
    assert waiter.ready is made[0]
    assert made[0].locked()


def test_a_place_is_given_back_once(connections: Connections) -> None:
    pool = Pool(connections)
    ledger = pool._ledger
    slot = ledger.take()
    assert slot is not None
    slot.uses = 3
    for _ in range(2):
        slot.vacate()
        assert ledger.size == 0
    del slot
    assert ledger.size == 0
    assert ledger.retired_uses == 3


def serving(
    monkeypatch: pytest.MonkeyPatch, ledger: Ledger[Any], *, waiting: int
) -> list[Waiter[Any]]:
    """Serve ``waiting`` waiters, and inside of that, as a finalizer would, serve them again."""
    waiters: list[Waiter[Any]] = [Waiter() for _ in range(waiting)]
    ledger.waiters.extend(waiters)
    take = Ledger.take

    def take_and_finalize(ledger: Ledger[Any]) -> Slot[Any] | None:
        slot = take(ledger)
        monkeypatch.setattr(Ledger, "take", take)
        ledger.serve()
        return slot

    monkeypatch.setattr(Ledger, "take", take_and_finalize)
    ledger.serve()
    return waiters


def test_a_waiter_that_a_finalizer_served_is_served_once(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=2)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    ledger = pool._ledger
    (waiter,) = serving(monkeypatch, ledger, waiting=1)
    assert waiter.slot is not None
    assert waiter.slot.conn is first
    assert [slot.conn for slot in ledger.available] == [second]
    assert ledger.size == 2


def test_a_free_place_that_a_finalizer_left_over_is_free(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=2, check_after=float("inf"))
    serving(monkeypatch, pool._ledger, waiting=1)
    assert pool.stats().available == 0
    assert pool.acquire() is connections.made[0]


def test_a_waiter_that_fell_out_of_the_queue_withdraws(connections: Connections) -> None:
    """A signal may strike in serve(), between the pop of the waiter and the hand-over."""
    ledger = Pool(connections)._ledger
    assert ledger.withdraw(Waiter()) is None


def test_a_waiter_that_was_woken_and_is_still_queued_is_told_of_the_close(
    connections: Connections,
) -> None:
    """A signal may have struck in serve(), between the wake-up and the end of the wait."""
    ledger = Pool(connections)._ledger
    waiter: Waiter[Any] = Waiter()
    waiter.ready.release()
    ledger.waiters.append(waiter)
    ledger.close_queue()
    assert waiter.closed
    assert not ledger.waiters


def test_a_waiter_that_a_finalizer_woke_is_woken_once(connections: Connections) -> None:
    ledger = Pool(connections)._ledger

    class Finalizing:
        """A finalizer gives a connection back just when the lock has been looked at."""

        def __init__(self, lock: Any) -> None:
            self.lock = lock

        def locked(self) -> bool:
            locked = bool(self.lock.locked())
            if locked:
                waiter.ready = self.lock
                ledger.serve()
            return locked

        def release(self) -> None:
            self.lock.release()

    waiter: Waiter[Any] = Waiter()
    lock = waiter.ready
    waiter.ready = Finalizing(lock)  # type: ignore[assignment]
    ledger.waiters.append(waiter)
    ledger.serve()
    assert waiter.slot is not None
    assert not lock.locked()
    assert not ledger.waiters
