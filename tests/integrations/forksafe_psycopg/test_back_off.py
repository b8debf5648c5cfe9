"""Which failures to connect say something about the server, and so delay the next attempt."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

import forksafe_psycopg
from forksafe_psycopg import Pool
from tests.support.sql import LIMIT, ask

SEVERAL = 5


def attempts(error: Exception) -> int:
    """How many there are, of a few callers that do not wait."""
    tried = 0

    class Failing(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            nonlocal tried
            tried += 1
            raise error

    pool = Pool(connection_class=Failing, timeout=0)
    for _ in range(SEVERAL):
        with pytest.raises((type(error), forksafe_psycopg.PoolBackOff)):
            pool.acquire()
    return tried


@pytest.mark.parametrize(
    "error",
    [
        psycopg.OperationalError("refused"),
        psycopg.errors.ConnectionTimeout("too long"),
        psycopg.errors.TooManyConnections("too many clients already"),
        psycopg.InterfaceError("what was that?"),
        ConnectionRefusedError(),
    ],
)
def test_what_the_server_is_to_blame_for(error: Exception) -> None:
    assert attempts(error) < SEVERAL


@pytest.mark.parametrize(
    "error",
    [
        psycopg.ProgrammingError("bad value"),
        psycopg.errors.UndefinedTable("no such table"),
        psycopg.DataError("division by zero"),
        TypeError("no such argument"),
        KeyError("password"),
        forksafe_psycopg.PoolError("of another pool"),
    ],
)
def test_what_the_program_is_to_blame_for(error: Exception) -> None:
    assert attempts(error) == SEVERAL


def test_a_configure_that_fails_does_not_delay_the_next(dsn: str) -> None:
    fails = [True] * SEVERAL

    def configure(conn: psycopg.Connection[Any]) -> None:
        if fails.pop():
            conn.execute("SELECT * FROM nowhere")

    fails.insert(0, False)
    with Pool(dsn, configure=configure, timeout=0) as pool:
        for _ in range(SEVERAL):
            with pytest.raises(psycopg.errors.UndefinedTable):
                pool.acquire()
        with pool.connection(timeout=LIMIT) as conn:
            assert ask(conn, "SELECT 1") == 1
