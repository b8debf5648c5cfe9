"""What one process owns: a fork makes it void as a whole.

Places, not connections, are what ``max_size`` bounds. A place is taken before its connection is
made and is free again when its `Place` object is gone, for whatever reason: an exception that
strikes between any two steps (a signal's, say) drops the object, and with it gives the place back.

Two rules keep the fast path free of locks. A deque's and a dict's single operations are atomic;
and who *adds* looks afterwards, while who *waits* queues first: `Pool.release` puts a connection
into `available` and then looks at `waiters`, a waiter enters `waiters` and then looks at
`available`. One of the two always sees the other.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import deque
from typing import Any, Generic, TypeVar

from forksafe_pool import _process

C = TypeVar("C")


class Place(Generic[C]):
    """One of the pool's ``max_size`` places: what it holds, and since when."""

    __slots__ = ("_roster", "_vacated", "conn", "expires_at", "idle_since", "uses")

    conn: C | None
    #: time.monotonic() seconds.
    expires_at: float
    idle_since: float
    #: How often it was handed out. Only the holder writes it, so it needs no lock.
    uses: int

    def __init__(self, ledger: Ledger[C]) -> None:
        self._vacated: deque[int] | None = None
        # Not the ledger itself: that would be a cycle, and a pool that is dropped would keep
        # its connections open until the collector comes by.
        self._roster = ledger.roster
        self.conn = None
        self.expires_at = self.idle_since = 0.0
        self.uses = 0
        # No call stands between these two, so no exception of a signal does.
        self._vacated = ledger.vacated
        ledger.size += 1

    def hold(self, conn: C) -> None:
        self._roster[id(conn)] = conn
        self.conn = conn

    def let_go(self) -> C | None:
        """Forget the connection; the place stays taken."""
        conn, self.conn = self.conn, None
        if conn is not None:
            self._roster.pop(id(conn), None)
        return conn

    def vacate(self) -> None:
        """Give the place back. Again is a no-op."""
        vacated, self._vacated = self._vacated, None
        if vacated is not None:
            self.let_go()
            vacated.append(self.uses)

    def __del__(self) -> None:
        self.vacate()


class Waiter(Generic[C]):
    """A caller in the queue. `ready` is held until `place` or `closed` is set."""

    __slots__ = ("closed", "place", "ready")

    def __init__(self) -> None:
        self.place: Place[C] | None = None
        self.closed = False
        self.ready = threading.Lock()
        self.ready.acquire()


class Ledger(Generic[C]):
    """All the state of a pool that one process owns, its lock included."""

    __slots__ = (
        "_lock",
        "alive",
        "ancestor",
        "available",
        "closed",
        "connect_errors",
        "foreign_releases",
        "half_made",
        "heir",
        "in_use",
        "last_error",
        "making",
        "max_size",
        "notes",
        "opened",
        "reap_at",
        "retired_uses",
        "roster",
        "severed",
        "severed_idle",
        "size",
        "timeouts",
        "vacated",
        "waiters",
    )

    def __init__(self, max_size: int, ancestor: Ledger[C] | None = None) -> None:
        #: ``alive[0]`` is true in the process that built this ledger, and in no other.
        self.alive = _process.sentinel()
        #: The ledger of the process that this one was forked from, until all of it is severed.
        self.ancestor = ancestor
        #: Who comes after this one in a child, under the key "heir": setdefault() elects it.
        self.heir: dict[str, Ledger[C]] = {}
        self.max_size = max_size
        #: Longest idle at the left.
        self.available: deque[Place[C]] = deque()
        #: By id() of the connection, which the place keeps alive, so that the id is its own.
        self.in_use: dict[int, Place[C]] = {}
        #: Every connection made and not closed, by id(): what a child severs. Strong references:
        #: CPython clears the frames of dead threads in the child.
        self.roster: dict[int, C] = {}
        #: Threads that are making a connection, and the sockets they had when the process forked.
        self.making: set[int] = set()
        self.half_made: list[socket.socket] = []
        self.waiters: deque[Waiter[C]] = deque()
        #: Places taken; less `vacated`, which holds the `uses` of places given back since.
        self.size = 0
        self.vacated: deque[int] = deque()
        self._lock: dict[str, threading.RLock] = {}
        #: Per-process state of what is built on the pool.
        self.notes: dict[str, Any] = {}
        #: When the longest idle connection may have outlived max_idle.
        self.reap_at = float("inf")
        #: Inherited connections that were idle: severed, to be closed outside the at-fork hook.
        self.severed_idle: list[C] = []
        self.last_error: BaseException | None = None
        # Counters. CPython runs no other thread between the load and the store of `+=` on a
        # slot, so they are exact without a lock.
        self.retired_uses = 0
        self.opened = 0
        self.closed = 0
        self.connect_errors = 0
        self.timeouts = 0
        self.foreign_releases = 0
        self.severed = 0

    @property
    def lock(self) -> threading.RLock:
        """Guards growing and handing over; never held over I/O.

        Made on first use: gunicorn's gevent worker patches `threading` after the fork. Reentrant:
        a finalizer that releases a connection may run inside. setdefault() is atomic.
        """
        lock = self._lock.get("lock")
        if lock is None:
            lock = self._lock.setdefault("lock", threading.RLock())
        return lock

    def take(self) -> Place[C] | None:
        """An available connection's place, the warmest first, or a free one. Holds `lock`."""
        try:
            return self.available.pop()
        except IndexError:
            pass
        return Place(self) if self.places() < self.max_size else None

    def places(self) -> int:
        """How many places are taken. Holds `lock`."""
        with contextlib.suppress(IndexError):
            while True:
                self.retired_uses += self.vacated.popleft()
                self.size -= 1
        return self.size

    @property
    def taken(self) -> int:
        """How many places are taken, for whoever does not hold `lock`."""
        return self.size - len(self.vacated)

    def serve(self) -> None:
        """Hand available connections and free places to the waiters, first come first served."""
        with self.lock:
            while self.waiters:
                place = self.take()
                if place is None:
                    return
                try:
                    waiter = self.waiters.popleft()
                except IndexError:  # a finalizer's release, inside this one, was faster
                    self.available.append(place)
                    return
                waiter.place = place
                waiter.ready.release()

    def withdraw(self, waiter: Waiter[C]) -> Place[C] | None:
        """Take ``waiter`` out of the queue; what it was handed in the meantime is returned."""
        with self.lock:
            if waiter.place is None and not waiter.closed:
                self.waiters.remove(waiter)
            place, waiter.place = waiter.place, None
            return place
