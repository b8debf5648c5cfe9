"""Checks and resets DB-API connections."""

from __future__ import annotations

import logging
import sys
from typing import Any, Protocol, TypeVar

from forksafe_dbapi import _failures, _queries
from forksafe_dbapi._limits import ConnectLimit
from forksafe_dbapi._session import Statement, is_in_transaction
from forksafe_pool import PoolError
from forksafe_pool.extend import Driver, options

logger = logging.getLogger("forksafe_dbapi")


class Connection(Protocol):
    """The methods of a DB-API connection that the pool uses, besides access to its socket."""

    def cursor(self) -> Any: ...

    def rollback(self) -> object: ...

    def close(self) -> object: ...


C = TypeVar("C", bound=Connection)


class DbapiDriver(Driver[C]):
    """The callbacks passed to `Pool`, with a rollback after each that may begin a transaction."""

    has_reset = True

    def __init__(
        self,
        connect: Any,
        *,
        reset: Any = None,
        test_query: str | None = None,
        **callbacks: Any,
    ) -> None:
        reset = options.function_or_statement("reset", reset)
        self._statement = Statement(reset) if isinstance(reset, str) else None
        reset = self._start_anew if isinstance(reset, str) else reset
        super().__init__(connect, reset=reset, **callbacks)
        self._test_query = _queries.checked(test_query)
        self._limit = ConnectLimit(connect)
        #: The id() of connections whose block was ended by an exception.
        self._doubtful: set[int] = set()

    def connect(self, timeout: float | None) -> C:
        if self._timeout is not None and not self._limit.is_a_driver_s:
            return super().connect(timeout)
        arguments = {} if timeout is None else self._limit.arguments(timeout)
        conn = self._connect(**arguments)
        self._limit.lift(conn, arguments)
        return conn

    def is_server_failure(self, error: Exception) -> bool:
        return super().is_server_failure(error) and not _failures.is_of_the_request(error)

    def must_evict(self, error: BaseException) -> bool:
        if self._evict_on is None:
            return _failures.is_read_only(error)
        return super().must_evict(error)

    def validate_new(self, conn: Any, connections: dict[int, C]) -> PoolError | None:
        error = super().validate_new(conn, connections)
        if error is None and not callable(getattr(conn, "cursor", None)):
            return self.error(
                PoolError,
                f"connect of {self.pool_name} returned {conn!r}, not a DB-API connection: it has "
                "no cursor()",
            )
        return error

    def configure(self, conn: C) -> None:
        super().configure(conn)
        if self._statement is not None:
            self._statement.remember(conn)

    def is_alive(self, conn: C) -> bool:
        return super().is_alive(conn) and (self._check is None or _rolls_back(conn))

    def reset_sends(self, conn: C) -> bool:
        # psycopg2 knows whether there is anything to roll back.
        status = getattr(conn, "get_transaction_status", None)
        return status is None or self._reset is not None or status() != 0

    def is_synchronized(self, conn: C) -> bool:
        self._doubtful.add(id(conn))  # decided in reset, which follows
        return True

    def reset(self, conn: C) -> bool:
        doubtful = id(conn) in self._doubtful
        self._doubtful.discard(id(conn))
        # The exception being handled, if the connection is released in a `finally` or `except`.
        kind, error, _ = sys.exc_info()
        if kind is not None and not issubclass(kind, (Exception, GeneratorExit)):
            logger.info("a connection is closed, not reused: released after %s", kind.__name__)
            return False
        if self._evict_on is None and _failures.is_read_only(error):
            logger.info("a connection is closed, not reused: its server is read-only: %s", error)
            return False
        if not _rolls_back(conn):
            return False
        # A signal handler (for example a time limit) may raise between a statement and its reply,
        # and most drivers would read that as the reply to ROLLBACK.
        if (doubtful or kind is not None) and not (self._answers(conn) and _rolls_back(conn)):
            return False
        if self._reset is None:
            return True
        return super().reset(conn) and self._has_ended(conn) and _rolls_back(conn)

    def _start_anew(self, conn: C) -> None:
        assert self._statement is not None  # noqa: S101 - for mypy
        self._statement(conn)
        self.configure(conn)  # the statement may have undone it

    def _has_ended(self, conn: C) -> bool:
        """Whether `reset` has ended its transaction: a rollback would undo the reset."""
        try:
            if getattr(conn, "closed", False) or not is_in_transaction(conn):
                return True
        except Exception:  # closed: sqlite3 raises; the rollback that follows detects it
            return True
        logger.warning(
            "reset of %s left a transaction open, and the connection is closed: let reset commit, "
            'or give its statement as text: reset="DISCARD ALL"',
            self.pool_name,
        )
        return False

    def _answers(self, conn: C) -> bool:
        query = self._test_query or _queries.for_driver(conn)
        try:
            if _queries.answers(conn, query):
                return True
        except Exception as error:
            if _failures.is_of_the_connection(error):
                logger.info("a connection is closed, not reused: %s", error)
            else:
                logger.warning(
                    "%s: a connection is closed after an error, since %r fails: %s; where its "
                    "server wants another query, give it as test_query",
                    *(self.pool_name, query, error),
                )
            return False
        logger.info("a connection is closed, not reused: it answers an earlier statement")
        return False


def _rolls_back(conn: Any) -> bool:
    """Roll back. False if that fails: the connection is closed, broken or out of step."""
    try:
        conn.rollback()
        # In autocommit mode psycopg2 does not roll back, even after an explicit BEGIN. 0 is idle.
        status = getattr(conn, "get_transaction_status", None)
        if status is not None and status() != 0:
            raise PoolError("a transaction is still open after the rollback")
    except Exception as error:
        logger.info("a connection is closed, not reused: %s", error)
        return False
    return True
