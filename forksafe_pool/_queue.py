"""Take a slot, wait for one, or fail."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any, TypeVar

from forksafe_pool._clock import Deadline, monotonic
from forksafe_pool._errors import PoolClosed, PoolTimeout, TooManyWaiting
from forksafe_pool._ledger import Ledger, Slot, Waiter
from forksafe_pool._upkeep import Upkeep

C = TypeVar("C")

# Seconds after which a waiter looks again: an exception of a signal's may have cut off whoever had
# just given a connection back, before it was handed on.
_LOOK_AGAIN = 0.5


class Queue(Upkeep[C]):
    """The part of a `Pool` that takes places, and waits for them."""

    def _take_or_queue(self, ledger: Ledger[C], deadline: Deadline) -> Slot[C] | Waiter[C]:
        self._check_open("is closed")
        slot = None if ledger.waiters else ledger.take()
        if slot is not None:
            return slot
        if (ledger.serving or ledger.waiters) and _interrupts(ledger):
            return self._take_at_hand(ledger)
        if deadline.seconds == 0:
            raise self._timed_out(ledger, deadline)
        return Waiter()

    def _take_at_hand(self, ledger: Ledger[C]) -> Slot[C]:
        """For what has interrupted a hand-over or a wait of its own thread's. If it waited, so
        would they; and what it waits for may be what they have been handed."""
        slot = ledger.take_available()
        if slot is not None and monotonic() < slot.fresh_until:
            return slot
        if slot is not None:
            ledger.put_back(slot)
        ledger.timeouts += 1
        raise self._driver.error(
            PoolTimeout,
            f"no connection from {self.name} at once, and a signal handler or a finalizer that has "
            f"interrupted this thread's own acquire or release cannot wait ({ledger.numbers()})",
        )

    def _turn_away(self, ledger: Ledger[C], waiter: Waiter[C]) -> None:
        """Raise if it is one too many: how many wait before it, its position in the queue tells."""
        limit = self._max_waiting
        if limit is None or waiter not in ledger.waiters[limit:] or waiter.is_settled:
            return
        raise self._driver.error(
            TooManyWaiting,
            f"no connection from {self.name}: no more callers may wait, max_waiting is {limit} "
            f"({ledger.numbers(apart_from=waiter)})",
        )

    def _wait(self, ledger: Ledger[C], waiter: Waiter[C], deadline: Deadline) -> Slot[C] | None:
        try:
            ledger.waiters.append(waiter)
            ledger.serve()  # what did not see the waiter is seen here
            self._turn_away(ledger, waiter)
            self._check_open("was closed while the caller waited")
            while True:
                left = deadline.left()
                at_most = _LOOK_AGAIN if left is None else min(left, _LOOK_AGAIN)
                if waiter.ready.acquire(timeout=at_most) or waiter.is_settled or left == at_most:
                    break
                ledger.serve()
        except BaseException:
            slot = ledger.withdraw(waiter) if ledger.alive else None
            if slot is not None:
                self._put_back(ledger, slot)
            raise
        if not ledger.alive:
            return None
        slot = ledger.withdraw(waiter)
        if slot is not None:
            return slot
        if waiter.closed:
            raise self._driver.error(PoolClosed, f"{self.name} was closed while the caller waited")
        raise self._timed_out(ledger, deadline)


def _interrupts(ledger: Ledger[Any]) -> bool:
    """Whether the caller, a signal's handler or a finalizer, has interrupted a hand-over or a wait
    of this very thread's: these cannot go on before it ends."""
    names = {Ledger.serve.__code__: "self", Queue._wait.__code__: "ledger"}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = names.get(frame.f_code)
        if name is not None and frame.f_locals.get(name) is ledger:
            return True
        frame = frame.f_back
    return False
