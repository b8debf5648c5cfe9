"""All state of a pool that belongs to one process: a fork invalidates it as a whole.

Slots, not connections, are what ``max_size`` bounds. A slot is taken before its connection is
made and is free again when its `Slot` object is gone, for whatever reason: an exception that
strikes between any two steps (a signal's, say) drops the object, and with it gives the slot back.

Three rules make do without a lock, so that a signal's handler or a finalizer, which runs inside of
anything, finds nothing held:

- A deque's, a list's and a dict's single operations are atomic. So are steps of one line between
  which no call and no jump stands: there alone CPython (3.10 and later) lets another thread or a
  handler in; 3.10 at forward jumps, too, and where lines are traced, by a debugger, at each line.
- Publish, then look. What adds a connection, frees a slot or raises `max_size` looks at `waiters`
  afterwards; a waiter enters `waiters` and then looks at what there is. Whichever comes second sees
  the other. The same for a close: it is published, then the queue is told; a waiter queues, then
  looks whether the pool is closed. And for `close`, `drain` and `resize`: they set `reap_at`, then
  look at what is available; a release adds to that, then looks at `reap_at`.
- A waiter's outcome is elected by `dict.setdefault`: of those that race to hand it a slot, to tell
  it of a close, and of itself where it gives up, one wins. A slot that was not wanted goes back,
  and whoever puts it back looks again.

A picture of a deque or a dict is taken by ``list()``, which is one more such operation. ``tuple()``
is none: up to CPython 3.11 it may set off the garbage collector, and with it a finalizer that
releases a connection, in the middle.
"""

from __future__ import annotations

import contextlib
import copy
import threading
import weakref
from collections import deque
from typing import Any, Generic, TypeVar

from forksafe_pool._errors import PoolError
from forksafe_pool._fork import sentinel
from forksafe_pool._fork.attempts import Making
from forksafe_pool._fork.descriptor import Descriptor

C = TypeVar("C")

#: A sentinel value, smaller than any expiry but that of a drained slot.
UNSEEN = -1.0


class Slot(Generic[C]):
    """One of the pool's ``max_size`` slots: what it holds, and since when."""

    __slots__ = (
        "__weakref__",
        "_ledger",
        "_taken",
        "conn",
        "expires_at",
        "fresh_until",
        "key",
        "unseen",
        "uses",
    )

    conn: C | None
    #: Its id(); 0 where there is none.
    key: int
    #: Seconds of the pool's clock.
    expires_at: float
    #: What `expires_at` is to be, which is UNSEEN until its connection was seen connected: so each
    #: release takes the slow path, which looks.
    unseen: float
    #: Until then it is handed out again without a further look.
    fresh_until: float
    #: How often it was handed out. Only the holder writes it, so it needs no lock.
    uses: int

    def __init__(self, ledger: Ledger[C]) -> None:
        #: Whether it counts; see `Ledger.take_free`.
        self._taken = False
        # Weakly: a cycle would keep the connections of a dropped pool open until the collector
        # comes by.
        self._ledger = weakref.ref(ledger)
        self.conn = None
        self.key = 0
        self.expires_at = self.fresh_until = self.unseen = 0.0
        self.uses = 0

    def hold(self, conn: C) -> None:
        ledger = self._ledger()
        self.key = key = id(conn)
        if ledger is not None:
            ledger.connections[key] = conn
            ledger.slots[key] = weakref.ref(self)
        self.conn = conn

    def let_go(self) -> C | None:
        """Forget the connection; the slot stays taken."""
        ledger = self._ledger()
        conn, self.conn, self.key = self.conn, None, 0
        if conn is not None and ledger is not None:
            ledger.connections.pop(id(conn), None)
            ledger.slots.pop(id(conn), None)
            ledger.descriptors.pop(id(conn), None)
        return conn

    def belongs_to(self, ledger: Ledger[C]) -> bool:
        return self._ledger() is ledger

    def expire(self) -> None:
        """Have the connection replaced: at once if it is idle, else when it comes back."""
        self.expires_at = self.fresh_until = float("-inf")

    @property
    def is_drained(self) -> bool:
        return self.expires_at == float("-inf")

    def vacate(self) -> None:
        """Free the slot. Idempotent."""
        ledger = self._ledger()
        if self._taken and ledger is not None:
            self.let_go()
            self._taken = False
            ledger.size -= 1
            ledger.retired_uses += self.uses
            ledger.note_vacancy()

    def __del__(self) -> None:
        if getattr(self, "_taken", False):  # a signal may strike in __init__
            self.vacate()


