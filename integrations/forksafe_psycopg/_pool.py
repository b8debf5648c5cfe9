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
    """psycopg's marker for pooled connections: ``with conn:`` does not close one, and one that is
    open when the program or a forked child exits causes no ResourceWarning."""

    close_returns = False


_POOLED: Any = _Pooled()


class Pool(forksafe_pool.Pool[Connection[Any]]):
    """A pool of psycopg connections.

    ``with pool.connection() as conn:`` is a transaction, as ``with psycopg.connect() as conn:``
    is: it commits at the end, or rolls back if the block raises. A connection from `acquire` is
    rolled back on release unless it was committed. If it is broken, or in the middle of a
    statement, a pipeline or ``conn.transaction()``, it is closed and replaced.

    Other session state stays, as with psycopg_pool, unless there is a `reset`.
    ``reset="DISCARD ALL"`` is a statement that runs outside a transaction; it discards ``SET``,
    temporary tables, advisory locks, ``LISTEN`` and prepared statements. The connection's
    attributes (``autocommit``, ``isolation_level``, ``row_factory`` …) are restored, and
    `configure` runs again, because its ``SET`` is discarded too. Added handlers and adapters stay.
    Several statements in one string run in one transaction, which ``DISCARD ALL`` rejects. A
    `reset` function must commit, and so must `configure`: if a `reset` leaves a transaction open,
    a warning is logged and the connection is closed.

    The ``timeout`` of `acquire` also bounds the connect, as ``connect_timeout``: in whole seconds,
    at least two, and for all hosts together; a host name with several addresses may take that long
    for each. A shorter ``connect_timeout`` is kept.

    A block that ends because the server is read-only (sqlstate 25006: a failover) drains the pool,
    so a failover costs one error. ``evict_on`` replaces this rule. If the block handles the error
    itself, call ``pool.drain()``. A connection that is explicitly released while such an error is
    handled (in a ``finally``) is closed; the others are not.

    Parameters:
        conninfo: as for ``psycopg.connect``: ``"dbname=shop"``, ``"postgresql://…"``.
        kwargs: more arguments for ``psycopg.connect``: ``{"autocommit": True}``.
        connection_class: a subclass of `psycopg.Connection`, whose ``connect`` is called.
        options: those of `forksafe_pool.Pool`: ``max_size``, ``timeout``, ``check`` …. By default
            a connection that was idle for ``check_after`` is checked with a round trip only if its
            socket is readable.

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
        # A custom class may accept other arguments than psycopg's.
        _arguments.check(conninfo, arguments if connection_class is Connection else {})

        limit = ConnectLimit(connection_class.connect, conninfo, arguments)

        def connect(timeout: float | None) -> Connection[Any]:
            alive = extend.sentinel()  # before the connect: a signal handler may fork during it
            conn = connection_class.connect(conninfo, **(arguments | limit.arguments(timeout)))
            if hasattr(conn, "pgconn"):  # a custom class may return anything
                conn._pool = _POOLED
                ask_first(conn, alive)
            return conn

        callbacks, others = extend.options.split(options)
        super().__init__(driver=PsycopgDriver(connect, reset=reset, **callbacks), **others)
