"""Drop-in for SQLAlchemy's pool: its class outside, a `forksafe_pool.Pool` inside."""

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

    Takes what SQLAlchemy's takes, fires its events, raises its errors, and serves those who wait
    in the order of their arrival. A fork leaves the child with an empty pool and the parent with
    all that it had. What the child inherited it may close, roll back or drop, of which nobody
    hears. To use it raises the driver's ``OperationalError`` of a lost connection, once: as after
    any such error, the ``Connection`` or ``Session`` then goes on with a connection of its own.

    Parameters:
        creator, kw: SQLAlchemy's, which `create_engine` gives.
        pool_size: how many connections are kept open when they are not in use. 0: any number.
        max_overflow: how many more may be open when all of these are in use. -1: any number.
        timeout: seconds to wait for a connection, by default 30. None: for ever. psycopg, psycopg2,
            PyMySQL and mysqlclient connect within what is left of it, for each address of the
            server, in whole seconds but for PyMySQL (libpq takes 2 at least). Give any other
            driver a limit of its own: ``create_engine(url, connect_args={"connect_timeout": 5})``
            or as it calls that.
        use_lifo: whether the connection that came back last is used first, instead of the one
            that has been idle the longest.
        reset: a statement of SQL that is run, outside a transaction, on each connection that
            comes back: ``create_engine(url, poolclass=QueuePool, reset="DISCARD ALL")`` has
            PostgreSQL forget what a user has SET, locked, prepared, LISTENs to, and temporary
            tables; also what a listener of "connect" has SET, which the URL can set instead:
            ``?options=-csearch_path=shop``. For an engine alone.

    Raises:
        TypeError, ValueError: an option is wrong; the message names it.
    """

    # Where SQLAlchemy's users have set its levels and handlers.
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
        if pool_size:  # without one the overflow has no meaning, as in SQLAlchemy
            options.count("max_overflow", max_overflow, at_least=-1)
        _check_recycle(kw.get("recycle", -1))
        options.text_or_none("logging_name", kw.get("logging_name"))
        _check_reset(reset)
        super().__init__(creator, pool_size, max_overflow, timeout, use_lifo, **kw)  # type: ignore[arg-type]
        _server.listen(self._dialect)
        if reset is not None:
            event.listen(self, "reset", _server.run_on_reset(reset))  # recreate() takes it over
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
        # SQLAlchemy gives a record to what takes one argument, and to the rest nothing.
        options.function("creator", creator, *(["record"] if create is creator else []))

        def create_watched(record: Record) -> Any:
            def connect() -> None:
                # From here on a child severs it.
                record.end.clear()
                record.dbapi_connection = create(record)
                with own_errors_suppressed():
                    record.note_end()
                _server.lift_limit(record)

            def connect_within(timeout: float | None) -> None:
                record.seconds_to_connect = timeout
                connect()

            if self._pool.holds(record):  # it has lost its connection
                self._pool.connect_again(record, connect_within)
            else:
                self._pool.watched(connect)
            return record.dbapi_connection

        return create_watched  # type: ignore[return-value]

    def _connect(self, record: Record) -> None:
        self._renew_first_connect()
        record.get_connection()

    def _renew_first_connect(self) -> None:
        _server.listen(self._dialect)  # an engine that is given a pool brings it later
        _first_connect.renew(self.dispatch, self._first_connects.get())

    def connect(self) -> PoolProxiedConnection:
        """A connection of the driver's, in what returns it when it is closed.

        Raises:
            sqlalchemy.exc.TimeoutError: none became available in time.
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
        """A new pool with the settings and the listeners of this one."""
        self._renew_first_connect()
        return super().recreate()  # type: ignore[return-value]

    @property
    def _overflow(self) -> int:
        """How many connections are open, counted from ``-pool_size`` as SQLAlchemy does."""
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
    """SQLAlchemy asks whether it is more than -1, and what has been open for longer."""
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