_CLOSED = object()
_WITHDRAWN = object()


class Waiter(Generic[C]):
    """A caller in the queue. `ready` is held until it is settled."""

    __slots__ = ("_outcome", "ready")

    def __init__(self) -> None:
        #: "is": its slot, or why it gets none.
        self._outcome: dict[str, object] = {}
        self.ready = threading.Lock()
        self.ready.acquire()

    def settle(self, outcome: object) -> bool:
        """Whether ``outcome`` is the one that counts: the first is."""
        return self._outcome.setdefault("is", outcome) is outcome

    @property
    def is_settled(self) -> bool:
        return "is" in self._outcome

    @property
    def closed(self) -> bool:
        return self._outcome.get("is") is _CLOSED

    @property
    def slot(self) -> Slot[C] | None:
        outcome = self._outcome.get("is")
        return outcome if isinstance(outcome, Slot) else None

    def withdraw(self) -> Slot[C] | None:
        """It waits no longer; what it was handed in the meantime is returned."""
        self.settle(_WITHDRAWN)
        slot = self.slot
        if slot is not None:
            self._outcome["is"] = _WITHDRAWN
        return slot


class Ledger(Generic[C]):
    """All the state of a pool that one process owns."""

    __slots__ = (
        "__weakref__",
        "acquired",
        "alive",
        "ancestor",
        "available",
        "closed",
        "closers",
        "connect_errors",
        "connections",
        "descriptors",
        "failures",
        "foreign_releases",
        "generation",
        "half_made",
        "in_use",
        "last_error",
        "making",
        "max_size",
        "notes",
        "opened",
        "reap_at",
        "retired_uses",
        "retry_at",
        "serving",
        "severed",
        "severed_idle",
        "severed_in_use",
        "size",
        "slots",
        "timeouts",
        "tried_at",
        "waiters",
    )

    def __init__(self, max_size: int, ancestor: Ledger[C] | None = None) -> None:
        #: True in the process that built this ledger, and in no other.
        self.alive = sentinel.sentinel()
        #: The ledger of the process that this one was forked from, until all of it is severed.
        self.ancestor = ancestor
        self.max_size = max_size
        #: Longest idle at the left.
        self.available: deque[Slot[C]] = deque()
        #: By id() of the connection, which the slot keeps alive, so that the id is its own.
        self.in_use: dict[int, Slot[C]] = {}
        #: Every connection made and not closed, by id(): what a child severs. Strong references:
        #: CPython clears the frames of dead threads in the child.
        self.connections: dict[int, C] = {}
        #: The slot of each of these, wherever it is: available, in use, or on its way.
        self.slots: dict[int, weakref.ref[Slot[C]]] = {}
        #: How often the pool was drained: whoever is connecting meanwhile can tell.
        self.generation = 0
        #: Connections that are being made just now, each with the sockets it has opened so far.
        self.making = Making(self.alive)
        #: Where the descriptor of each leads, and of each that was severed and is not freed yet.
        self.descriptors: dict[int, Descriptor] = {}
        #: A list: few wait as a rule, and an empty deque takes ten times as much.
        self.waiters: list[Waiter[C]] = []
        #: Number of running `serve` calls. May be too high after a signal handler raised in one.
        self.serving = 0
        #: Held locks, one for each close() call that waits for the last slot to be freed.
        self.closers: list[threading.Lock] = []
        #: Slots taken. CPython runs no other thread between the load and the store of `+=` on
        #: a slot (3.10 and later: only calls and jumps let another one in), so this and the
        #: counters below are exact without a lock.
        self.size = 0
        #: By name, what is made on first use: the "heir" who comes after this ledger in a child,
        #: and what it knows of its severing. setdefault() elects one where threads race.
        self.notes: dict[str, Any] = {}
        #: When the longest idle connection may have outlived max_idle. At once (-inf) where the
        #: pool is closed, or larger than it may be: a release has no more than this to look at.
        self.reap_at = float("inf")
        #: Inherited connections, severed: to be closed, if they were idle, and freed outside the
        #: at-fork hook, since a driver's finalizer may do anything.
        self.severed_idle: list[C] = []
        self.severed_in_use: list[C] = []
        #: The sockets of what was half made.
        self.half_made: list[Any] = []
        self.last_error: BaseException | None = None
        self.retired_uses = 0
        #: Highest value reported so far, so that the counter never decreases.
        self.acquired = 0
        self.opened = 0
        self.closed = 0
        self.connect_errors = 0
        #: Attempts to connect that have failed since the last one that did not.
        self.failures = 0
        #: When the last attempt since then began or failed, and the earliest retry for non-blocking
        #: callers.
        self.tried_at = self.retry_at = 0.0
        self.timeouts = 0
        self.foreign_releases = 0
        self.severed = 0

    def numbers(self, apart_from: Waiter[C] | None = None) -> str:
        """For messages; ``apart_from`` is not counted among those who wait."""
        waiting = sum(waiter is not apart_from for waiter in list(self.waiters))
        return (
            f"total {self.size} of {self.max_size}, available {len(self.available)}, "
            f"in use {len(self.in_use)}, waiting {waiting}"
        )

    def note_vacancy(self) -> None:
        """Called when a slot is freed: a waiter may want it, or `close` wait for the last one."""
        if self.waiters:
            self.serve()
        if self.size == 0 and self.alive:
            for closer in list(self.closers):
                _wake(closer)

    def note_success(self) -> None:
        """A connection was made."""
        self.last_error = None
        self.failures = 0

    def note_failure(self, error: Exception, now: float) -> None:
        """Record the error, to be the cause of later timeouts."""
        self.failures += 1
        self.tried_at = now
        try:
            # Without its traceback, which would keep every caller's variables alive.
            self.last_error = copy.copy(error)
        except Exception:
            self.last_error = PoolError(f"{type(error).__name__}: {error}")

    def take(self) -> Slot[C] | None:
        """An available connection's slot, the warmest first, or a free one."""
        return self.take_available() or self.take_free(self.max_size)

    def take_available(self) -> Slot[C] | None:
        try:
            return self.available.pop()
        except IndexError:
            return None

    def take_free(self, limit: int) -> Slot[C] | None:
        """A new slot, if fewer than ``limit`` and `max_size` are taken."""
        if self.size >= limit:
            return None
        slot = Slot(self)
        # Nothing stands between the look and the count, no jump and, for who traces lines, no line:
        # so no other thread and no signal does.
        if self.size < limit and self.size < self.max_size: slot._taken, self.size = True, self.size + 1  # noqa: E501, E701 # fmt: skip
        return slot if slot._taken else None

    def put_back(self, slot: Slot[C]) -> None:
        """Make an unused connection or slot available again."""
        if slot.conn is None:
            slot.vacate()
        else:
            self.available.append(slot)
            self.serve()

    def serve(self) -> None:
        """Hand available connections and free slots to the waiters, first come first served.

        Any number of threads may be at it, and a signal's handler or a finalizer inside of it. An
        exception of a signal may strike between any two steps: each leaves what the next call can
        go on from.
        """
        # A callback may have forked: in the child this is the parent's ledger.
        if not self.alive:
            return
        self.serving += 1
        try:
            while (waiter := next(iter(self.waiters), None)) is not None:
                if not waiter.is_settled:
                    slot = self.take()
                    if slot is None:
                        return
                    if not waiter.settle(slot):  # it gave up, or another thread was faster
                        self.put_back(slot)
                    del slot  # a frame may outlive the waiter, and would keep its connection
                _wake(waiter.ready)
                self._leave_queue(waiter)
        finally:
            self.serving -= 1

    def _leave_queue(self, waiter: Waiter[C]) -> None:
        with contextlib.suppress(ValueError):
            self.waiters.remove(waiter)

    def withdraw(self, waiter: Waiter[C]) -> Slot[C] | None:
        """Take ``waiter`` out of the queue; what it was handed in the meantime is returned."""
        slot = waiter.withdraw()
        self._leave_queue(waiter)
        return slot

    def close_queue(self) -> None:
        """Tell every waiter that the pool is closed."""
        for waiter in list(self.waiters):
            waiter.settle(_CLOSED)
            _wake(waiter.ready)
            self._leave_queue(waiter)


def _wake(ready: threading.Lock) -> None:
    """Release a lock that somebody waits for; again, from a finalizer inside, is a no-op."""
    with contextlib.suppress(RuntimeError):
        ready.release()
