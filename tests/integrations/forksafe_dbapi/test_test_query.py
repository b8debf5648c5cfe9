"""What a connection is asked after an error, in the dialect of its server."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from typing import Any

import pytest

from forksafe_dbapi import Pool
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql import make_pool, session_id


class ProgrammingError(Exception):
    """What a server answers that wants a FROM, or has no such table."""


class Connection:
    """Of a driver that cannot be had here: it answers one form of the question."""

    answers = ""
    number = 0

    def cursor(self) -> Any:
        return self

    def execute(self, statement: str) -> None:
        asked = re.fullmatch(re.escape(self.answers).replace(r"\{\}", r"(\d+)"), statement)
        if asked is None:
            raise ProgrammingError(statement)
        self.number = int(asked[1])

    def fetchone(self) -> tuple[int]:
        return (self.number,)

    def rollback(self) -> None:
        pass

    def close(self) -> None:
        pass


def of_driver(module: str, answers: str, bases: tuple[type, ...] = (Connection,)) -> type[Any]:
    return type("Connection", bases, {"__module__": module, "answers": answers})


def fail(block: AbstractContextManager[Any]) -> Any:
    with pytest.raises(ZeroDivisionError), block as conn:
        raise ZeroDivisionError
    return conn


DIALECTS = [
    ("oracledb.connection", "SELECT {} FROM DUAL"),
    ("cx_Oracle", "SELECT {} FROM DUAL"),
    ("fdb.fbcore", "SELECT {} FROM RDB$DATABASE"),
    ("firebird.driver.core", "SELECT {} FROM RDB$DATABASE"),
    ("firebirdsql.fbcore", "SELECT {} FROM RDB$DATABASE"),
    ("ibm_db_dbi", "SELECT {} FROM SYSIBM.SYSDUMMY1"),
    ("hdbcli.dbapi", "SELECT {} FROM DUMMY"),
    ("pg8000.legacy", "SELECT {}"),
]


@pytest.mark.parametrize(("module", "answers"), DIALECTS)
def test_the_driver_decides(module: str, answers: str) -> None:
    with Pool(of_driver(module, answers), max_size=1, timeout=0) as pool:
        conn = fail(pool.connection())
        with pool.connection() as again:
            assert again is conn
        assert pool.stats().opened == 1


def test_a_class_of_one_s_own_is_its_driver_s() -> None:
    driver_s = of_driver("oracledb.connection", "SELECT {} FROM DUAL")
    mine = of_driver("shop.database", "SELECT {} FROM DUAL", (driver_s,))
    with Pool(mine, max_size=1, timeout=0) as pool:
        fail(pool.connection())
        assert pool.stats().total == 1


def test_an_option_decides_for_all_others() -> None:
    connection = of_driver("jaydebeapi", "VALUES {}")
    with Pool(connection, max_size=1, timeout=0) as pool:
        fail(pool.connection())
        assert pool.stats().total == 0
    with Pool(connection, max_size=1, timeout=0, test_query="VALUES {}") as pool:
        conn = fail(pool.connection())
        with pool.connection() as again:
            assert again is conn


def test_a_refused_query_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Each error would cost a connection, and nobody would know why."""
    with Pool(of_driver("jaydebeapi", "VALUES {}"), name="shop") as pool:
        fail(pool.connection())
    assert re.search("shop: .*SELECT \\d+.*test_query", caplog.text)


def test_real_drivers(database: Database) -> None:
    for options in ({}, {"test_query": "SELECT {} AS answer"}):
        with make_pool(database.driver, database.address, max_size=1, **options) as pool:
            conn = fail(pool.connection())
            with pool.connection() as again:
                assert again is conn
                assert session_id(again)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("SELECT 1", ValueError),
        ("", ValueError),
        ("SELECT {}, {}", ValueError),
        (b"SELECT {}", TypeError),
        (7, TypeError),
    ],
)
def test_what_is_no_query(query: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"test_query must be .*, not " + re.escape(repr(query))):
        Pool(Connection, test_query=query)


def test_other_braces_are_the_query_s() -> None:
    query = "SELECT {} FROM {oj dual}"
    with Pool(of_driver("jaydebeapi", query), test_query=query, max_size=1) as pool:
        fail(pool.connection())
        assert pool.stats().total == 1
