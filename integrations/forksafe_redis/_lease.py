"""A Redis connection for the duration of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from forksafe_pool.extend import Lease


class Owner(Protocol):
    """The redis-py pool of the connection."""

    _pool: Any

    def get_connection(self) -> Any: ...

    def release(self, connection: Any) -> None: ...

    def discard(self, connection: Any) -> None: ...


class RedisLease(Lease[Any]):
    """Returned by `ConnectionPool.connection`: acquires and releases as redis-py does."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._pool = owner._pool
        self._slot = None

    def __enter__(self) -> Any:
        if self._slot is not None:
            raise self._is_entered()
        while True:
            connection = self._owner.get_connection()
            self._pool = pool = self._owner._pool
            slot = pool._checkpid().in_use.get(id(connection))
            if slot is not None:  # None if lost in the meantime, to a fork or to reset()
                self._slot = slot
                self._turn = slot.uses
                return connection

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        slot, holds = self._slot, self.holds()
        if slot is None:
            raise self._is_not_entered()
        self._slot = None
        if not holds:
            ledger = self._pool._checkpid()
            if not slot.belongs_to(ledger):  # otherwise it was released inside the block
                self._pool._ignore(ledger, slot.conn)
        elif kind is None:
            self._owner.release(slot.conn)
        else:
            self._owner.discard(slot.conn)
