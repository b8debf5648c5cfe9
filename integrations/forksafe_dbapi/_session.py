"""``reset="DISCARD ALL"``: restores the session and the connection's attributes."""

from __future__ import annotations

from contextlib import closing
from typing import Any

# Attributes of psycopg2 and sqlite3 that a user may change and that exist only on the client.
# `autocommit` is a method in other drivers, such as PyMySQL: see `remember`.
_ATTRIBUTES = (
    *("autocommit", "isolation_level", "readonly", "deferrable"),
    *("cursor_factory", "row_factory", "text_factory"),
)


class Statement:
    """A `reset` that is passed as a string. It runs outside a transaction if the driver allows it,
    because some statements require it and because their effect must not be rolled back."""

    def __init__(self, text: str) -> None:
        self._text = text
        #: Their values after `configure`, the same for all connections of a pool.
        self._attributes: dict[str, Any] = {}
        self._autocommit: bool | None = None

    def remember(self, conn: Any) -> None:
        """Record the attributes of a new connection."""
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
        # PyMySQL and mysqlclient know the mode without a query to the server.
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
    # A row factory is callable too, so check the class.
    return callable(getattr(type(conn), name, None))


def is_in_transaction(conn: Any) -> bool:
    """As far as the driver knows without a query to the server."""
    status = getattr(conn, "get_transaction_status", None)  # psycopg2: 0 is idle
    if status is not None:
        return bool(status() != 0)
    flags = getattr(conn, "server_status", None)  # PyMySQL: SERVER_STATUS_IN_TRANS
    if isinstance(flags, int):
        return bool(flags & 1)
    return getattr(conn, "in_transaction", None) is True  # sqlite3
