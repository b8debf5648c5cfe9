"""A pool in a few plain lines, which does each thing the obvious way; and both, side by side.

The model knows nothing of places, locks or reaping times. What it says has to happen, has to have
happened in the real pool, and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict

import pytest

from forksafe_pool import Pool, PoolTimeout
from forksafe_pool._lease import Lease
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection, pretend_fork

CHECK_AFTER = 0.5
MAX_IDLE = 10.0
MAX_LIFETIME = 60.0

COUNTERS = (
    "acquired",
    "opened",
    "closed",
    "connect_errors",
    "timeouts",
    "foreign_releases",
    "severed",
)


class Refused(OSError):
    pass


class SideBySide:
    """A real pool and a model of it. Each step is taken by both, and compared.

    Connections are lent by `acquire` and `release`, or by blocks; from a pool with a ``reset``, or
    without.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        *,
        max_size: int,
        min_size: int,
        blocks: bool,
        resets: bool,
    ) -> None:
        self.blocks, self.resets = blocks, resets
        self.leases: dict[FakeConnection, Lease[FakeConnection]] = {}
        #: Of these, the ones that were entered before the process forked.
        self.parents_leases: list[Lease[FakeConnection]] = []
        self.clock = Clock(monkeypatch)
        monkeypatch.setattr("forksafe_pool._upkeep._LIFETIME_JITTER", 0.0)
        monkeypatch.setattr("forksafe_pool._upkeep._chance", lambda: 1.0)
        self.max_size = max_size
        self.min_size = min_size
        self.connections = Connections()
        self.unfit: list[FakeConnection] = []
        self.pool = Pool(
            self.connections,
            max_size=max_size,
            min_size=min_size,
            timeout=0,
            max_idle=MAX_IDLE,
            max_lifetime=MAX_LIFETIME,
            check=lambda conn: conn.alive,
            check_after=CHECK_AFTER,
            reset=(lambda conn: conn not in self.unfit) if resets else None,
            fileno=lambda _: -1,
        )
        #: The last one was released last.
        self.available: list[FakeConnection] = []
        self.in_use: list[FakeConnection] = []
        #: What this process does not hold any more, or never did.
        self.foreign: list[FakeConnection] = [FakeConnection(-1)]
        #: In use when the process forked: the parent's.
        self.parents: list[FakeConnection] = []
        self.born: dict[FakeConnection, float] = {}
        self.idle_since: dict[FakeConnection, float] = {}
        self.counters = dict.fromkeys(COUNTERS, 0)
        #: Attempts to connect that have failed in a row, and when it may be tried again.
        self.failures = 0
        self.retry_at = 0.0

    # -- the model ----------------------------------------------------------------------------

    @property
    def total(self) -> int:
        return len(self.available) + len(self.in_use)

    def expired(self, conn: FakeConnection) -> bool:
        return self.clock.now - self.born[conn] >= MAX_LIFETIME

    def idle(self, conn: FakeConnection) -> float:
        return self.clock.now - self.idle_since[conn]

    def fit(self, conn: FakeConnection) -> bool:
        """Whether an available connection may be handed out."""
        if self.expired(conn) or self.idle(conn) > MAX_IDLE:
            return False
        return conn.alive or self.idle(conn) < CHECK_AFTER

    def put_off(self) -> bool:
        """Whether nobody connects just now, since several have failed to."""
        if self.failures >= 3 and self.clock.now < self.retry_at:
            return True
        if self.failures:
            self.retry_at = self.clock.now + min(0.5, 0.05 * 2 ** (self.failures - 1))
        return False

    def close(self, conn: FakeConnection) -> None:
        assert conn.times_closed == 1
        self.counters["closed"] += 1
        self.foreign.append(conn)

    # -- either way ---------------------------------------------------------------------------

    def lend(self) -> FakeConnection:
        if not self.blocks:
            return self.pool.acquire()
        lease = self.pool.connection()
        conn = lease.__enter__()
        self.leases[conn] = lease
        return conn

    def lend_in_vain(
        self, error: type[Exception], counter: str, warm: FakeConnection | None
    ) -> None:
        """The pool lends nothing; ``warm``, which it had and may not lend, it has closed."""
        with pytest.raises(error):
            self.lend()
        self.counters[counter] += 1
        if warm is not None:
            self.close(warm)

    def give_back(self, conn: FakeConnection) -> bool:
        """Whether that was the end of a block of this process."""
        if conn in self.leases:
            lease = self.leases.pop(conn)
            lease.__exit__(None, None, None)
            return lease not in self.parents_leases
        self.pool.release(conn)
        return False

    # -- steps --------------------------------------------------------------------------------

    def acquire(self, *, refuse: bool = False) -> None:
        warm = self.available.pop() if self.available else None
        if warm is None and self.total == self.max_size:
            self.lend_in_vain(PoolTimeout, "timeouts", warm)
            return
        if warm is not None and self.fit(warm):
            assert self.lend() is warm
            conn = warm
        elif self.put_off():
            self.lend_in_vain(PoolTimeout, "timeouts", warm)
            return
        elif refuse:
            self.failures += 1
            self.connections.errors.append(Refused())
            self.lend_in_vain(Refused, "connect_errors", warm)
            return
        else:
            conn = self.lend()
            assert conn is self.connections.made[-1]
            assert conn not in self.born
            self.failures = 0
            self.born[conn] = self.clock.now
            self.counters["opened"] += 1
            if warm is not None:
                self.close(warm)
        assert not conn.closed
        self.in_use.append(conn)
        self.counters["acquired"] += 1

    def release(self, conn: FakeConnection, *, unfit: bool = False) -> None:
        unfit = unfit and self.resets
        self.unfit = [conn] if unfit else []
        ends_block = self.give_back(conn)
        if conn not in self.in_use:
            self.counters["foreign_releases"] += not ends_block
            return
        self.in_use.remove(conn)
        if unfit or self.expired(conn):
            self.close(conn)
            return
        self.available.append(conn)
        self.idle_since[conn] = self.clock.now
        self.reap()

    def reap(self) -> None:
        while self.total > self.min_size and self.available:
            longest_idle = self.available[0]
            if self.idle(longest_idle) <= MAX_IDLE:
                return
            self.close(self.available.pop(0))

    def discard(self, conn: FakeConnection) -> None:
        self.pool.discard(conn)
        if conn in self.in_use:
            self.in_use.remove(conn)
            self.close(conn)
        else:
            self.counters["foreign_releases"] += 1

    def fork(self) -> None:
        pretend_fork(self.pool)
        self.become_a_child()

    def become_a_child(self) -> None:
        self.counters = dict.fromkeys(COUNTERS, 0) | {"severed": self.total}
        self.parents += self.in_use
        self.parents_leases += self.leases.values()
        self.foreign += self.available + self.in_use
        self.available, self.in_use = [], []
        self.failures = 0

    # -- what holds at any time ---------------------------------------------------------------

    def compare(self) -> None:
        stats = asdict(self.pool.stats())
        assert {name: stats[name] for name in COUNTERS} == self.counters
        assert stats["available"] == len(self.available)
        assert stats["in_use"] == len(self.in_use)
        assert stats["total"] == self.total <= self.max_size
        assert stats["waiting"] == 0
        ledger = self.pool._ledger
        available = [slot.conn for slot in ledger.available]
        in_use = [slot.conn for slot in ledger.in_use.values()]
        assert available == self.available
        assert set(in_use) == set(self.in_use)
        held = self.available + self.in_use
        assert len(set(held)) == len(held)
        assert set(ledger.connections.values()) == set(held)
        assert not any(conn.closed for conn in held)
        assert all(conn.times_closed <= 1 for conn in self.connections.made)
        # None is forgotten: what is open and not held was inherited.
        assert set(self.connections.open) <= set(held + self.foreign)
        assert not any(conn.closed for conn in self.parents)
