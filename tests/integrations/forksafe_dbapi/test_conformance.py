"""The conformance suite with drivers of the DB-API: real servers, and a file of SQLite's."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from forksafe_dbapi import Pool
from forksafe_pool.conformance import DriverConformance
from tests.support.sql import ask, run
from tests.support.sql_conformance import SqlConformance


class TestPsycopg2(SqlConformance):
    driver = "psycopg2"


class TestPsycopg2OverTls(TestPsycopg2):
    server = "postgres_tls"


class TestPyMySQL(SqlConformance):
    driver = "pymysql"


class TestMySQLClient(SqlConformance):
    driver = "mysqlclient"


class TestSQLite(DriverConformance):
    """A driver that shows no descriptor: what a child inherits is kept until its end."""

    can_be_severed = False
    path: str

    @pytest.fixture(autouse=True)
    def connect_to(self, tmp_path: Path) -> None:
        self.path = str(tmp_path / "database")
        with contextlib.closing(sqlite3.connect(self.path)) as conn:
            run(conn, "PRAGMA journal_mode = WAL")

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        connect = partial(sqlite3.connect, self.path, check_same_thread=False)
        return Pool(connect, configure=name_the_session, **options)

    def echo(self, conn: Any, text: str) -> str:
        return str(ask(conn, f"SELECT '{text}'"))

    def session_id(self, conn: Any) -> Any:
        return ask(conn, "SELECT name FROM session")

    def begin(self, conn: Any) -> None:
        run(conn, "INSERT INTO unfinished VALUES (1)")

    def finish(self, conn: Any) -> bool:
        try:
            return bool(ask(conn, "SELECT count(*) FROM unfinished") == 1)
        finally:
            conn.rollback()


def name_the_session(conn: Any) -> None:
    run(conn, f"CREATE TEMPORARY TABLE session AS SELECT '{secrets.token_hex(8)}' AS name")
    run(conn, "CREATE TEMPORARY TABLE unfinished (n INTEGER)")
    conn.commit()
