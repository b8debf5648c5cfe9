"""The query that tests whether a connection is in step, in the dialect of its server."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import closing
from typing import Any

_BY_DRIVER = {
    "cx_Oracle": "SELECT {} FROM DUAL",
    "oracledb": "SELECT {} FROM DUAL",
    "fdb": "SELECT {} FROM RDB$DATABASE",
    "firebird": "SELECT {} FROM RDB$DATABASE",
    "firebirdsql": "SELECT {} FROM RDB$DATABASE",
    "hdbcli": "SELECT {} FROM DUMMY",
    "ibm_db_dbi": "SELECT {} FROM SYSIBM.SYSDUMMY1",
}


def checked(query: Any) -> str | None:
    """Return the option ``test_query``. Raises TypeError or ValueError if it is invalid."""
    expected = f'test_query must be text with one {{}}, such as "VALUES {{}}", not {query!r}'
    if query is not None and not isinstance(query, str):
        raise TypeError(expected)
    if query is not None and query.count("{}") != 1:
        raise ValueError(expected)
    return query


def for_driver(conn: object) -> str:
    """The query for the module of the connection's class, or of one of its base classes."""
    for kind in type(conn).__mro__:
        query = _BY_DRIVER.get(kind.__module__.partition(".")[0])
        if query is not None:
            return query
    return "SELECT {}"


def answers(conn: Any, query: str) -> bool:
    """Whether the connection returns the reply to this query, not to an earlier statement."""
    number = secrets.randbelow(10**9)
    with closing(conn.cursor()) as cursor:
        cursor.execute(query.replace("{}", str(number)))
        row = cursor.fetchone()
    return [number] == list(row.values() if isinstance(row, Mapping) else row)
