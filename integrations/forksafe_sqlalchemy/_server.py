"""Event listeners that limit connect time and handle read-only servers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolResetState

from forksafe_sqlalchemy._connections import Record

# MySQL's and MariaDB's. 1290: read_only is set; 1792, 1836: the transaction or server is read-only.
_OPTION_PREVENTS_STATEMENT = 1290
_READ_ONLY = (1792, 1836)


# PEP 249 errors caused by the client.
_MISTAKES = ("ProgrammingError", "NotSupportedError", "DataError")


def listen(dialect: object) -> None:
    """Register the listeners on an engine's dialect. Calling it twice has no effect."""
    if isinstance(dialect, Dialect):  # a pool that is used without an engine has none
        event.listen(dialect, "do_connect", limit)
        event.listen(dialect, "handle_error", evict)


# -- connecting -----------------------------------------------------------------------------------


def is_failure(error: Exception, dialect: object) -> bool:
    """Whether a failed connect is a failure of the server, as far as the driver is known, and not
    an error that a listener or a signal handler has raised."""
    if isinstance(error, exc.DBAPIError):  # from a statement in a "connect" listener
        error = error.orig  # type: ignore[assignment]
    module = getattr(dialect, "dbapi", None)
    if module is None:
        return not isinstance(error, exc.SQLAlchemyError)
    # By name: not every module has all of them.
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, (module.Error, OSError)) and names.isdisjoint(_MISTAKES)


def limit(dialect: Any, record: Any, cargs: list[Any], cparams: dict[str, Any]) -> None:
    """Pass the time left of the caller's timeout to the driver, unless its limit is shorter."""
    seconds = record.seconds_to_connect if isinstance(record, Record) else None
    if seconds is None:
        return
    # By the module's name: create_engine(module=…) may have set another driver.
    driver = getattr(getattr(dialect, "dbapi", None), "__name__", None)
    if driver in ("psycopg", "psycopg2"):
        usual = cparams.get("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT"))
        _limit_connect_timeout(cparams, usual, seconds)
    elif driver == "MySQLdb":
        _limit_connect_timeout(cparams, cparams.get("connect_timeout"), seconds)
    elif driver == "pymysql":
        # Its connect_timeout, by default 10, does not cover the server's greeting.
        cparams["connect_timeout"] = min(seconds, cparams.get("connect_timeout", 10))
        usual = cparams.get("read_timeout")
        cparams["read_timeout"] = seconds = min(seconds, usual or seconds)
        record.read_timeouts = seconds, usual


def _limit_connect_timeout(cparams: dict[str, Any], usual: Any, seconds: float) -> None:
    try:
        usual = float(usual or 0)
    except (TypeError, ValueError):
        return  # the driver raises the error
    if not 0 < usual <= seconds:
        cparams["connect_timeout"] = math.ceil(seconds)  # whole seconds; 0 would mean no limit


def lift_limit(record: Record) -> None:
    """Restore the read timeout, since the limit of the connect must not apply to statements."""
    (limited, usual), record.read_timeouts = record.read_timeouts, (None, None)
    conn: Any = record.dbapi_connection
    if limited is not None and getattr(conn, "_read_timeout", None) == limited:
        conn._read_timeout = usual  # PyMySQL's; it has no method for that


# -- in use ---------------------------------------------------------------------------------------


def evict(context: ExceptionContext) -> None:
    """Replace every connection if the server has become read-only: it was demoted."""
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def is_read_only(error: BaseException) -> bool:
    """Whether the server reports that it is read-only. The drivers have no class for that."""
    if "25006" in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)):
        return True
    if isinstance(error, OSError) or not error.args:
        return False
    code, said = error.args[0], str(error.args[-1]).lower().replace("_", "-")
    # Other options that prevent statements have the same number.
    return code in _READ_ONLY or (code == _OPTION_PREVENTS_STATEMENT and "read-only" in said)


def run_on_reset(statement: str) -> Callable[[Any, Record, PoolResetState], None]:
    """Create a listener for a pool's ``reset`` event."""

    def reset(conn: Any, record: Record, state: PoolResetState) -> None:
        if state.terminate_only:
            return
        dialect = record.dialect
        if not state.transaction_was_reset:
            dialect.do_rollback(conn)
        # A transaction rejects DISCARD ALL, and would roll back the effect of other statements.
        dialect.set_isolation_level(conn, "AUTOCOMMIT")
        try:
            cursor = conn.cursor()
            cursor.execute(statement)
            cursor.close()
        finally:
            dialect.reset_isolation_level(conn)

    return reset
