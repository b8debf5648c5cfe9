"""The driver's side of a pool: how a connection is made, judged, prepared, closed and severed."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from forksafe_pool import _options
from forksafe_pool._errors import PoolError
from forksafe_pool._sever import (
    DeadEnd,
    find_descriptor,
    is_closed,
    is_readable,
    note_end,
    sever,
)

C = TypeVar("C")

logger = logging.getLogger("forksafe_pool")


class Driver(Generic[C]):
    """The callbacks given to `Pool`, and what is done where one is not given."""

    def __init__(
        self,
        pool_name: str,
        connect: Callable[[], C],
        check: Callable[[C], object] | None,
        configure: Callable[[C], object] | None,
        reset: Callable[[C], object] | None,
        close: Callable[[C], object] | None,
        fileno: Callable[[C], int] | None,
    ) -> None:
        self.pool_name = pool_name
        self.connect = _options.function("connect", connect)
        self._check = _options.function_or_none("check", check, "conn")
        self._configure = _options.function_or_none("configure", configure, "conn")
        self._reset = _options.function_or_none("reset", reset, "conn")
        self._close = _options.function_or_none("close", close, "conn")
        self._fileno = _options.function_or_none("fileno", fileno, "conn") or find_descriptor

    @property
    def has_reset(self) -> bool:
        """Whether `reset` does anything."""
        return self._reset is not None

    def refuse(self, conn: Any, roster: dict[int, C]) -> PoolError | None:
        """What is wrong with what ``connect`` returned."""
        if inspect.iscoroutine(conn):
            conn.close()  # else Python warns that nobody has awaited it
            return PoolError(f"connect of {self.pool_name} is async: the pool is for threads")
        if conn is None:
            return PoolError(f"connect of {self.pool_name} returned None, not a connection")
        if id(conn) in roster:
            return PoolError(
                f"connect of {self.pool_name} returned a connection that the pool holds "
                f"already: {conn!r}; it must make a new one each time"
            )
        if is_closed(conn):
            return PoolError(f"connect of {self.pool_name} returned a closed connection: {conn!r}")
        return None

    def note(self, conn: C) -> None:
        """What is to be known of a connection that was just made."""
        if self._fileno is find_descriptor:
            note_end(conn)

    def configure(self, conn: C) -> None:
        if self._configure is not None:
            self._configure(conn)

    def is_alive(self, conn: C) -> bool:
        try:
            if self._check is not None:
                return self._check(conn) is not False
        except Exception:
            return False
        try:
            descriptor = self._fileno(conn)
        except LookupError:
            return True  # a driver that shows no socket: nothing to judge by
        except Exception:
            return False
        try:
            return descriptor >= 0 and not is_readable(descriptor)
        except (OSError, ValueError):
            return False

    def is_in_step(self, conn: C) -> bool:
        """Whether every reply has been read, though an exception has ended the block; nothing is
        raised. Where it cannot be told, that is left to `reset`."""
        return True

    def reset(self, conn: C) -> bool:
        """Prepare a released connection; False if it is not fit for the next user."""
        try:
            return self._reset is None or self._reset(conn) is not False
        except Exception:
            logger.warning(
                "%s: reset failed, the connection is closed", self.pool_name, exc_info=True
            )
            return False

    def close(self, conn: Any) -> None:
        try:
            if self._close is not None:
                self._close(conn)
            elif hasattr(conn, "close"):
                conn.close()
        except Exception:
            logger.debug("%s: closing a connection failed", self.pool_name, exc_info=True)

    def sever(self, conn: C, dead_end: DeadEnd) -> bool:
        """Cut an inherited connection off; False where its descriptor cannot be reached.

        May run inside an at-fork callback: no lock, no log, no I/O, nothing raised.
        """
        return sever(conn, self._fileno, dead_end)

    def close_severed(self, conn: C) -> None:
        """Free an inherited connection that was idle: its goodbye goes to the dead end."""
        self.close(conn)

    def free_severed(self, conn: C) -> None:
        """Let go of an inherited connection that was in use: here nobody may have it any more.

        Not closed: a thread that does not exist here may have held the driver's lock on it.
        """
