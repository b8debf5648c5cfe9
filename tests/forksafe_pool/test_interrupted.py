"""A signal's handler or a finalizer that uses the pool in the middle of the pool's own work."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, PoolTimeout
from forksafe_pool._ledger import Ledger, Slot
from tests.forks.test_signal_handlers import interrupted_at
from tests.forksafe_pool.fakes import Connections, FakeConnection, use
from tests.forksafe_pool.threads import LIMIT, Caller, eventually, wait_in_line


class Holder:
    """A thread that holds a connection until it is told to release it."""

    def __init__(self, pool: Pool[FakeConnection]) -> None:
        self._told = threading.Event()
        self._pool = pool
        self._conn = pool.acquire()
        self._caller = Caller(self._hold)

    def _hold(self) -> None:
        assert self._told.wait(LIMIT)
        self._pool.release(self._conn)

    def release(self) -> None:
        """Returns when the thread's release has returned: it waits for nobody."""
        self._told.set()
        self._caller.result()


def handle(pool: Pool[FakeConnection]) -> bool:
    """Whether the handler is served. It may be refused at once; it must not wait in vain."""
    try:
        conn = pool.acquire(timeout=LIMIT)
    except PoolTimeout as error:
        assert "interrupted" in str(error)  # noqa: PT017
        return False
    pool.release(conn)
    return True


def wait_and_get(pool: Pool[FakeConnection]) -> None:
    with contextlib.suppress(PoolTimeout):
        pool.release(pool.acquire(timeout=0.05))


def wait_in_a_block(pool: Pool[FakeConnection]) -> None:
    with contextlib.suppress(PoolTimeout), pool.connection(timeout=0.05):
        pass


@pytest.mark.parametrize("work", [wait_and_get, wait_in_a_block])
def test_a_signal_handler_that_strikes_whoever_waits(
    connections: Connections, work: Callable[[Pool[FakeConnection]], None]
) -> None:
    """At every line; others give their connections back meanwhile, and are not held up."""
    line, served = 0, 0
    where = ["the start"]
    while where:
        line += 1
        pool = Pool(connections, max_size=2)
        slots = [Holder(pool), Holder(pool)]

        def handler(pool: Pool[FakeConnection] = pool, slots: list[Holder] = slots) -> None:
            nonlocal served
            for holder in slots:
                holder.release()
            served += handle(pool)

        with interrupted_at(line, handler) as where:
            work(pool)
        for holder in slots:
            holder.release()
        stats = pool.stats()
        assert (stats.in_use, stats.waiting, stats.total) == (0, 0, 2), where
        assert stats.available == 2, where
    assert line > 15
    assert served > line / 2


def end_block(pool: Pool[FakeConnection]) -> Callable[[], object]:
    lease = pool.connection()
    lease.__enter__()
    return lambda: lease.__exit__(None, None, None)


def release(pool: Pool[FakeConnection]) -> Callable[[], object]:
    conn = pool.acquire()
    return lambda: pool.release(conn)


def discard(pool: Pool[FakeConnection]) -> Callable[[], object]:
    conn = pool.acquire()
    return lambda: pool.discard(conn)


@pytest.mark.parametrize("begin", [end_block, release, discard])
def test_a_signal_handler_that_strikes_whoever_gives_back(
    connections: Connections, begin: Callable[[Pool[FakeConnection]], Callable[[], object]]
) -> None:
    line, served = 0, 0
    where = ["the start"]
    while where:
        line += 1
        pool = Pool(connections, max_size=2, timeout=LIMIT)
        end = begin(pool)
        holder = Holder(pool)
        waiter = wait_in_line(pool, lambda pool=pool: use(pool))  # type: ignore[misc]

        def handler(pool: Pool[FakeConnection] = pool, holder: Holder = holder) -> None:
            nonlocal served
            holder.release()
            served += handle(pool)

        with interrupted_at(line, handler) as where:
            end()
        holder.release()
        waiter.result()
        assert (pool.stats().in_use, pool.stats().waiting) == (0, 0), where
    assert line > 5
    assert served > line / 2


@pytest.mark.parametrize("begin", [end_block, release])
def test_an_exception_that_strikes_whoever_gives_back_leaves_nobody_waiting(
    connections: Connections,
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[Pool[FakeConnection]], Callable[[], object]],
) -> None:
    """The waiter has no timeout, and nobody else comes by."""
    pool = Pool(connections, max_size=1, timeout=None)
    end = begin(pool)
    waiter = wait_in_line(pool, lambda: use(pool))

    def serve(ledger: Ledger[Any]) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt  # of a signal's handler

    monkeypatch.setattr(Ledger, "serve", serve)
    with pytest.raises(KeyboardInterrupt):
        end()
    waiter.result()
    assert (pool.stats().available, pool.stats().waiting) == (1, 0)


def test_a_finalizer_inside_of_a_hand_over_gets_what_is_at_hand(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    first, second = pool.acquire(), pool.acquire()
    take = Ledger.take
    got: list[Any] = []

    def take_and_finalize(ledger: Ledger[Any]) -> Slot[Any] | None:
        slot = take(ledger)
        monkeypatch.setattr(Ledger, "take", take)
        got.append(handle(pool))  # nothing is at hand
        pool.release(second)
        return slot

    waiter = wait_in_line(pool, pool.acquire)
    monkeypatch.setattr(Ledger, "take", take_and_finalize)
    pool.release(first)
    assert waiter.result() in (first, second)
    assert got == [False]
    eventually(lambda: pool.stats().available == 1)
    assert pool.stats().timeouts == 1


def test_a_release_waits_for_nobody(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though another thread is in the middle of a hand-over."""
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    held = [pool.acquire(), pool.acquire()]
    waiters = [wait_in_line(pool, pool.acquire) for _ in range(2)]
    entered, leave = threading.Event(), threading.Event()
    take = Ledger.take

    def take_slowly(ledger: Ledger[Any]) -> Slot[Any] | None:
        monkeypatch.setattr(Ledger, "take", take)
        entered.set()
        assert leave.wait(LIMIT)
        return take(ledger)

    monkeypatch.setattr(Ledger, "take", take_slowly)
    slow = Caller(lambda: pool.release(held[0]))
    assert entered.wait(LIMIT)
    pool.release(held[1])
    assert {waiter.result() for waiter in waiters} == set(held)
    leave.set()
    slow.result()
