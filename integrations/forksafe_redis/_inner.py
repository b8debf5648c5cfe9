"""The `forksafe_pool.Pool` inside a redis-py pool."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Protocol

from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from forksafe_pool import Pool, PoolError
from forksafe_pool._ledger import Ledger, Slot
from forksafe_pool.extend import (
    DeadEnd,
    Deadline,
    Descriptor,
    Driver,
    monotonic,
    options,
)
from forksafe_redis import _connection


class Owner(Protocol):
    """The redis-py pool that contains the inner pool."""

    def make_connection(self) -> Any: ...

    def _is_alive(self, connection: Any) -> bool: ...

    def _note_close(self) -> None: ...

    def _note_connect(self, seconds: float) -> None: ...


# Error replies of the server, and failures to reach it. A rejected login counts: all connections of
# a pool log in alike, so the next one would be rejected too.
_SERVER_FAILURES = (
    RedisConnectionError,
    RedisTimeoutError,
    ResponseError,
    InvalidResponse,
    OSError,
)


class RedisDriver(Driver[Any]):
    """Checks and severs redis-py connections."""

    def is_server_failure(self, error: Exception) -> bool:
        return isinstance(error, _SERVER_FAILURES) and super().is_server_failure(error)

    def is_connected(self, conn: Any) -> bool:
        return _connection.is_connected(conn)

    def descriptor_of(self, conn: Any) -> Descriptor:
        return _connection.descriptor_of(conn) if _is_redis(conn) else super().descriptor_of(conn)

    def record_descriptor(self, conn: Any, descriptor: Descriptor) -> bool:
        # A redis-py connection records it when it connects.
        return _is_redis(conn) or super().record_descriptor(conn, descriptor)

    def owns_descriptor(self, conn: Any, descriptor: Descriptor) -> bool:
        return super().owns_descriptor(_connection.bare(conn), descriptor)

    def sever(self, conn: Any, dead_end: DeadEnd, descriptor: Descriptor) -> bool:
        if _is_redis(conn):
            return _connection.sever(conn, dead_end)
        return super().sever(conn, dead_end, descriptor)

    def unwrap(self, conn: Any) -> object:
        # A connection refers to its pool, through redis-py's handlers.
        return _connection.bare(conn)._sock if _is_redis(conn) else conn

    def close_severed(self, conn: Any) -> None:
        if _is_redis(conn):
            _connection.forget_socket(conn)
        else:
            super().close_severed(conn)


class Connections(Pool[Any]):
    """Makes, checks and closes connections through its owner, and severs them as redis-py needs.

    The reference to the owner is weak: the owner refers to this pool, and a cycle would keep the
    sockets of a dropped pool open until the garbage collector runs.
    """

    def __init__(self, owner: Owner, made: dict[int, weakref.ref[Any]], **settings: Any) -> None:
        reference = weakref.ref(owner)

        # The garbage collector may free both, and a finalizer may still release a connection.
        def make() -> Any:
            owner = reference()
            if owner is None:
                raise PoolError("the redis-py pool of this connection is gone")
            return owner.make_connection()

        def is_alive(conn: Any) -> bool:
            owner = reference()
            return owner is not None and owner._is_alive(conn)

        def close(conn: Any) -> None:
            owner = reference()
            if owner is not None:
                owner._note_close()
            conn.disconnect()

        self._owner = reference
        self._made = made
        super().__init__(driver=RedisDriver(make, check=is_alive, close=close), **settings)

    def _new_ledger(self, ancestor: Ledger[Any]) -> Ledger[Any]:
        ledger = super()._new_ledger(ancestor)
        # The parent's metric counts, which the child must subtract because it starts from zero:
        # outside the at-fork hook. A child that forks before its first use passes them on. Recorded
        # before any thread can see the ledger.
        idle, used = ancestor.notes.get("to_count_off", (0, 0))
        ledger.notes["to_count_off"] = (
            idle + len(ancestor.available),
            used + len(ancestor.in_use),
        )
        return ledger

    def take_counts_of_parent(self) -> tuple[int, int]:
        """The parent's counts of idle and used connections; returned once in each process."""
        counts: tuple[int, int] = self._checkpid().notes.pop("to_count_off", (0, 0))
        return counts

    def _sever_inherited(self, ledger: Ledger[Any]) -> set[int]:
        self._closed = bool(ledger.closers)  # threads in close() exist only in the parent
        found = super()._sever_inherited(ledger)
        # No slot holds a connection that was in use at a reset(), or an inherited one that its
        # holder has reconnected: a subscription, or a client with its own connection.
        with DeadEnd() as dead_end:
            for known in list(self._made.values()):
                conn = known()
                if id(conn) not in found and _connection.is_inherited(conn):
                    _connection.sever(conn, dead_end)
                    ledger.severed += 1
                    found.add(id(conn))
        return found

    def _ignore(self, ledger: Ledger[Any], conn: Any) -> None:
        super()._ignore(ledger, conn)
        # An inherited connection that its holder has reconnected has a socket of this process,
        # which only this call closes.
        if _is_redis(conn) and _connection.bare(conn).pid != os.getpid():
            _connection.forget_socket(conn)

    # A slot gets its connection object first. That is connected afterwards, repeatedly if needed:
    # as in redis-py, it is released unconnected if the connect has failed.

    def _back_off(self, ledger: Ledger[Any], deadline: Deadline) -> None:
        """No back-off before an object is made: `connect` backs off when it contacts the server."""

    def _prepare(self, ledger: Ledger[Any], slot: Slot[Any], deadline: Deadline) -> None:
        # Before it counts as in use, so that a signal handler's exception loses nothing.
        super()._prepare(ledger, slot, deadline)
        if _connection.is_disconnected(slot.conn):
            try:
                self.connect(slot.conn, deadline)
            except BaseException:
                self._put_back(ledger, slot)
                raise

    def connect(self, conn: Any, deadline: Deadline) -> None:
        """Connect a connection that no other thread holds, after the back-off."""
        ledger = self._checkpid()
        if ledger.failures:
            super()._back_off(ledger, deadline)
        left = self._left_to_connect(ledger, deadline)
        start = monotonic()
        try:
            self.track_connect(lambda: _connection.connect(conn, left))
        except BaseException as error:
            self._note_failure(ledger, error, left)
            raise
        if _connection.is_disconnected(conn):
            return  # another thread has closed it
        ledger.note_success()
        holder = ledger.slots.get(id(conn))  # another thread may have called reset()
        slot = None if holder is None else holder()
        owner = self._owner()
        if owner is not None and slot is not None and slot.uses <= 1:
            owner._note_connect(monotonic() - start)

    def acquire_after(self, lock: threading.RLock) -> Any:
        """Acquire once ``lock`` is free; None if there is neither a connection nor a free slot."""
        ledger = self._checkpid()
        with lock:
            slot = ledger.take()
        if slot is None:
            return None
        ledger.timeouts -= 1  # the timeout of the first attempt does not count
        return self._lend(ledger, slot, Deadline(0)).conn

    def fill(self) -> None:
        """Connect until `min_size` are connected, idle unconnected ones first."""
        ledger = self._checkpid()

        def connect(conn: Any) -> None:
            connected = sum(map(_connection.is_connected, list(ledger.connections.values())))
            if connected < self._min_size:
                self._make_ready(conn)

        self.for_each_idle(connect)
        super().fill()

    def _make_ready(self, conn: Any) -> None:
        if not _connection.is_connected(conn):
            self.connect(conn, Deadline(self._timeout))

    def close(self, timeout: float | None = 5.0) -> bool:
        """Close idle connections, and wait for those in use, which are closed on release.

        Unlike other pools, a redis-py pool may be used during and after this.
        """
        timeout = options.seconds_or_none("timeout", timeout)
        ledger = self._checkpid()
        self._closed = True
        try:
            return self._close_all(ledger, timeout)
        finally:
            if not ledger.closers:  # no other thread is closing it
                self._closed = False

    def _check_open(self, state: str) -> None:
        """A redis-py pool is never permanently closed."""


def _is_redis(conn: Any) -> bool:
    return isinstance(_connection.bare(conn), AbstractConnection)
