"""``reset="DISCARD ALL"``: restores the session and the connection's attributes."""

from __future__ import annotations

import re
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

# Attributes that a user may change and that exist only on the client.
_ATTRIBUTES = (
    *("autocommit", "isolation_level", "read_only", "deferrable"),
    *("row_factory", "cursor_factory", "server_cursor_factory"),
    *("prepare_threshold", "prepared_max"),
)


class Statement:
    """A `reset` that is passed as a string. It runs outside a transaction, because some statements
    require it and because their effect must not be rolled back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._deallocates = re.search(r"\b(DISCARD|DEALLOCATE)\b", text, re.IGNORECASE)
        #: Their values after `configure`, the same for all connections of a pool.
        self._attributes: dict[str, Any] = {}

    def remember(self, conn: Connection[Any]) -> None:
        """Record the attributes of a new connection."""
        self._attributes = {name: getattr(conn, name) for name in _ATTRIBUTES}

    def __call__(self, conn: Connection[Any]) -> None:
        for name, value in self._attributes.items():
            if getattr(conn, name) != value:
                setattr(conn, name, value)
        if self._deallocates is not None:
            # psycopg checks the command's tag only if it prepares statements, and not always even
            # then: it would use statements that the server has deallocated.
            conn._prepared.clear()
        autocommit = conn.autocommit
        conn.autocommit = True
        with Cursor(conn, row_factory=tuple_row) as cursor:
            cursor.execute(self._text.encode(), prepare=False)
        conn.autocommit = autocommit
