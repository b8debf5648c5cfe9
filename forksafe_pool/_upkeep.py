"""What becomes of a connection: made, judged, reaped, closed, cut off."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

from forksafe_pool import _making
from forksafe_pool._driver import Driver
from forksafe_pool._errors import PoolClosed, PoolTimeout
from forksafe_pool._ledger import Ledger, Place
from forksafe_pool._sever import DeadEnd, keep_for_ever

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


class Upkeep(Generic[C]):
    """The part of a `Pool` that looks after what its places hold."""

    name: str
    timeout: float | None
    min_size: int
    max_lifetime: float | None
    max_idle: float | None
    _driver: Driver[C]
    _fresh_for: float
    _closed: bool

    # -- made ---------------------------------------------------------------------------------

    def _back_off(self, ledger: Ledger[C], timeout: float | None) -> None:
        """Wait before another attempt to connect: until a random time after the last one.

        Longer after more failures, so that a server that comes back is not met by everybody at
        once. Who does not wait at all fails as long as somebody has tried that recently.
        """
        longest = min(_BACK_OFF_AT_MOST, _BACK_OFF_FIRST * 2.0 ** min(ledger.failures - 1, 9))
        seconds = longest * _chance()
        now = monotonic()
        if timeout == 0:
            if ledger.failures >= _FREE_ATTEMPTS and now < ledger.retry_at:
                raise self._timed_out(ledger, timeout)
            ledger.retry_at = now + seconds
            return
        seconds -= now - ledger.tried_at
        if seconds <= 0:
            ledger.tried_at = now  # the others wait for what this one finds
            return
        # By its module: gevent patches it there.
        time.sleep(seconds if timeout is None else min(seconds, timeout))
        self._check_open("was closed while the caller waited")

    def _timed_out(self, ledger: Ledger[C], timeout: float | None) -> PoolTimeout:
        ledger.timeouts += 1
        error = self._driver.error(
            PoolTimeout, f"no connection from {self.name} within {timeout:g} s ({ledger.numbers()})"
        )
        error.__cause__ = ledger.last_error
        return error

    def _check_open(self, state: str) -> None:
        if self._closed:
            raise self._driver.error(PoolClosed, f"{self.name} {state}")

    def _open(self, ledger: Ledger[C], place: Place[C]) -> None:
        def hold(conn: C) -> None:
            error = self._driver.refuse(conn, ledger.roster)
            if error is not None:
                raise error
            place.hold(conn)
            self._driver.note(conn)

        try:
            conn: C = _making.watched(ledger.making, self._driver.connect, hold)
            ledger.opened += 1
            self._driver.configure(conn)
        except BaseException as error:
            ledger.note_failure(error, monotonic())
            raise
        ledger.note_success()
        now = monotonic()
        if self.max_lifetime is None:
            place.expires_at = float("inf")
        else:
            # Connections that were made together are not to expire together.
            place.expires_at = now + self.max_lifetime * (1 - _LIFETIME_JITTER * _chance())
        if self.max_idle is not None and ledger.reap_at == float("inf"):
            ledger.reap_at = now + self.max_idle

    def _connect_again(
        self, ledger: Ledger[C], connect: Callable[[], object], timeout: float | None
    ) -> None:
        """For what has a place and has lost its connection: as where it is new.

        ``connect`` has it connect by itself.
        """
        if ledger.failures:
            self._back_off(ledger, timeout)
        try:
            _making.watched(ledger.making, connect)
        except BaseException as error:
            ledger.note_failure(error, monotonic())
            raise
        ledger.note_success()

    # -- judged -------------------------------------------------------------------------------

    def _idle_since(self, place: Place[C]) -> float:
        """When it was released; earlier for one that expires soon, and is replaced then."""
        return place.fresh_until - self._fresh_for

    def _is_usable(self, place: Place[C]) -> bool:
        now = monotonic()
        idle = now - self._idle_since(place)
        if now >= place.expires_at or (self.max_idle is not None and idle > self.max_idle):
            return False
        return now < place.fresh_until or self._driver.is_alive(place.conn)  # type: ignore[arg-type]

    # -- given back, closed -------------------------------------------------------------------

    def _hand_on(self, ledger: Ledger[C]) -> None:
        """What has just become available is somebody's who waits, or goes with a closed pool."""
        if ledger.waiters:
            ledger.serve()
        if self._closed:
            self._close_idle(ledger)

    def _retire(self, ledger: Ledger[C], place: Place[C]) -> None:
        """Close what ``place`` holds, then free it: the server never sees more than max_size."""
        try:
            self._close_held(ledger, place)
        finally:
            place.vacate()

    def _close_held(self, ledger: Ledger[C], place: Place[C]) -> None:
        conn = place.conn
        if conn is None:
            return
        try:
            if ledger.alive:
                ledger.closed += 1
                self._driver.close(conn)
            else:
                with DeadEnd() as dead_end:
                    self._cut_off(conn, dead_end)
        finally:
            place.let_go()  # only now: a fork meanwhile has it to sever

    def _reap(self, ledger: Ledger[C], now: float) -> None:
        """Close what has been idle for longer than max_idle, the longest idle first."""
        max_idle = self.max_idle or 0.0
        while ledger.size > self.min_size:
            try:
                place = ledger.available.popleft()
            except IndexError:
                break
            idle_since = self._idle_since(place)
            if now - idle_since <= max_idle:
                ledger.available.appendleft(place)
                ledger.reap_at = idle_since + max_idle
                self._hand_on(ledger)
                return
            self._retire(ledger, place)
        ledger.reap_at = now + max_idle

    def _close_idle(self, ledger: Ledger[C]) -> None:
        while True:
            try:
                place = ledger.available.popleft()
            except IndexError:
                break
            self._retire(ledger, place)

    def _cut_off(self, conn: C, dead_end: DeadEnd) -> bool:
        severed = self._driver.sever(conn, dead_end)
        if not severed:
            keep_for_ever(conn)
        return severed
