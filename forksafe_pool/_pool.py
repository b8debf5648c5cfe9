"""The pool: acquire and release. A fork is detected in `_checkpid` and in the fast paths."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from threading import TIMEOUT_MAX
from types import TracebackType
from typing import Any, TypeVar

from forksafe_pool import _options
from forksafe_pool._clock import POOL_TIMEOUT, Deadline, monotonic
from forksafe_pool._driver import Driver, driver_or_callbacks
from forksafe_pool._fork import attempts, registry
from forksafe_pool._fork.inheritance import Inheritance
from forksafe_pool._lease import Lease
from forksafe_pool._ledger import UNSEEN, Ledger, Slot, Waiter
from forksafe_pool._queue import Queue
from forksafe_pool._stats import PoolStats

C = TypeVar("C")
T = TypeVar("T")

_unnamed = itertools.count(1)


class Pool(Queue[C], Inheritance[C]):
    """A pool of connections, for threads, greenlets and forked processes alike.

    Each process has its own pool: after a fork the child starts with an empty one, and the
    parent keeps its connections. Nothing is connected before the first `acquire` or `fill`.

    Parameters:
        connect: makes a connection: ``connect() -> connection``. If it has a parameter
            ``timeout``, with no default or one that is None or a number, it is given the seconds
            that are left of the caller's timeout (None: no limit) and has to keep to them: only
            ``connect`` itself can cut a connect short. Its errors reach who acquires; after one
            of the server's the next attempt waits a random time first, half a second at most. A
            caller that does not wait gets `PoolBackOff` meanwhile, after three in a row.
        driver: instead of ``connect`` and the other callbacks, for whoever writes an integration:
            a `forksafe_pool.extend.Driver`, for this pool alone.
        max_size: maximum number of connections in each process.
        min_size: number of connections that `fill` opens and that `max_idle` keeps.
        timeout: seconds that `acquire` may take in all: for its turn, for a wait after failures,
            and for ``connect`` if that takes a ``timeout``. None: forever. 0: it does not wait,
            and ``connect`` has no limit but its own. The default is shorter than gunicorn's
            worker timeout, 30.
        max_waiting: how many callers may wait at a time; a further one gets `TooManyWaiting`. None:
            no limit.
        max_lifetime: seconds after which a connection is replaced when it is not in use, less a
            random twentieth, so that not all go at once. None: never.
        max_idle: seconds after which an unused connection is closed, down to `min_size`. There is
            no background thread: it happens when another connection is used. None: never.
        check: ``check(conn)`` says whether a connection is alive, by returning anything but
            False and raising nothing. By default a connection is alive if its socket has
            nothing to read: neither end-of-file nor what nobody asked for.
        check_after: seconds of idleness after which `acquire` checks before it hands out.
        configure: ``configure(conn)`` prepares each new connection.
        reset: ``reset(conn)`` prepares a released connection for the next caller; if it
            raises, or returns False, the connection is closed instead of pooled.
        close: ``close(conn)`` closes a connection; by default ``conn.close()``. It needs its
            own time limit: the caller waits for it.
        fileno: ``fileno(conn) -> int`` is the descriptor to sever in a child, -1 if there is
            none at the moment; by default ``conn.fileno()``, ``conn.sock`` and ``conn._sock`` are
            tried. It runs inside the at-fork hook: no I/O and no locks.
        evict_on: ``evict_on(error)`` says whether the error that ended a block of `connection`
            means that no connection of the pool is of use any more: that the server has become
            read-only in a failover, say. If it returns true the connection is closed, and the
            pool drained as by `drain`. What it raises itself is logged, and drains nothing.
        name: shown in errors, statistics and logs.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it.
    """

    #: What `connection` returns: an integration may have a subclass of its own.
    lease_class: type[Lease[C]] = Lease

    def __init__(
        self,
        connect: Callable[..., C] | None = None,
        *,
        driver: Driver[C] | None = None,
        max_size: int = 10,
        min_size: int = 0,
        timeout: float | None = 20.0,
        max_waiting: int | None = None,
        max_lifetime: float | None = 3600.0,
        max_idle: float | None = 600.0,
        check: Callable[[C], object] | None = None,
        check_after: float = 0.5,
        configure: Callable[[C], object] | None = None,
        reset: Callable[[C], object] | None = None,
        close: Callable[[C], object] | None = None,
        fileno: Callable[[C], int] | None = None,
        evict_on: Callable[[BaseException], object] | None = None,
        name: str | None = None,
    ) -> None:
        self._max_size = _options.count("max_size", max_size, at_least=1)
        self._min_size = _options.count("min_size", min_size)
        _options.not_larger("min_size", min_size, "max_size", max_size)
        self._timeout = _options.seconds_or_none("timeout", timeout)
        self._max_waiting = (
            None if max_waiting is None else _options.count("max_waiting", max_waiting)
        )
        self._max_lifetime = _options.seconds_or_none("max_lifetime", max_lifetime)
        self._max_idle = _options.seconds_or_none("max_idle", max_idle)
        self._check_after = check_after = _options.seconds("check_after", check_after)
        self._fresh_for = check_after if max_idle is None else min(check_after, max_idle)
        self._name = _options.text_or_none("name", name) or f"pool-{next(_unnamed)}"
        callbacks = {
            "connect": connect,
            "check": check,
            "configure": configure,
            "reset": reset,
            "close": close,
            "fileno": fileno,
            "evict_on": evict_on,
        }
        self._driver: Driver[C] = driver_or_callbacks(driver, callbacks)
        self._driver.assign_to(self._name)
        self._resets = self._driver.has_reset
        self.lease_class = type(self).lease_class  # CPython finds it faster here
        self._closed = False
        self._ledger: Ledger[C] = Ledger(self._max_size)
        registry.register(self)

    # -- acquire ------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = POOL_TIMEOUT) -> C:
        """Return a connection, for exclusive use until you `release` or `discard` it.

        Parameters:
            timeout: maximum seconds, instead of the pool's timeout. None: forever. 0: it does
                not wait.

        Raises:
            PoolTimeout: none became available in time.
            PoolBackOff: ``timeout`` is 0, and ``connect`` has just failed several times.
            TooManyWaiting: `max_waiting` callers are already waiting.
            PoolClosed: the pool is closed, or was closed while the caller waited.
            Exception: what ``connect`` or ``configure`` raised.
        """
        if timeout is not POOL_TIMEOUT:
            timeout = _options.seconds_or_none("timeout", timeout)
        ledger = self._ledger
        if ledger.alive and not ledger.waiters:  # as _checkpid() asks: a call costs a tenth more
            try:
                slot = ledger.available.pop()
            except IndexError:
                pass
            else:
                if monotonic() < slot.fresh_until:
                    slot.uses += 1
                    ledger.in_use[slot.key] = slot
                    return slot.conn  # type: ignore[return-value]
                return self._lend(ledger, slot, self._deadline(timeout)).conn  # type: ignore[return-value]
        return self._take(timeout).conn  # type: ignore[return-value]

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._timeout if timeout is POOL_TIMEOUT else timeout)

    def _take(self, timeout: float | None) -> Slot[C]:
        """A slot in use, which holds a connection. Slow path: refresh, grow or wait."""
        return self._take_within(self._deadline(timeout))

    def _take_within(self, deadline: Deadline) -> Slot[C]:
        ledger = self._checkpid()
        if ledger.severed_idle or ledger.severed_in_use or ledger.half_made:
            self._free_severed(ledger)
        slot = self._take_or_queue(ledger, deadline)
        if isinstance(slot, Waiter):
            handed = self._wait(ledger, slot, deadline)
            if handed is None:  # a greenlet waited and continues in a child: start again
                return self._take_within(Deadline(deadline.seconds))
            slot = handed
        return self._lend(ledger, slot, deadline)

    def _lend(self, ledger: Ledger[C], slot: Slot[C], deadline: Deadline) -> Slot[C]:
        """Hand out what ``slot`` holds; first replace it if it is dead, and make it if new."""
        self._prepare(ledger, slot, deadline)
        if not ledger.alive:  # forked inside connect(): the connection is the parent's too
            self._close_held(ledger, slot)
            return self._take_within(deadline)
        slot.uses += 1
        ledger.in_use[slot.key] = slot
        return slot

    def _prepare(self, ledger: Ledger[C], slot: Slot[C], deadline: Deadline) -> None:
        """Have ``slot`` hold a connection that is alive; where that fails, give the slot back."""
        try:
            if slot.conn is not None and not self._is_usable(ledger, slot):
                self._close_held(ledger, slot)
            if slot.conn is None:
                self._open(ledger, slot, deadline)
            self._check_open("was closed while the caller waited")
        except BaseException:
            self._retire(ledger, slot)
            raise

    # -- release ------------------------------------------------------------------------------

    def release(self, conn: C) -> None:
        """Release a connection.

        What this process does not hold (it was acquired before a fork, from another pool, or
        released already) is ignored, and counted in ``stats().foreign_releases``. One that was
        released already and is lent to somebody else again cannot be told from theirs: release
        once, or leave it to `connection`, which can. Nor can it be told from here what an error
        has cut off in the middle of a reply: `discard` that, or leave it to `connection`.
        """
        ledger = self._ledger
        if not ledger.alive:  # as in acquire()
            ledger = self._checkpid()
        slot = ledger.in_use.pop(id(conn), None)
        if slot is None:
            self._ignore(ledger, conn)
        else:
            self._give_back(ledger, slot)

    def _give_back(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        """Make a released connection available."""
        if self._resets and not self._is_fit(ledger, slot):
            return
        now = monotonic()
        # Set before the expiry is checked, so that a `drain` in another thread takes precedence.
        slot.fresh_until = fresh_until = now + self._fresh_for
        if fresh_until > slot.expires_at:
            if slot.expires_at == UNSEEN:
                self._look_at_unseen(ledger, slot)
            expires_at = slot.unseen if slot.expires_at == UNSEEN else slot.expires_at
            if expires_at < fresh_until:
                slot.fresh_until = expires_at
            if now >= expires_at or slot.is_drained:
                self._retire(ledger, slot)
                return
        ledger.available.append(slot)
        # Looked at after the append: `close`, `drain` and `resize` first make the reaping due, and
        # then look at what is available.
        if ledger.waiters or now >= ledger.reap_at:
            self._look_after(ledger, now)

    def _is_fit(self, ledger: Ledger[C], slot: Slot[C]) -> bool:
        """Whether `reset` has prepared the connection; if not, it is closed."""
        try:
            if (
                not self._driver.reset_sends(slot.conn)  # type: ignore[arg-type]
                or self._owns_descriptor(ledger, slot)
            ) and self._driver.reset(slot.conn):  # type: ignore[arg-type]
                return True
        except BaseException:
            self._retire(ledger, slot)
            raise
        self._retire(ledger, slot)
        return False

    def _is_reusable(self, ledger: Ledger[C], slot: Slot[C], kind: type[BaseException]) -> bool:
        """Whether the connection may be reset and reused after an error of this kind."""
        if not (self._resets and issubclass(kind, (Exception, GeneratorExit))):
            return False
        try:
            return self._driver.is_synchronized(slot.conn)  # type: ignore[arg-type]
        except BaseException:
            self._retire(ledger, slot)
            raise

    def _end_by_error(
        self,
        ledger: Ledger[C],
        slot: Slot[C],
        kind: type[BaseException],
        error: BaseException | None,
    ) -> None:
        """Release the connection of a block that was ended by an error."""
        if error is not None and self._driver.must_evict(error):
            try:
                self._retire(ledger, slot)
            finally:
                self.drain()
        elif self._is_reusable(ledger, slot, kind):
            self._give_back(ledger, slot)
        else:
            self._retire(ledger, slot)

    def discard(self, conn: C) -> None:
        """Release a connection and close it instead of reusing it. Otherwise like `release`."""
        ledger = self._checkpid()
        slot = ledger.in_use.pop(id(conn), None)
        if slot is None:
            self._ignore(ledger, conn)
        else:
            self._retire(ledger, slot)

    def _ignore(self, ledger: Ledger[C], conn: C | None) -> None:
        """A foreign release, or a second one."""
        self._checkpid()  # an inherited one may still have to be severed
        ledger.foreign_releases += 1

    # -- the rest -----------------------------------------------------------------------------

    def connection(self, timeout: float | None = POOL_TIMEOUT) -> Lease[C]:
        """``with pool.connection() as conn:`` acquires, and releases at the end.

        A block that ends by an exception may have been cut off in the middle of a reply, which the
        next user would read: its connection is closed, not reused. Where there is a `reset`, that
        decides, unless the exception is no ``Exception`` (``SystemExit``, ``GreenletExit``).
        """
        lease = self.lease_class()
        lease._slot = None
        lease._pool = self
        if timeout is not POOL_TIMEOUT:
            lease._timeout = _options.seconds_or_none("timeout", timeout)
        return lease

    def fill(self) -> None:
        """Connect until the process has `min_size` connections. Call it in a worker, not before
        the fork.

        Raises what ``acquire(timeout=0)`` raises; what was connected until then stays.
        """
        while True:
            ledger = self._checkpid()
            if ledger.severed_idle or ledger.severed_in_use or ledger.half_made:
                self._free_severed(ledger)
            self._check_open("is closed")
            # Only this frame refers to it, so an exception at any point frees the slot.
            slot = ledger.take_free(self._min_size)
            if slot is None:
                break
            self._prepare(ledger, slot, Deadline(0))
            self._add(ledger, slot)

    def _add(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        """Make a new, unused connection available."""
        if not ledger.alive:  # forked inside connect()
            self._close_held(ledger, slot)
            return
        try:
            self._make_ready(slot.conn)  # type: ignore[arg-type]
        except BaseException:
            self._retire(ledger, slot)
            raise
        slot.fresh_until = min(monotonic() + self._fresh_for, slot.expires_at)
        self._put_back(ledger, slot)

    def _make_ready(self, conn: C) -> None:
        """For integrations whose connections are made unconnected."""

    def close(self, timeout: float | None = 5.0) -> bool:
        """Close the pool for good: `acquire` raises `PoolClosed` from now on.

        Other processes have pools of their own; a child that is forked later finds this one
        closed. Waits for connections in use; one that comes back later is closed then.

        Parameters:
            timeout: seconds to wait for connections in use. None: forever. 0: do not wait.

        Returns:
            Whether every connection has been closed.
        """
        timeout = _options.seconds_or_none("timeout", timeout)
        ledger = self._checkpid()
        self._closed = True
        ledger.close_queue()
        return self._close_all(ledger, timeout)

    def _close_all(self, ledger: Ledger[C], timeout: float | None) -> bool:
        """Close what is idle, and wait until what is in use has come back and is closed."""
        ledger.reap_at = float("-inf")  # from now on each release sees it
        self._close_idle(ledger)
        closer = threading.Lock()
        closer.acquire()
        ledger.closers.append(closer)
        try:
            if ledger.size > 0:
                closer.acquire(timeout=-1 if timeout is None else min(timeout, TIMEOUT_MAX))
        finally:
            ledger.closers.remove(closer)
        return ledger.size == 0

    def stats(self) -> PoolStats:
        """Return the statistics of this process's pool."""
        ledger = self._checkpid()
        available = list(ledger.available)
        in_use = list(ledger.in_use.values())
        live = sum(slot.uses for slot in available + in_use)
        # Connections that are being checked or reset are counted afterwards.
        ledger.acquired = max(ledger.acquired, live + ledger.retired_uses)
        return PoolStats(
            name=self.name,
            pid=os.getpid(),
            max_size=self._max_size,
            min_size=self._min_size,
            total=ledger.size,
            available=len(available),
            in_use=len(in_use),
            waiting=len(ledger.waiters),
            acquired=ledger.acquired,
            opened=ledger.opened,
            closed=ledger.closed,
            connect_errors=ledger.connect_errors,
            timeouts=ledger.timeouts,
            foreign_releases=ledger.foreign_releases,
            severed=ledger.severed,
        )

    # -- for integrations -----------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of this process's connections, including those that are being made."""
        return self._checkpid().size

    def holds(self, conn: C) -> bool:
        """Whether this process has acquired ``conn`` from this pool and not released it."""
        return id(conn) in self._checkpid().in_use

    def is_current(self, conn: C) -> bool:
        """Whether ``conn`` is in use, and has not been drained since it was made."""
        slot = self._checkpid().in_use.get(id(conn))
        return slot is not None and not slot.is_drained

    def idle_connections(self) -> list[C]:
        """Return the available connections, the longest idle first."""
        slots = list(self._checkpid().available)
        return [slot.conn for slot in slots if slot.conn is not None]

    def connections_in_use(self) -> list[C]:
        """Return the connections that are acquired and not yet released."""
        slots = list(self._checkpid().in_use.values())
        return [slot.conn for slot in slots if slot.conn is not None]

    def all_connections(self) -> list[C]:
        """Return all connections of this process: idle, in use, or in transit between the two."""
        return list(self._checkpid().connections.values())

    def for_each_idle(self, function: Callable[[C], object]) -> None:
        """Call ``function`` with each idle connection, which nobody can acquire meanwhile."""
        ledger = self._checkpid()
        for slot in list(ledger.available):
            try:
                ledger.available.remove(slot)
            except ValueError:  # somebody has acquired it
                continue
            try:
                function(slot.conn)  # type: ignore[arg-type]
            finally:
                self._put_back(ledger, slot)

    def track_connect(self, connect: Callable[[], T]) -> T:
        """Return ``connect()``, and have a child that is forked meanwhile sever its sockets.

        For connections that connect later than they are created. The pool's own ``connect`` is
        tracked anyway.
        """
        return attempts.tracked(self._checkpid().making, connect)

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"<{type(self).__name__} {self.name!r}: {state}{self._checkpid().numbers()}>"

    def __enter__(self) -> Pool[C]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError(
            f"{self!r} cannot be pickled: build it at import, and let each process import it"
        )

    def __del__(self) -> None:
        if hasattr(self, "_ledger"):
            # In a child of a C-level fork this severs, before the drivers' finalizers run.
            ledger = self._checkpid_finally()
            self._close_idle(ledger)
            self._forget_lost(ledger)


def pools() -> list[Pool[Any]]:
    """Return every pool of this process; inherited ones have detected the fork."""
    registry.settle()
    return [pool for pool in registry.living() if isinstance(pool, Pool)]
