"""The pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from psycopg import Connection

import forksafe_pool
from forksafe_pool import extend
from forksafe_psycopg import _arguments
from forksafe_psycopg._driver import PsycopgDriver, ask_first
from forksafe_psycopg._lease import Transaction
from forksafe_psycopg._limits import ConnectLimit

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from forksafe_pool.extend import PoolOptions


class _Pooled:
    """psycopg's own mark for what belongs to a pool: ``with conn:`` does not close it, and it may
    end with the program, or with a child's copy of it, without a ResourceWarning."""

    close_returns = False


_POOLED: Any = _Pooled()


class Pool(forksafe_pool.Pool[Connection[Any]]):
    """A pool of psycopg's connections.

    ``with pool.connection() as conn:`` is a transaction, as ``with psycopg.connect() as conn:``
    is: it commits at the end, or rolls back where the block raises. A connection taken by
    `acquire` is rolled back, unless it was committed, when it comes back. One that comes back
    broken, in the middle of a statement, of a pipeline or of ``conn.transaction()``, is closed
    and replaced.

    What else a user changes in a session stays, as with psycopg_pool, but for a `reset`. As text,
    ``reset="DISCARD ALL"``, it is a statement that runs outside a transaction: ``SET``, temporary
    tables, advisory locks, ``LISTEN`` and prepared statements are gone then. With it the connection
    gets back the attributes it had (``autocommit``, ``isolation_level``, ``row_factory`` …), and
    `configure` prepares it again, whose ``SET`` is gone as well. Handlers and adapters that were
    added stay. Several statements in one text are one transaction, which ``DISCARD ALL`` refuses.
    A function has to commit what it does, as `configure` has: what it leaves open is told by a
    warning, and the connection is closed.

    The ``timeout`` of `acquire` bounds the connecting as well, as ``connect_timeout``: in whole
    seconds, two at least, and for all hosts together; a name that has several addresses may take
    as long for each. A shorter ``connect_timeout`` stays.

    A block that ends because the server is read-only (sqlstate 25006: a failover) drains the pool,
    so that it costs one error. An ``evict_on`` of yours replaces this rule. ``pool.drain()`` does
    the same where the block handles the error. What is released by hand while such an error is
    handled (in a ``finally``) is closed, and no other.

    Parameters:
        conninfo: what ``psycopg.connect`` takes: ``"dbname=shop"``, ``"postgresql://…"``.
        kwargs: more arguments for ``psycopg.connect``: ``{"autocommit": True}``.
        connection_class: a subclass of `psycopg.Connection`, whose ``connect`` is called.
        options: those of `forksafe_pool.Pool`: ``max_size``, ``timeout``, ``check`` …. By default
            a connection that was idle for ``check_after`` is asked whether it is alive only where
            it has something to say.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it.
    """

    lease_class = Transaction

    def __init__(
        self,
        conninfo: str = "",
        *,
        kwargs: Mapping[str, Any] | None = None,
        connection_class: type[Connection[Any]] = Connection,
        reset: Callable[[Connection[Any]], object] | str | None = None,
        **options: Unpack[PoolOptions[Connection[Any]]],
    ) -> None:
        _arguments.check_kinds(conninfo, kwargs)
        if not (isinstance(connection_class, type) and issubclass(connection_class, Connection)):
            raise TypeError(
                f"connection_class must be a subclass of psycopg.Connection, "
                f"not {connection_class!r}"
            )
        arguments = dict(kwargs or {})
        for name in arguments:
            extend.options.text("a name in kwargs", name)
        # A class of one's own may take what psycopg's does not.
        _arguments.check(conninfo, arguments if connection_class is Connection else {})

        limit = ConnectLimit(connection_class.connect, conninfo, arguments)

        def connect(timeout: float | None) -> Connection[Any]:
            alive = extend.sentinel()  # before: a signal's handler may fork inside
            conn = connection_class.connect(conninfo, **(arguments | limit.arguments(timeout)))
            if hasattr(conn, "pgconn"):  # whatever a class of one's own has returned
                conn._pool = _POOLED
                ask_first(conn, alive)
            return conn

        callbacks, others = extend.options.split(options)
        super().__init__(driver=PsycopgDriver(connect, reset=reset, **callbacks), **others)
