"""Checks, resets and severs psycopg connections."""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import weakref
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import Connection, OperationalError, ProgrammingError
from psycopg.errors import ReadOnlySqlTransaction
from psycopg.pq import PipelineStatus, TransactionStatus

from forksafe_pool import PoolError, pools
from forksafe_pool.extend import (
    DeadEnd,
    Descriptor,
    Driver,
    Sentinel,
    is_readable,
    keep_for_ever,
    options,
    sever,
)
from forksafe_psycopg._errors import ERROR_CLASSES
from forksafe_psycopg._session import Statement

logger = logging.getLogger("forksafe_psycopg")

Callback = Callable[[Connection[Any]], object]

# Not these: ACTIVE (in the middle of a statement or a COPY), UNKNOWN (closed or broken).
_BETWEEN_STATEMENTS = (
    TransactionStatus.IDLE,
    TransactionStatus.INTRANS,
    TransactionStatus.INERROR,
)


def ask_first(conn: Connection[Any], alive: Sentinel) -> None:
    """Make every method that talks to the server check for a fork first.

    If no at-fork hook ran, a child may use an inherited connection before it calls the pool: the
    check severs it. psycopg sends and reads everything through ``wait``, except in ``close`` and
    the ``cancel`` methods.
    """
    itself = weakref.ref(conn)  # a cycle would keep a dropped connection until the GC runs
    descriptor = Descriptor()
    setattr(conn, _DESCRIPTOR, descriptor)

    def asking(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def ask(*args: Any, **kwargs: Any) -> Any:
            conn = itself()
            # libpq cancels on another socket, with the parent's key, so a child must not cancel.
            # If only the bound method was kept, the connection may be gone: do nothing.
            if conn is None or (name.startswith("cancel") and not alive):
                return None
            if not alive:
                pools()
                with DeadEnd() as dead_end:  # the pool may be gone, or not hold it yet
                    if not sever(conn, _descriptor, dead_end, descriptor):
                        keep_for_ever(conn)
                        if name == "close":
                            return None
                        raise OperationalError(
                            "the connection is lost: it came through a fork, and its descriptor "
                            "was closed since"
                        )
            return method(conn, *args, **kwargs)

        return ask

    for name in ("wait", "close", "cancel", "cancel_safe"):
        method = getattr(conn.__class__, name, None)
        if method is not None:  # cancel_safe exists since psycopg 3.2
            setattr(conn, name, asking(name, method))


_DESCRIPTOR = "_forksafe_descriptor"


class PsycopgDriver(Driver[Connection[Any]]):
    """The callbacks passed to `Pool`, with a check of the connection's status after each."""

    error_classes = ERROR_CLASSES
    has_reset = True

    def __init__(
        self,
        connect: Callable[..., Connection[Any]],
        *,
        check: Callback | None = None,
        reset: Callback | str | None = None,
        fileno: Callable[[Connection[Any]], int] | None = None,
        **callbacks: Any,
    ) -> None:
        reset = options.function_or_statement("reset", reset)
        self._statement = Statement(reset) if isinstance(reset, str) else None
        reset = self._start_anew if isinstance(reset, str) else reset
        check = _answers if check is None else check
        fileno = _descriptor if fileno is None else fileno
        super().__init__(connect, check=check, reset=reset, fileno=fileno, **callbacks)

    def is_server_failure(self, error: Exception) -> bool:
        if isinstance(error, psycopg.Error) and not isinstance(
            error, (OperationalError, psycopg.InterfaceError)
        ):
            return False  # for example, a wrong statement in configure
        return super().is_server_failure(error)

    def must_evict(self, error: BaseException) -> bool:
        if self._evict_on is None:
            return _is_read_only(error)
        return super().must_evict(error)

    def validate_new(self, conn: Any, connections: dict[int, Connection[Any]]) -> PoolError | None:
        error = super().validate_new(conn, connections)
        if error is None and not hasattr(conn, "pgconn"):
            return self.error(
                PoolError,
                f"connect of {self.pool_name} returned {conn!r}, not a connection of psycopg's",
            )
        return error

    def descriptor_of(self, conn: Connection[Any]) -> Descriptor:
        descriptor: Descriptor | None = getattr(conn, _DESCRIPTOR, None)
        return Descriptor() if descriptor is None else descriptor

    def configure(self, conn: Connection[Any]) -> None:
        super().configure(conn)
        status = conn.info.transaction_status
        if status != TransactionStatus.IDLE:
            raise ProgrammingError(
                f"configure of {self.pool_name} left the connection in the state {status.name}: "
                "let it commit, or set autocommit"
            )
        if self._statement is not None:
            self._statement.remember(conn)

    def is_alive(self, conn: Connection[Any]) -> bool:
        return super().is_alive(conn) and _is_clean(conn)

    def reset(self, conn: Connection[Any]) -> bool:
        if not _is_clean(conn):
            return False
        # The exception being handled, if the connection is released in a `finally` or `except`.
        error = sys.exc_info()[1]
        if error is not None and self._evict_on is None and _is_read_only(error):
            logger.info("a connection is closed, not reused: its server is read-only: %s", error)
            return False
        if self._reset is None:
            return True
        return super().reset(conn) and self._has_ended(conn) and _is_clean(conn)

    def _start_anew(self, conn: Connection[Any]) -> None:
        assert self._statement is not None  # noqa: S101 - for mypy
        self._statement(conn)
        self.configure(conn)  # the statement may have undone it

    def _has_ended(self, conn: Connection[Any]) -> bool:
        """Whether `reset` has ended its transaction: a rollback would undo the reset."""
        status = conn.info.transaction_status
        if status not in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            return True
        logger.warning(
            "reset of %s left the connection in the state %s, and it is closed: let reset commit, "
            'or set autocommit, or give its statement as text: reset="DISCARD ALL"',
            self.pool_name,
            status.name,
        )
        return False

    def reset_sends(self, conn: Connection[Any]) -> bool:
        # Without a transaction there is nothing to roll back.
        return self._reset is not None or (conn.pgconn.transaction_status != TransactionStatus.IDLE)

    def free_severed(self, conn: Connection[Any]) -> None:
        # psycopg frees an inherited connection and its descriptor only if it is closed explicitly,
        # and close() does not take the lock. The lock's holder may have left libpq's memory
        # inconsistent, so that connection stays severed and is not closed.
        if not conn.lock.locked():
            with contextlib.suppress(Exception):
                conn.close()


def _is_read_only(error: BaseException | None) -> bool:
    """Whether the error, or one in its chain of causes, says that the server is read-only."""
    for _ in range(10):  # a chain may be circular
        if error is None or isinstance(error, ReadOnlySqlTransaction):
            break
        error = error.__cause__
    return isinstance(error, ReadOnlySqlTransaction)


def _is_clean(conn: Connection[Any]) -> bool:
    """Whether the connection can be reused. Rolls an open transaction back."""
    try:
        if conn.lock.locked():  # an open notifies(), for which rollback() would wait
            raise ProgrammingError("a generator of the connection was left open")
        if conn.pgconn.pipeline_status != PipelineStatus.OFF:
            raise ProgrammingError("a pipeline was left open")
        status = conn.info.transaction_status
        if status not in _BETWEEN_STATEMENTS:
            raise ProgrammingError(f"the connection is in the state {status.name}")
        # Sends nothing if there is nothing to roll back. Raises if conn.transaction() or a
        # two-phase transaction is still open.
        conn.rollback()
    except Exception as error:
        logger.info("a connection is closed, not reused: %s", error)
        return False
    return True


def _descriptor(conn: Connection[Any]) -> int:
    try:
        return conn.fileno()
    except OperationalError:  # closed, or lost
        return -1


def _answers(conn: Connection[Any]) -> bool:
    """Alive if the socket is not readable; otherwise it may hold a notification or end-of-file,
    and a round trip decides."""
    if is_readable(conn.fileno()):
        conn.execute("")
    return True
