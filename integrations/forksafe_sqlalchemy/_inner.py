"""The `forksafe_pool.Pool` inside SQLAlchemy's."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from forksafe_pool import Pool
from forksafe_pool._ledger import Ledger, Slot
from forksafe_pool.extend import (
    DeadEnd,
    Deadline,
    Descriptor,
    Driver,
    find_descriptor,
    keep_for_ever,
    monotonic,
    owns_descriptor,
    sever,
)
from forksafe_sqlalchemy import _server
from forksafe_sqlalchemy._connections import Record
from forksafe_sqlalchemy._errors import ERROR_CLASSES


class RecordDriver(Driver[Record]):
    """Closes as SQLAlchemy does, and frees severed connections without firing events."""

    error_classes = ERROR_CLASSES

    def __init__(
        self,
        make: Callable[[], Record],
        connect: Callable[[Record], object],
        dialect: Callable[[], object],
    ) -> None:
        super().__init__(make, configure=connect)
        #: The engine's dialect, which may be set later than the pool.
        self.dialect = dialect

    def make(self) -> Record:
        """Create a record that is not connected yet."""
        return self._connect()

    def connect(self, timeout: float | None) -> Record:
        record = self.make()  # connects when it is configured
        record.seconds_to_connect = timeout
        return record

    def is_server_failure(self, error: Exception) -> bool:
        return _server.is_failure(error, self.dialect()) and super().is_server_failure(error)

    def close(self, record: Record) -> None:
        record.close()

    def descriptor_of(self, record: Record) -> Descriptor:
        return record.descriptor

    def record_descriptor(self, record: Record, descriptor: Descriptor) -> bool:
        return True  # done after each connect of the record

    def is_alive(self, record: Record) -> bool:
        return True  # SQLAlchemy checks it, if configured to

    def owns_descriptor(self, record: Record, descriptor: Descriptor) -> bool:
        conn = record.dbapi_connection
        if conn is None or descriptor.at is None:
            return True
        return owns_descriptor(conn, find_descriptor, descriptor)

    def sever(self, record: Record, dead_end: DeadEnd, descriptor: Descriptor) -> bool:
        record.starttime = 0  # so that losing it does not invalidate newer ones
        conn = record.dbapi_connection
        if conn is None or sever(conn, find_descriptor, dead_end, descriptor):
            return True
        keep_for_ever(conn)  # even if its record is freed
        return False

    def unwrap(self, record: Record) -> object:
        return record.dbapi_connection

    def close_severed(self, record: Record) -> None:
        conn, record.dbapi_connection = record.dbapi_connection, None
        if conn is not None:
            with contextlib.suppress(Exception):
                conn.close()

    def free_severed(self, record: Record) -> None:
        # psycopg frees an inherited connection and its descriptor only if it is closed explicitly,
        # and close() does not take the lock. The lock's holder may have left libpq's memory
        # inconsistent, so that connection stays severed and is not closed.
        conn: Any = record.dbapi_connection
        if type(conn).__module__.partition(".")[0] == "psycopg" and not conn.lock.locked():
            self.close_severed(record)


class Records(Pool[Record]):
    """Holds SQLAlchemy's records, each of which holds a driver connection.

    Offers the methods of SQLAlchemy's queue. Idle connections are not checked or closed here:
    SQLAlchemy does that itself (``pool_pre_ping``, ``pool_recycle``).
    """

    _driver: RecordDriver

    def __init__(
        self,
        make: Callable[[], Record],
        connect: Callable[[Record], object],
        *,
        pool_size: int,
        max_overflow: int,
        use_lifo: bool,
        timeout: float | None,
        dialect: Callable[[], object],
        name: str | None,
    ) -> None:
        self.maxsize = pool_size
        self.use_lifo = use_lifo
        unlimited = pool_size == 0 or max_overflow < 0
        super().__init__(
            # It connects only when the pool holds it, so that a child forked then can sever it.
            driver=RecordDriver(make, connect, dialect),
            max_size=sys.maxsize if unlimited else pool_size + max_overflow,
            timeout=timeout,
            max_lifetime=None,
            max_idle=None,
            name=name,
        )

    def _take(self, timeout: float | None) -> Slot[Record]:
        began = monotonic()
        slot = super()._take(timeout)
        slot.conn.waited = monotonic() - began  # type: ignore[union-attr]
        return slot

    def connect_again(self, record: Record, connect: Callable[[float | None], object]) -> None:
        """Reconnect a record in use that has lost its connection, in the time left."""
        timeout = self._timeout
        if timeout:
            timeout = max(timeout - record.waited, 0.001)  # 0 would be no limit
        record.waited = 0.0
        self._connect_again(self._checkpid(), connect, timeout)

    def release(self, record: Record) -> None:
        """Release a record. If more than ``pool_size`` are idle then, one is closed."""
        record.waited = 0.0
        super().release(record)
        ledger = self._checkpid()
        if 0 < self.maxsize < len(ledger.available):
            with contextlib.suppress(IndexError):
                self._retire(ledger, ledger.available.pop())
        elif not self.use_lifo:
            ledger.available.rotate()  # the next one is taken from the right

    def close(self, timeout: float | None = 5.0) -> bool:
        """Close idle connections, and those released in time. The pool may be used again."""
        ledger = self._checkpid()
        self._free_severed(ledger)
        if timeout == 0:  # engine.dispose(): waiting callers continue to wait
            self._close_idle(ledger)
            return ledger.size == 0
        try:
            return super().close(timeout)
        finally:
            self._closed = False

    def _back_off(self, ledger: Ledger[Record], deadline: Deadline) -> None:
        """Non-blocking callers get the driver's error each time, without back-off."""
        if deadline.seconds != 0:
            super()._back_off(ledger, deadline)

    def watch_over(self, detached: Any) -> None:
        """Track a detached connection while it exists, so that a child severs it too."""
        ledger = self._checkpid()
        record = self._driver.make()
        record.dbapi_connection = detached.dbapi_connection
        with contextlib.suppress(Exception):
            record.record_descriptor()
        ledger.connections[id(record)] = record
        weakref.finalize(detached, _forget, ledger, id(record)).atexit = False

    def may_close(self, conn: Any) -> bool:
        """Whether SQLAlchemy may close it: not if its descriptor was reused for another file."""
        record = self._record_of(conn)
        return record is None or self._is_harmless(record, record.descriptor)

    def may_send(self, conn: Any) -> bool:
        record = self._record_of(conn)
        return record is None or self._driver.owns_descriptor(record, record.descriptor)

    def _record_of(self, conn: Any) -> Record | None:
        for record in list(self._checkpid().connections.values()):
            if record.dbapi_connection is conn:
                return record
        return None

    def __del__(self) -> None:
        # As with SQLAlchemy, the driver closes dropped connections.
        if hasattr(self, "_ledger"):
            self._free_severed(self._checkpid_finally())

    # -- the methods of SQLAlchemy's queue ----------------------------------------------------

    @property
    def queue(self) -> deque[Record | None]:
        return deque(slot.conn for slot in list(self._checkpid().available))

    def qsize(self) -> int:
        return len(self._checkpid().available)

    def empty(self) -> bool:
        return self.qsize() == 0


def _forget(ledger: Ledger[Record], key: int) -> None:
    if ledger.alive:  # a child must still sever it
        ledger.connections.pop(key, None)
