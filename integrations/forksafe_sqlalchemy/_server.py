"""What an engine does about its server, as listeners of SQLAlchemy's: nothing for users to call."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, event, exc
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolResetState

from forksafe_sqlalchemy._connections import Record

# MySQL's and MariaDB's: read_only is set; the transaction, or the whole server, is read-only.
_OPTION_PREVENTS_STATEMENT = 1290
_READ_ONLY = (1792, 1836)


# PEP 249's errors of who connects.
_MISTAKES = ("ProgrammingError", "NotSupportedError", "DataError")


def listen(dialect: object) -> None:
    """Have an engine's dialect tell of attempts to connect and of errors. Again is a no-op."""
    if isinstance(dialect, Dialect):  # a pool that is used without an engine has none
        event.listen(dialect, "do_connect", limit)
        event.listen(dialect, "handle_error", evict)


# -- connecting -----------------------------------------------------------------------------------


def is_failure(error: Exception, dialect: object) -> bool:
    """Whether a failed attempt to connect says something about the server, as far as the driver is
    known: not what a listener, or a signal handler, has raised."""
    if isinstance(error, exc.DBAPIError):  # of a statement, in a listener of "connect"
        error = error.orig  # type: ignore[assignment]
    module = getattr(dialect, "dbapi", None)
    if module is None:
        return not isinstance(error, exc.SQLAlchemyError)
    # By name: not every module has all of them.
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, (module.Error, OSError)) and names.isdisjoint(_MISTAKES)


def limit(dialect: Any, record: Any, cargs: list[Any], cparams: dict[str, Any]) -> None:
    """Tell the driver what is left of the caller's timeout, unless it has a shorter limit."""
    seconds = record.seconds_to_connect if isinstance(record, Record) else None
    if seconds is None:
        return
    # By its module: create_engine(module=…) may have brought another one.
    driver = getattr(getattr(dialect, "dbapi", None), "__name__", None)
    if driver in ("psycopg", "psycopg2"):
        usual = cparams.get("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT"))
        _limit_connect_timeout(cparams, usual, seconds)
    elif driver == "MySQLdb":
        _limit_connect_timeout(cparams, cparams.get("connect_timeout"), seconds)
    elif driver == "pymysql":
        # Its connect_timeout, 10 by default, ends before the server has to say anything.
        cparams["connect_timeout"] = min(seconds, cparams.get("connect_timeout", 10))
        usual = cparams.get("read_timeout")
        cparams["read_timeout"] = seconds = min(seconds, usual or seconds)
        record.read_timeouts = seconds, usual


def _limit_connect_timeout(cparams: dict[str, Any], usual: Any, seconds: float) -> None:
    try:
        usual = float(usual or 0)
    except (TypeError, ValueError):
        return  # the driver will say so
    if not 0 < usual <= seconds:
        cparams["connect_timeout"] = math.ceil(seconds)  # whole seconds: 0 would be no limit


def lift_limit(record: Record) -> None:
    """What was to limit the connecting is not to limit statements."""
    (limited, usual), record.read_timeouts = record.read_timeouts, (None, None)
    conn: Any = record.dbapi_connection
    if limited is not None and getattr(conn, "_read_timeout", None) == limited:
        conn._read_timeout = usual  # PyMySQL's; it has no method for that


# -- in use ---------------------------------------------------------------------------------------


def evict(context: ExceptionContext) -> None:
    """Replace every connection where the server takes no writes any more: it was demoted."""
    if is_read_only(context.original_exception):
        context.is_disconnect = True


def is_read_only(error: BaseException) -> bool:
    """Whether the server says so. Its drivers have no exception of their own for that."""
    if "25006" in (getattr(error, "sqlstate", None), getattr(error, "pgcode", None)):
        return True
    if isinstance(error, OSError) or not error.args:
        return False
    code, said = error.args[0], str(error.args[-1]).lower().replace("_", "-")
    # Other options that prevent statements have the same number.
    return code in _READ_ONLY or (code == _OPTION_PREVENTS_STATEMENT and "read-only" in said)


def run_on_reset(statement: str) -> Callable[[Any, Record, PoolResetState], None]:
    """A listener of a pool's event ``reset``."""

    def reset(conn: Any, record: Record, state: PoolResetState) -> None:
        if state.terminate_only:
            return
        dialect = record.dialect
        if not state.transaction_was_reset:
            dialect.do_rollback(conn)
        # DISCARD ALL is refused in a transaction, and what others set would be rolled back.
        dialect.set_isolation_level(conn, "AUTOCOMMIT")
        try:
            cursor = conn.cursor()
            cursor.execute(statement)
            cursor.close()
        finally:
            dialect.reset_isolation_level(conn)

    return reset
