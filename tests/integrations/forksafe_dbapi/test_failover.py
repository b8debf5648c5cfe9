"""A server that has become read-only costs one error, not one for each connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

import pymysql
import pytest

from forksafe_dbapi import Pool
from forksafe_dbapi._failures import is_read_only
from forksafe_pool import Pool as AnyPool
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql import run
from tests.support.sql_failover import SIZE, FailoverCases, SetReadOnly, demote


class TestFailover(FailoverCases):
    pass


@pytest.fixture
def make_pool(database: Database) -> Callable[..., AnyPool[Any]]:
    return partial(Pool, database.connect)


@pytest.fixture
def replicated(table: str, database: Database) -> Iterator[tuple[AnyPool[Any], SetReadOnly]]:
    """MariaDB's server is read-only for all that are not root, PostgreSQL's for the sessions that
    there are."""
    if database.driver == "psycopg2":
        with Pool(database.connect, max_size=SIZE) as pool:
            yield pool, lambda read_only: demote(pool) if read_only else None
        return
    with closing(database.connect()) as root:
        run(root, "CREATE USER app@'127.0.0.1'")
        run(root, "GRANT ALL ON mysql.numbers TO app@'127.0.0.1'")
        try:
            with Pool(lambda: database.connect(user="app"), max_size=SIZE) as pool:
                yield pool, lambda read_only: run(root, f"SET GLOBAL read_only = {read_only}")
        finally:
            run(root, "SET GLOBAL read_only = 0")
            run(root, "DROP USER app@'127.0.0.1'")


def with_state(**attributes: str) -> Exception:
    error = Exception("cannot execute INSERT in a read-only transaction")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


def led_to(error: Exception) -> Exception:
    wrapped = ValueError("no luck")
    wrapped.__cause__ = error
    return wrapped


def circle() -> Exception:
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    return one


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymysql.err.OperationalError(1290, "The MySQL server is running with --read-only"), True),
        (pymysql.err.OperationalError(1290, "… with the --super-read-only option so"), True),
        (pymysql.err.OperationalError(1290, "… with the --secure-file-priv option so"), False),
        (pymysql.err.InternalError(1792, "Cannot execute statement in a READ ONLY"), True),
        (pymysql.err.OperationalError(1836, "Running in read-only mode"), True),
        (pymysql.err.OperationalError(2013, "Lost connection"), False),
        (with_state(pgcode="25006"), True),
        (with_state(sqlstate="25006"), True),
        (with_state(sqlstate="25P02"), False),
        (led_to(with_state(pgcode="25006")), True),
        (led_to(ValueError(1836.0)), False),
        (Exception(), False),
        (circle(), False),
    ],
)
def test_which_errors_say_so(error: Exception, expected: bool) -> None:
    assert is_read_only(error) is expected
