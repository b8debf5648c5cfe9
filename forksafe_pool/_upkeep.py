"""What becomes of a connection: made, judged, reaped, closed, cut off."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from forksafe_pool import _options
from forksafe_pool._clock import Deadline, monotonic
from forksafe_pool._driver import Driver
from forksafe_pool._errors import PoolBackOff, PoolClosed, PoolError, PoolTimeout
from forksafe_pool._fork import attempts
from forksafe_pool._fork.descriptor import Descriptor
from forksafe_pool._fork.sever import DeadEnd, give_up_claim, keep_for_ever
from forksafe_pool._handlers import raised_by_handler
from forksafe_pool._ledger import UNSEEN, Ledger, Slot

C = TypeVar("C")

# The system's: the other is the same in each child of a C-level fork, which no hook seeds anew.
_chance = random.SystemRandom().random

# psycopg_pool's.
_LIFETIME_JITTER = 0.05

# Seconds. Less than a second even after many failures: as soon is a server used that is back.
_BACK_OFF_FIRST = 0.05
_BACK_OFF_AT_MOST = 0.5
# A hiccup is no outage: who does not wait may try as often as this, as if there was no pool.
_FREE_ATTEMPTS = 3

# Seconds. An attempt that was cut off sooner, by an impatient caller's timeout, says nothing of the
# server.
_FAIR_CHANCE = 1.0


class Upkeep(Generic[C]):
    """The part of a `Pool` that looks after what its slots hold."""

    _name: str
    _max_size: int
    _min_size: int
    _timeout: float | None
    _max_waiting: int | None
    _max_lifetime: float | None
    _max_idle: float | None
    _check_after: float
    _driver: Driver[C]
    _fresh_for: float
    _closed: bool

    # -- the settings: changed by `resize`, or not at all -------------------------------------

    @property
    def name(self) -> str:
        return self._name

    @property
    def max_size(self) -> int:
        return self._max_size

    @property
    def min_size(self) -> int:
        return self._min_size

    @property
    def timeout(self) -> float | None:
        return self._timeout

    @property
    def max_waiting(self) -> int | None:
        return self._max_waiting

    @property
    def max_lifetime(self) -> float | None:
        return self._max_lifetime

    @property
    def max_idle(self) -> float | None:
        return self._max_idle

    @property
    def check_after(self) -> float:
        return self._check_after

    # -- made ---------------------------------------------------------------------------------

    def _back_off(self, ledger: Ledger[C], deadline: Deadline) -> None:
        """Wait before another attempt to connect: until a random time after the last one.

        Grows with the number of failures, so that clients do not all reconnect at once.
        Non-blocking callers are rejected while another attempt was made that recently.
        """
        longest = min(_BACK_OFF_AT_MOST, _BACK_OFF_FIRST * 2.0 ** min(ledger.failures - 1, 9))
        seconds = longest * _chance()
        now = monotonic()
        # After a clock jump, never wait longer than the maximum back-off.
        if deadline.seconds == 0:
            if ledger.failures >= _FREE_ATTEMPTS and 0 < ledger.retry_at - now <= _BACK_OFF_AT_MOST:
                raise self._backed_off(ledger)
            ledger.retry_at = now + seconds
            return
        seconds -= max(0.0, now - ledger.tried_at)
        if seconds <= 0:
            ledger.tried_at = now  # the others wait for the outcome of this one
            return
        left = deadline.left()
        # By its module: gevent patches it there.
        time.sleep(seconds if left is None else min(seconds, left))
        self._check_open("was closed while the caller waited")

    def _timed_out(self, ledger: Ledger[C], deadline: Deadline) -> PoolTimeout:
        ledger.timeouts += 1
        error = self._driver.error(
            PoolTimeout,
            f"no connection from {self.name} within {deadline.seconds:g} s ({ledger.numbers()})",
        )
        error.__cause__ = ledger.last_error
        return error

    def _backed_off(self, ledger: Ledger[C]) -> PoolTimeout:
        ledger.timeouts += 1
        error = self._driver.error(
            PoolBackOff,
            f"no connection from {self.name} ({ledger.numbers()}): reconnect suppressed by "
            f"back-off; last error: {ledger.last_error!r}",
        )
        error.__cause__ = ledger.last_error
        return error

    def _check_open(self, state: str) -> None:
        if self._closed:
            raise self._driver.error(PoolClosed, f"{self.name} {state}")

    def _open(self, ledger: Ledger[C], slot: Slot[C], deadline: Deadline) -> None:
        """Connect, after a back-off if recent attempts have failed."""
        if ledger.failures:
            self._back_off(ledger, deadline)
        generation = ledger.generation
        seen = True

        def hold(conn: C) -> None:
            error = self._driver.validate_new(conn, ledger.connections)
            if error is not None:
                if ledger.alive:
                    raise error
                return  # a signal handler has forked, and in the child it is cut off already
            slot.hold(conn)
            ledger.descriptors[slot.key] = descriptor = self._driver.descriptor_of(conn)
            nonlocal seen
            seen = self._driver.record_descriptor(conn, descriptor)

        left = self._left_to_connect(ledger, deadline)
        try:
            conn: C = attempts.tracked(ledger.making, lambda: self._driver.connect(left), hold)
            if slot.conn is None:  # closed, in a child: the caller begins anew
                return
            ledger.opened += 1
            self._driver.configure(conn)
        except BaseException as error:
            self._note_failure(ledger, error, left)
            raise
        if self._driver.is_connected(conn):
            ledger.note_success()
        now = monotonic()
        if self._max_lifetime is None:
            slot.expires_at = float("inf")
        else:
            # Connections that were made together are not to expire together.
            slot.expires_at = now + self._max_lifetime * (1 - _LIFETIME_JITTER * _chance())
        if not seen and not self._driver.record_descriptor(conn, ledger.descriptors[slot.key]):
            slot.unseen, slot.expires_at = slot.expires_at, UNSEEN
        if ledger.generation != generation:  # drained meanwhile
            slot.expire()
        if self._max_idle is not None and ledger.reap_at == float("inf"):
            ledger.reap_at = now + self._max_idle

    def _connect_again(
        self,
        ledger: Ledger[C],
        connect: Callable[[float | None], object],
        timeout: float | None,
    ) -> None:
        """For what has a slot and has lost its connection: as where it is new.

        ``connect(timeout)`` has it connect by itself, and is given what is left of ``timeout``.
        """
        deadline = Deadline(timeout)
        if ledger.failures:
            self._back_off(ledger, deadline)
        left = self._left_to_connect(ledger, deadline)
        try:
            attempts.tracked(ledger.making, lambda: connect(left))
        except BaseException as error:
            self._note_failure(ledger, error, left)
            raise
        ledger.note_success()

    def _left_to_connect(self, ledger: Ledger[C], deadline: Deadline) -> float | None:
        left = deadline.left_to_connect()
        if left == 0:
            raise self._timed_out(ledger, deadline)
        return left

    def _note_failure(self, ledger: Ledger[C], error: BaseException, timeout: float | None) -> None:
        """An attempt to connect failed, which had ``timeout`` seconds."""
        ledger.connect_errors += 1
        if not isinstance(error, Exception):
            return  # the caller was killed, which says nothing about the server
        had_time = timeout is None or timeout >= _FAIR_CHANCE or not isinstance(error, TimeoutError)
        if not had_time or raised_by_handler(error):
            return
        if self._driver.is_server_failure(error):
            ledger.note_failure(error, monotonic())

    # -- checked ------------------------------------------------------------------------------

    def _idle_since(self, slot: Slot[C]) -> float:
        """When it was released; earlier for one that expires soon, and is replaced then."""
        return slot.fresh_until - self._fresh_for

    def _is_usable(self, ledger: Ledger[C], slot: Slot[C]) -> bool:
        now = monotonic()
        idle = now - self._idle_since(slot)
        expires_at = slot.unseen if slot.expires_at == UNSEEN else slot.expires_at
        if now >= expires_at or (self._max_idle is not None and idle > self._max_idle):
            return False
        if now < slot.fresh_until:
            return True
        return (
            self._owns_descriptor(ledger, slot)
            and self._is_alive(slot.conn)  # type: ignore[arg-type]
            and not slot.is_drained
        )

    def _is_alive(self, conn: C) -> bool:
        try:
            return self._driver.is_alive(conn)
        except PoolError:  # it cannot be asked at all
            raise
        except Exception:  # a subclass's may raise
            return False

    def _look_at_unseen(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        """Note where its descriptor leads, if it is connected by now."""
        seen = self._driver.record_descriptor(slot.conn, ledger.descriptors[slot.key])  # type: ignore[arg-type]
        if seen and slot.expires_at == UNSEEN:  # else drained meanwhile
            slot.expires_at = slot.unseen

    def _owns_descriptor(self, ledger: Ledger[C], slot: Slot[C]) -> bool:
        """Whether the descriptor is still the connection's; if not, I/O may reach another file."""
        descriptor = ledger.descriptors.get(slot.key)
        return descriptor is None or self._driver.owns_descriptor(slot.conn, descriptor)  # type: ignore[arg-type]

    # -- given back, closed -------------------------------------------------------------------

    def _look_after(self, ledger: Ledger[C], now: float) -> None:
        """Called when a connection has become available, if there are waiters or upkeep is due."""
        is_due = now >= ledger.reap_at
        if is_due:
            self._close_surplus(ledger)
            self._close_drained(ledger)
        if ledger.waiters or self._closed:
            self._hand_on(ledger)
        elif is_due:
            self._reap(ledger, now)

    def _hand_on(self, ledger: Ledger[C]) -> None:
        """Give what has just become available to a waiter, or close it if the pool is closed."""
        if ledger.waiters:
            ledger.serve()
        if self._closed:
            self._close_idle(ledger)

    def _retire(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        """Close what ``slot`` holds, then free it: the server never sees more than max_size."""
        try:
            self._close_held(ledger, slot)
        finally:
            slot.vacate()

    def _close_held(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        conn = slot.conn
        if conn is None:
            return
        try:
            if ledger.alive:
                ledger.closed += 1
                descriptor = ledger.descriptors.get(id(conn), Descriptor())
                if self._is_harmless(conn, descriptor):
                    self._driver.close(conn)
                    give_up_claim(descriptor)
            else:
                with DeadEnd() as dead_end:
                    self._cut_off(conn, dead_end, ledger.descriptors.get(id(conn)))
        finally:
            slot.let_go()  # only now: a child forked meanwhile must sever it

    def _reap(self, ledger: Ledger[C], now: float) -> None:
        """Close what is more than max_size allows, or has been idle for longer than max_idle; the
        longest idle first."""
        max_idle = float("inf") if self._max_idle is None else self._max_idle
        reap_at = now + max_idle
        while ledger.size > self._min_size:
            try:
                slot = ledger.available.popleft()
            except IndexError:
                break
            idle_since = self._idle_since(slot)
            if now - idle_since <= max_idle and ledger.size <= ledger.max_size:
                ledger.available.appendleft(slot)
                reap_at = idle_since + max_idle
                if slot.is_drained:  # in the meantime
                    self._close_drained(ledger)
                self._hand_on(ledger)
                break
            self._retire(ledger, slot)
        ledger.reap_at = reap_at
        # Looked at after that, as they make the reaping due after they have been published.
        if self._closed or ledger.size > ledger.max_size:
            ledger.reap_at = float("-inf")

    def _close_idle(self, ledger: Ledger[C]) -> None:
        while True:
            try:
                slot = ledger.available.popleft()
            except IndexError:
                break
            self._retire(ledger, slot)

    def _close_drained(self, ledger: Ledger[C]) -> None:
        for slot in list(ledger.available):
            if slot.is_drained:
                try:
                    ledger.available.remove(slot)
                except ValueError:  # somebody has acquired it, and will see
                    continue
                self._retire(ledger, slot)

    def _put_back(self, ledger: Ledger[C], slot: Slot[C]) -> None:
        """Make an unused connection or slot available again."""
        if slot.is_drained:
            self._retire(ledger, slot)
        else:
            ledger.put_back(slot)
        if self._closed or ledger.reap_at == float("-inf"):  # as after a release
            self._look_after(ledger, ledger.reap_at)

    # -- all of them --------------------------------------------------------------------------

    def resize(self, max_size: int | None = None, min_size: int | None = None) -> None:
        """Change how many connections each process may have, from now on: this one, and those that
        are forked from it later. Others that exist already keep the sizes they have.

        Where there are more than ``max_size``, idle ones are closed now, the longest idle first,
        and those in use as they come back. ``min_size`` takes effect with the next `fill`.

        Raises:
            TypeError, ValueError: a size is wrong; the message names it.
        """
        new_max = self._max_size if max_size is None else max_size
        new_min = self._min_size if min_size is None else min_size
        _options.count("max_size", new_max, at_least=1)
        _options.count("min_size", new_min)
        _options.not_larger("min_size", new_min, "max_size", new_max)
        self._max_size, self._min_size = new_max, new_min
        ledger = self._checkpid()
        # Not `new_max`: where threads resize at the same time the last one counts in both.
        ledger.max_size = self._max_size
        if ledger.size > ledger.max_size:
            ledger.reap_at = float("-inf")  # the next release looks after it
        ledger.serve()
        self._close_surplus(ledger)

    def _close_surplus(self, ledger: Ledger[C]) -> None:
        while ledger.size > ledger.max_size:
            try:
                slot = ledger.available.popleft()
            except IndexError:
                break
            self._retire(ledger, slot)

    def drain(self) -> None:
        """Replace every connection of this process: idle ones are closed now, and those in use
        when they come back. The pool stays open, and connects anew when it is used.

        For a failover, a changed password, or a master that has done its work at import.
        """
        ledger = self._checkpid()
        ledger.generation += 1
        for holder in list(ledger.slots.values()):
            slot = holder()
            if slot is not None:
                slot.expire()
        ledger.reap_at = float("-inf")  # what comes back just now is looked after
        self._close_drained(ledger)

    def _evict(self, ledger: Ledger[C], error: BaseException | None) -> None:
        """The error of a block may speak against every connection."""
        if error is not None and self._driver.must_evict(error):
            self.drain()

    def _checkpid(self) -> Ledger[C]:
        raise NotImplementedError

    # -- severed ------------------------------------------------------------------------------

    def _cut_off(self, conn: C, dead_end: DeadEnd, descriptor: Descriptor | None = None) -> bool:
        descriptor = Descriptor() if descriptor is None else descriptor
        severed = self._driver.sever(conn, dead_end, descriptor)
        if not severed:
            keep_for_ever(conn)
        return severed

    def _is_harmless(self, conn: C, descriptor: Descriptor) -> bool:
        """Whether it may be closed or freed: it has its own descriptor, or has forgotten it."""
        if self._driver.owns_descriptor(conn, descriptor):
            return True
        with DeadEnd() as dead_end:
            return self._cut_off(conn, dead_end, descriptor)

    def _forget_lost(self, ledger: Ledger[C]) -> None:
        """Before the drivers' finalizers run: what has lost its descriptor closes nobody else's."""
        with DeadEnd() as dead_end:
            known = list(ledger.connections.values()) + ledger.severed_in_use + ledger.severed_idle
            for conn in known:
                descriptor = ledger.descriptors.get(id(conn))
                if descriptor is not None and not self._driver.owns_descriptor(conn, descriptor):
                    self._cut_off(conn, dead_end, descriptor)
