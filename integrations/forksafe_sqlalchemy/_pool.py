"""Drop-in for SQLAlchemy's pool: SQLAlchemy's class, implemented with a `forksafe_pool.Pool`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy.pool
from sqlalchemy import event
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from forksafe_pool import PoolTimeout
from forksafe_pool.extend import ProcessLocal, options, own_errors_suppressed
from forksafe_sqlalchemy import _errors, _first_connect, _server
from forksafe_sqlalchemy._connections import Fairy, Record
from forksafe_sqlalchemy._inner import Records


class QueuePool(sqlalchemy.pool.QueuePool):
    """SQLAlchemy's ``QueuePool``, safe under fork: ``create_engine(url, poolclass=QueuePool)``.

    Accepts SQLAlchemy's parameters, fires its events, raises its errors, and serves waiters in FIFO
    order. After a fork the child starts with an empty pool, and the parent keeps its connections.
    The child may close, roll back or drop inherited connections; the server is not affected. Using
    one raises the driver's ``OperationalError`` once, as for any lost connection: the
    ``Connection`` or ``Session`` then continues with a new connection.

    Parameters:
        creator, kw: SQLAlchemy's; `create_engine` passes them.
        pool_size: number of connections kept open when idle. 0: unlimited.
        max_overflow: number of additional connections when all of these are in use. -1: unlimited.
        timeout: seconds to wait for a connection, by default 30. None: forever. psycopg, psycopg2,
            PyMySQL and mysqlclient connect within the time left, for each address of the server, in
            whole seconds except PyMySQL (libpq's minimum is 2). Pass a connect timeout to any other
            driver: ``create_engine(url, connect_args={"connect_timeout": 5})``, or the driver's
            name for it.
        use_lifo: whether the most recently released connection is used first, instead of the one
            that has been idle the longest.
        reset: an SQL statement that runs, outside a transaction, on each released connection:
            ``create_engine(url, poolclass=QueuePool, reset="DISCARD ALL")``. In PostgreSQL this
            discards SET values, advisory locks, prepared statements, LISTENs and temporary tables.
            It also discards what a "connect" listener has SET; put that into the URL:
            ``?options=-csearch_path=shop``. Only for pools of an engine.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it.
    """

    # The logger for which SQLAlchemy's users have set levels and handlers.
    _sqla_logger_namespace = "sqlalchemy.pool.impl.QueuePool"

    _pool: Records  # type: ignore[assignment]

    def __init__(
        self,
        creator: Any,
        pool_size: int = 5,
        max_overflow: int = 10,
        timeout: float | None = 30.0,
        use_lifo: bool = False,
        reset: str | None = None,
        **kw: Any,
    ) -> None:
        options.count("pool_size", pool_size)
        if pool_size:  # 0: the overflow has no meaning, as in SQLAlchemy
            options.count("max_overflow", max_overflow, at_least=-1)
        _check_recycle(kw.get("recycle", -1))
        options.text_or_none("logging_name", kw.get("logging_name"))
        _check_reset(reset)
        super().__init__(creator, pool_size, max_overflow, timeout, use_lifo, **kw)  # type: ignore[arg-type]
        _server.listen(self._dialect)
        if reset is not None:
            event.listen(self, "reset", _server.run_on_reset(reset))  # recreate() copies it
        self._pool = Records(
            lambda: Record(self),
            self._connect,
            pool_size=pool_size,
            max_overflow=max_overflow,
            use_lifo=use_lifo,
            timeout=timeout,
            dialect=lambda: self._dialect,
            name=self._orig_logging_name,
        )
        self._first_connects = ProcessLocal(_first_connect.FirstConnect)

    def _should_wrap_creator(self, creator: Any) -> Callable[[ConnectionPoolEntry], Any]:
        create = super()._should_wrap_creator(creator)
        # SQLAlchemy passes the record to a creator of one argument, and nothing to others.
        options.function("creator", creator, *(["record"] if create is creator else []))

        def create_watched(record: Record) -> Any:
            def connect() -> None:
                # From here on a forked child severs it.
                record.descriptor.clear()
                record.dbapi_connection = create(record)
                with own_errors_suppressed():
                    record.record_descriptor()
                _server.lift_limit(record)

            def connect_within(timeout: float | None) -> None:
                record.seconds_to_connect = timeout
                connect()

            if self._pool.holds(record):  # it has lost its connection
                self._pool.connect_again(record, connect_within)
            else:
                self._pool.track_connect(connect)
            return record.dbapi_connection

        return create_watched  # type: ignore[return-value]

    def _connect(self, record: Record) -> None:
        self._renew_first_connect()
        record.get_connection()

    def _renew_first_connect(self) -> None:
        _server.listen(self._dialect)  # an engine that is given a pool sets the dialect later
        _first_connect.renew(self.dispatch, self._first_connects.get())

    def connect(self) -> PoolProxiedConnection:
        """Return a driver connection in a proxy that releases it on close.

        Raises:
            sqlalchemy.exc.TimeoutError: no connection became available in time.
            sqlalchemy.exc.ResourceClosedError: `forksafe_pool.close_pools` is closing the pool. It
                may be used again afterwards, as after ``dispose()``.
        """
        return Fairy.of(super().connect())

    def _do_get(self) -> ConnectionPoolEntry:
        try:
            return self._pool.acquire()
        except PoolTimeout as error:
            raise _errors.PoolTimeout(
                f"QueuePool limit of size {self.size()} overflow {self.overflow()} reached, "
                f"connection timed out, timeout {self._timeout:0.2f}",
                code="3o7r",
            ) from error

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        self._pool.release(record)  # type: ignore[arg-type]

    def _close_connection(self, connection: Any, **how: Any) -> None:
        if self._pool.may_close(connection):
            super()._close_connection(connection, **how)

    def dispose(self) -> None:
        """Close the connections that are not in use. The pool stays usable."""
        self._pool.close(0)
        self.logger.info("Pool disposed. %s", self.status())

    def recreate(self) -> QueuePool:
        """Create a new pool with the settings and the listeners of this one."""
        self._renew_first_connect()
        return super().recreate()  # type: ignore[return-value]

    @property
    def _overflow(self) -> int:
        """Number of open connections, counted from ``-pool_size`` as in SQLAlchemy."""
        return self._pool.size - self._pool.maxsize

    @_overflow.setter
    def _overflow(self, value: int) -> None:
        """SQLAlchemy's own constructor sets it."""


def _check_reset(reset: Any) -> None:
    if reset is None or (isinstance(reset, str) and reset.strip()):
        return
    kind = ValueError if isinstance(reset, str) else TypeError
    raise kind(
        f"reset must be a statement of SQL, not {reset!r}; for a function there is SQLAlchemy's "
        'event "reset"'
    )


def _check_recycle(recycle: Any) -> None:
    """Check that ``recycle`` is a number: SQLAlchemy compares it with -1 and with ages."""
    try:
        is_number = bool(recycle > -1 or recycle <= -1)  # not NaN
    except ArithmeticError:  # a Decimal's NaN is not even compared
        is_number = False
    except TypeError:
        raise TypeError(
            f"recycle must be a number of seconds, or -1 for never, not {recycle!r}"
        ) from None
    if not is_number:
        raise ValueError(f"recycle must be a number of seconds, or -1 for never, not {recycle!r}")
