"""Which failures to connect say something about the server, and so delay the next attempt."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg2.errors
import pymysql
import pytest

from forksafe_dbapi import Pool
from forksafe_pool import PoolBackOff

SEVERAL = 5


def attempts(error: Exception) -> int:
    """How many there are, of a few callers that do not wait."""
    tried = 0

    def connect() -> Any:
        nonlocal tried
        tried += 1
        raise error

    pool: Pool[Any] = Pool(connect, timeout=0)
    for _ in range(SEVERAL):
        with pytest.raises((type(error), PoolBackOff)):
            pool.acquire()
    return tried


class VendorError(Exception):
    """An error that PEP 249 does not know: it may be about anything."""


@pytest.mark.parametrize(
    "error",
    [
        psycopg2.OperationalError("refused"),
        psycopg2.InterfaceError("closed"),
        pymysql.err.OperationalError(2003, "Can't connect"),
        pymysql.err.InternalError(1, "what now?"),
        sqlite3.OperationalError("unable to open database file"),
        ConnectionRefusedError(),
        VendorError(),
    ],
)
def test_what_the_server_is_to_blame_for(error: Exception) -> None:
    assert attempts(error) < SEVERAL


@pytest.mark.parametrize(
    "error",
    [
        psycopg2.ProgrammingError("invalid dsn"),
        psycopg2.errors.UndefinedTable("no such table"),
        pymysql.err.ProgrammingError(1064, "syntax"),
        sqlite3.DataError(),
        pymysql.err.IntegrityError(1062, "duplicate"),
        TypeError("no such argument"),
    ],
)
def test_what_the_program_is_to_blame_for(error: Exception) -> None:
    assert attempts(error) == SEVERAL
