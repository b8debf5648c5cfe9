"""What ``reset="DISCARD ALL"`` does: the session, and the connection, as they were made."""

from __future__ import annotations

import re
from typing import Any

from psycopg import Connection, Cursor
from psycopg.rows import tuple_row

# What a user may change on the connection object, of which the server knows nothing.
_ATTRIBUTES = (
    *("autocommit", "isolation_level", "read_only", "deferrable"),
    *("row_factory", "cursor_factory", "server_cursor_factory"),
    *("prepare_threshold", "prepared_max"),
)


class Statement:
    """A `reset` that is given as text. It runs outside a transaction: some may run there only, and
    what they do is not to be rolled back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._deallocates = re.search(r"\b(DISCARD|DEALLOCATE)\b", text, re.IGNORECASE)
        #: As `configure` has left them. They are the same for all connections of a pool.
        self._attributes: dict[str, Any] = {}

    def remember(self, conn: Connection[Any]) -> None:
        """To be called for a new connection."""
        self._attributes = {name: getattr(conn, name) for name in _ATTRIBUTES}

    def __call__(self, conn: Connection[Any]) -> None:
        for name, value in self._attributes.items():
            if getattr(conn, name) != value:
                setattr(conn, name, value)
        if self._deallocates is not None:
            # psycopg looks at the command's tag only where it prepares statements, and not each
            # time even there: it would use what the server has forgotten.
            conn._prepared.clear()
        autocommit = conn.autocommit
        conn.autocommit = True
        with Cursor(conn, row_factory=tuple_row) as cursor:
            cursor.execute(self._text.encode(), prepare=False)
        conn.autocommit = autocommit
