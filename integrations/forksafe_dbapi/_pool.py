"""The pool, and how a connection is prepared for its next user."""

from __future__ import annotations

import logging
import secrets
import sys
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Protocol, TypeVar

import forksafe_pool
from forksafe_pool import PoolError
from forksafe_pool._driver import Driver

logger = logging.getLogger("forksafe_dbapi")


class Connection(Protocol):
    """What the pool uses of a DB-API connection, beside what shows its socket."""

    def cursor(self) -> Any: ...

    def rollback(self) -> object: ...

    def close(self) -> object: ...


C = TypeVar("C", bound=Connection)


class DbapiDriver(Driver[C]):
    """The callbacks given to `Pool`, with a rollback wherever one may have begun a transaction."""

    has_reset = True

    def __init__(self, *callbacks: Any) -> None:
        super().__init__(*callbacks)
        #: By id(), those whose block was ended by an exception.
        self._doubtful: set[int] = set()

    def refuse(self, conn: Any, roster: dict[int, C]) -> PoolError | None:
        error = super().refuse(conn, roster)
        if error is None and not callable(getattr(conn, "cursor", None)):
            return PoolError(
                f"connect of {self.pool_name} returned {conn!r}, not a DB-API connection: it has "
                "no cursor()"
            )
        return error

    def is_alive(self, conn: C) -> bool:
        return super().is_alive(conn) and (self._check is None or _rolls_back(conn))

    def is_in_step(self, conn: C) -> bool:
        self._doubtful.add(id(conn))  # left to reset, which follows
        return True

    def reset(self, conn: C) -> bool:
        doubtful = id(conn) in self._doubtful
        self._doubtful.discard(id(conn))
        # Set in the `finally` or `except` that a connection is released in.
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, (Exception, GeneratorExit)):
            logger.info("a connection is closed, not reused: released after %s", kind.__name__)
            return False
        if not _rolls_back(conn):
            return False
        # A signal's exception (a time limit, say) may strike between a statement and its reply,
        # and most drivers would take that for the reply to their ROLLBACK.
        if (doubtful or kind is not None) and not (_answers(conn) and _rolls_back(conn)):
            return False
        return self._reset is None or (super().reset(conn) and _rolls_back(conn))


def _rolls_back(conn: Any) -> bool:
    """Whether it does: a connection that is closed, broken or out of step does not."""
    try:
        conn.rollback()
        # In autocommit mode psycopg2 rolls nothing back, whatever a BEGIN has begun. 0 is idle.
        status = getattr(conn, "get_transaction_status", None)
        if status is not None and status() != 0:
            raise PoolError("a transaction is still open after the rollback")
    except Exception as error:
        logger.info("a connection is closed, not reused: %s", error)
        return False
    return True


def _answers(conn: Any) -> bool:
    """Whether it answers what it is asked."""
    number = secrets.randbelow(10**9)
    try:
        with closing(conn.cursor()) as cursor:
            cursor.execute(f"SELECT {number}")
            row = cursor.fetchone()
        if [number] == list(row.values() if isinstance(row, Mapping) else row):
            return True
        logger.info("a connection is closed, not reused: it answers an earlier statement")
    except Exception as error:
        logger.info("a connection is closed, not reused: %s", error)
    return False


class Pool(forksafe_pool.Pool[C]):
    """A pool of DB-API connections.

    A transaction that a connection comes back with is rolled back, as PEP 249 has it for one that
    is closed: commit what is to stay. A connection that cannot roll back is closed and replaced.
    So is one that is released in the ``finally`` of an exception and answers what was asked before.

    What else a user changes in a session (autocommit, ``SET``, temporary tables) stays: `reset`
    can change it back. `configure` has to commit what it does.

    Parameters are those of `forksafe_pool.Pool`. ``connect`` makes a connection:
    ``lambda: psycopg2.connect("dbname=shop")``. A driver whose connections show their socket
    neither as ``fileno()`` nor as ``sock`` or ``_sock`` needs ``fileno=``.
    """

    _driver_class: type[Driver[C]] = DbapiDriver
