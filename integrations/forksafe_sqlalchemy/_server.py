"""What an engine does about its server, as listeners of SQLAlchemy's: nothing for users to call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolResetState

from forksafe_sqlalchemy._connections import Record

# MySQL's and MariaDB's: read_only is set; the transaction, or the whole server, is read-only.
_OPTION_PREVENTS_STATEMENT = 1290
_READ_ONLY = (1792, 1836)


def listen(dialect: object) -> None:
    """Have an engine's dialect tell of errors. Again is a no-op."""
    if isinstance(dialect, Dialect):  # a pool that is used without an engine has none
        event.listen(dialect, "handle_error", evict)


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
