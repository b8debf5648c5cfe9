"""A connection for the length of a ``with`` block."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from forksafe_pool._pool import Pool

C = TypeVar("C")


class Lease(Generic[C]):
    """What `Pool.connection` returns, and fills in: an ``__init__`` would take longer."""

    __slots__ = ("_conn", "_pool", "_timeout")

    _conn: C
    _pool: Pool[C]
    _timeout: float | None

    def __enter__(self) -> C:
        self._conn = conn = self._pool.acquire(self._timeout)
        return conn

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None or issubclass(kind, Exception):
            self._pool.release(self._conn)
        else:
            self._pool.discard(self._conn)
