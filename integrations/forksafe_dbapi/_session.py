"""What ``reset="DISCARD ALL"`` does: the session, and the connection, as they were made."""

from __future__ import annotations

from contextlib import closing
from typing import Any

# What a user may change on the connection object, of which the server knows nothing: psycopg2's
# and sqlite3's. Where `autocommit` is a method, as PyMySQL's is, see below.
_ATTRIBUTES = (
    *("autocommit", "isolation_level", "readonly", "deferrable"),
    *("cursor_factory", "row_factory", "text_factory"),
)


class Statement:
    """A `reset` that is given as text. It runs outside a transaction, where the driver lets it:
    some may run there only, and what they do is not to be rolled back."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: As `configure` has left them. They are the same for all connections of a pool.
        self._attributes: dict[str, Any] = {}
        self._autocommit: bool | None = None

    def remember(self, conn: Any) -> None:
        """To be called for a new connection."""
        self._attributes = {
            name: getattr(conn, name)
            for name in _ATTRIBUTES
            if hasattr(conn, name) and not _is_method(conn, name)
        }
        if _is_method(conn, "autocommit") and hasattr(conn, "get_autocommit"):
            self._autocommit = bool(conn.get_autocommit())

    def __call__(self, conn: Any) -> None:
        for name, value in self._attributes.items():
            if getattr(conn, name) != value:
                setattr(conn, name, value)
        # PyMySQL's and mysqlclient's: known without a question to the server.
        if self._autocommit is not None and bool(conn.get_autocommit()) != self._autocommit:
            conn.autocommit(self._autocommit)
        autocommit = self._attributes.get("autocommit", True)
        if autocommit is not True:
            conn.autocommit = True
        with closing(conn.cursor()) as cursor:
            cursor.execute(self._text)
        if autocommit is not True:
            conn.autocommit = autocommit
        else:
            conn.commit()


def _is_method(conn: Any, name: str) -> bool:
    # A row factory may be called as well.
    return callable(getattr(type(conn), name, None))


def is_in_transaction(conn: Any) -> bool:
    """As far as the driver can tell without asking the server."""
    status = getattr(conn, "get_transaction_status", None)  # psycopg2: 0 is idle
    if status is not None:
        return bool(status() != 0)
    flags = getattr(conn, "server_status", None)  # PyMySQL: SERVER_STATUS_IN_TRANS
    if isinstance(flags, int):
        return bool(flags & 1)
    return getattr(conn, "in_transaction", None) is True  # sqlite3
