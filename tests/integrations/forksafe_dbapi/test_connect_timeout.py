"""`acquire`'s timeout bounds the connecting, too, where the driver can be told."""

from __future__ import annotations

import functools
import socket
import sqlite3
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pymysql
import pytest

from forksafe_dbapi import Pool
from forksafe_dbapi._limits import ConnectLimit
from tests.faults.proxy import FaultyProxy
from tests.forksafe_pool.threads import Caller
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.mariadb import MariaDB
from tests.support.sql import ask, readdressed

# In seconds. Far more than any timeout here, and far less than what the users have given.
LIMIT = 30.0
LONG = 60


def mysqldb() -> Any:
    return pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")


def connect_function(database: Database, port: int, **arguments: Any) -> Callable[..., Any]:
    """As `forksafe_dbapi.Pool` tells people to write it."""
    address = readdressed(database.driver, database.address, port)
    if database.driver == "psycopg2":
        address = address.replace("connect_timeout=10", f"connect_timeout={LONG}")
        return functools.partial(psycopg2.connect, address, **arguments)
    module = pymysql if database.driver == "pymysql" else mysqldb()
    where = {"host": "127.0.0.1", "port": port, "user": "root", "connect_timeout": LONG}
    return functools.partial(module.connect, **where, **arguments)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


def test_a_server_that_says_nothing(database: Database, silent_port: int) -> None:
    pool = Pool(connect_function(database, silent_port), max_size=1)
    with pytest.raises(Exception, match=r"(?i)time|110"):
        Caller(lambda: pool.acquire(timeout=3)).result(LIMIT)
    assert (pool.stats().total, pool.stats().connect_errors) == (0, 1)


def test_one_that_stops_in_mid_handshake(database: Database) -> None:
    proxy = FaultyProxy(database.port)
    try:
        with Pool(connect_function(database, proxy.port), max_size=1) as pool:
            proxy.hold_replies(after=5)
            with pytest.raises(Exception, match=r"(?i)time|110"):
                Caller(lambda: pool.acquire(timeout=3)).result(LIMIT)
            proxy.pass_on()
            with pool.connection(timeout=LIMIT) as conn:
                assert ask(conn, "SELECT 1") == 1
    finally:
        proxy.close()


@pytest.mark.parametrize("read_timeout", [None, LONG])
def test_pymysql_s_queries_are_not_bounded(mariadb: MariaDB, read_timeout: int | None) -> None:
    """Its read_timeout, which the greeting needs, would be for all that follows."""
    connect: Callable[..., Any] = functools.partial(
        pymysql.connect,
        host="127.0.0.1",
        port=mariadb.port,
        user="root",
        read_timeout=read_timeout,
    )
    with Pool(connect) as pool, pool.connection(timeout=9) as conn:
        assert ask(conn, "SELECT 1") == 1
        assert conn._sock.gettimeout() == read_timeout


# -- what is given --------------------------------------------------------------------------------


def given(connect: Callable[..., Any], timeout: float = 20) -> dict[str, int]:
    return ConnectLimit(connect).arguments(timeout)


def test_pymysql() -> None:
    both = functools.partial(pymysql.connect, host="nowhere")
    assert given(both, 3.2) == {"connect_timeout": 4, "read_timeout": 4}
    assert given(both, 0.1) == {"connect_timeout": 1, "read_timeout": 1}
    assert given(pymysql.connect, 20) == {"read_timeout": 20}  # its own is 10
    mine = type("Mine", (pymysql.connections.Connection,), {"__module__": "shop"})
    assert given(functools.partial(mine, host="nowhere"), 3) == given(both, 3)
    shorter = functools.partial(pymysql.connect, connect_timeout=2, read_timeout=2)
    assert given(shorter) == {}
    assert given(functools.partial(shorter, connect_timeout=60), 20) == {"connect_timeout": 20}


def test_psycopg2(monkeypatch: pytest.MonkeyPatch) -> None:
    def partial(dsn: str, **arguments: Any) -> Any:
        return functools.partial(psycopg2.connect, dsn, **arguments)

    assert given(psycopg2.connect) == {"connect_timeout": 20}
    assert given(partial("dbname=shop"), 2.5) == {"connect_timeout": 3}
    assert given(partial("dbname=shop connect_timeout=5")) == {}
    assert given(partial("dbname=shop connect_timeout=50")) == {"connect_timeout": 20}
    assert given(partial("dbname=shop connect_timeout=0")) == {"connect_timeout": 20}
    assert given(partial("dbname=shop", connect_timeout=5)) == {}
    assert given(functools.partial(psycopg2.connect, dsn="connect_timeout=5")) == {}
    assert given(partial("host=a,b,c,d")) == {"connect_timeout": 5}
    assert given(partial("what is this")) == {"connect_timeout": 20}  # connect tells
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "5")
    assert given(partial("dbname=shop")) == {}


def test_mysqlclient() -> None:
    connect = mysqldb().connect
    assert given(functools.partial(connect, host="nowhere"), 2.5) == {"connect_timeout": 3}
    assert given(functools.partial(connect, connect_timeout=2)) == {}


def test_a_function_of_one_s_own() -> None:
    def named(connect_timeout: float | None = None) -> Any:
        raise NotImplementedError

    def shorter(connect_timeout: float = 2) -> Any:
        raise NotImplementedError

    def takes_anything(**arguments: Any) -> Any:
        raise NotImplementedError

    assert given(named) == {"connect_timeout": 20}
    assert given(shorter) == {}
    assert given(takes_anything) == {}
    assert given(lambda: None) == {}
    assert given(named, float("inf")) == given(named, 1e300) == {}


def test_a_decorated_function_may_take_less_than_it_shows() -> None:
    @functools.wraps(pymysql.connect)
    def greets_only() -> Any:
        raise NotImplementedError

    @functools.wraps(pymysql.connect)
    def reads_as_long_as_it_takes(connect_timeout: float = 10) -> Any:
        raise NotImplementedError

    @functools.wraps(psycopg2.connect)
    def takes_nothing() -> Any:
        raise NotImplementedError

    @functools.wraps(pymysql.connect)
    def hands_on(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    assert given(greets_only) == given(takes_nothing) == {}
    assert given(reads_as_long_as_it_takes, 3) == {"connect_timeout": 3}
    assert given(hands_on, 3) == given(pymysql.connect, 3)


def test_a_timeout_of_one_s_own_is_in_seconds_as_they_are() -> None:
    heard: list[float | None] = []

    def connect(timeout: float | None) -> sqlite3.Connection:
        heard.append(timeout)
        return sqlite3.connect(":memory:")

    with (
        Pool(connect, max_size=2) as pool,
        pool.connection(timeout=15.5),
        pool.connection(timeout=None),
    ):
        pass
    assert heard[0] is not None
    assert 0 < heard[0] <= 15.5
    assert heard[1] is None


def test_a_driver_s_own_timeout_may_be_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite3's is for its locks, pg8000's for all that is ever read."""
    driver = types.ModuleType("pg8000")
    driver.apilevel = "2.0"  # type: ignore[attr-defined] # as PEP 249 has it
    monkeypatch.setitem(sys.modules, "pg8000", driver)

    def connect(user: str, timeout: float | None = None) -> sqlite3.Connection:
        assert timeout is None
        return sqlite3.connect(":memory:")

    connect.__module__ = "pg8000.legacy"
    for function in (functools.partial(connect, "me"), functools.partial(sqlite3.connect, "")):
        with Pool(function) as pool, pool.connection() as conn:
            assert conn.execute("PRAGMA busy_timeout").fetchone() == (5000,)
