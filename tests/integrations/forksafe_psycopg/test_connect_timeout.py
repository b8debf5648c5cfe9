"""`acquire`'s timeout bounds the connecting, too."""

from __future__ import annotations

import functools
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

import forksafe_psycopg
from forksafe_psycopg import Pool
from forksafe_psycopg._limits import ConnectLimit
from tests.faults.proxy import FaultyProxy
from tests.forksafe_pool.threads import Caller
from tests.support.postgres import Postgres
from tests.support.sql import ask, readdressed

ANY = "host=127.0.0.1"

# In seconds. Far more than any timeout here, and far less than what the users have given.
LIMIT = 30.0
LONG = 60

# Shorter than the limit that the address of the tests' server has.
SHORT = 9.0


class Recorded(psycopg.Connection[Any]):
    """Connects to nothing, and records what it is given."""

    given: dict[str, Any]

    @classmethod
    def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        cls.given = kwargs
        raise psycopg.OperationalError("not here")


def what_is_given(timeout: float | None, conninfo: str = ANY, **kwargs: Any) -> Any:
    pool = Pool(conninfo, kwargs=kwargs, connection_class=Recorded)
    with pytest.raises(psycopg.OperationalError, match="not here"):
        pool.acquire(timeout)
    return Recorded.given.get("connect_timeout")


@pytest.mark.parametrize(
    ("timeout", "expected"), [(20, 20), (19.5, 20), (3.5, 4), (500, None), (1e300, None)]
)
def test_what_is_left_is_the_limit(timeout: float, expected: int | None) -> None:
    given = what_is_given(timeout)
    assert given == expected or given == (expected or 0) - 1  # a second may have passed


def test_psycopg_takes_no_less_than_two_seconds() -> None:
    limit = ConnectLimit(psycopg.connect, ANY, {})
    assert limit.arguments(0.01) == limit.arguments(2) == {"connect_timeout": 2}


@pytest.mark.parametrize("timeout", [None, 0])
def test_where_there_is_no_limit_none_is_given(timeout: float | None) -> None:
    """0 is about the wait for a connection in use: one that has to be made takes its time."""
    assert what_is_given(timeout) is None


def test_a_user_s_limit_is_never_made_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert what_is_given(20, connect_timeout=5) == 5  # the user's own
    assert what_is_given(20, ANY + " connect_timeout=5") is None
    assert what_is_given(5, ANY + " connect_timeout=60") in (4, 5)
    assert what_is_given(5, connect_timeout=60) in (4, 5)
    assert what_is_given(5, connect_timeout=0) in (4, 5)  # 0: no limit
    assert what_is_given(5, connect_timeout=1) == 1
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "5")
    assert what_is_given(20) is None


def test_hosts_share_what_is_left() -> None:
    """psycopg takes the limit for each of them."""
    assert what_is_given(40, "host=a,b,c,d") in (9, 10)
    assert what_is_given(40, "hostaddr=127.0.0.1,127.0.0.2") in (19, 20)


def test_a_class_of_one_s_own_that_takes_no_limit(dsn: str) -> None:
    class Mine(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, conninfo: str) -> Any:  # type: ignore[override]
            return super().connect(conninfo)

    with Pool(dsn, connection_class=Mine) as pool, pool.connection(timeout=SHORT) as conn:
        assert ask(conn, "SELECT 1") == 1


def test_a_decorated_connect_that_takes_less_than_it_shows(dsn: str) -> None:
    class Mine(psycopg.Connection[Any]):
        @classmethod
        @functools.wraps(psycopg.Connection.connect.__func__)  # type: ignore[attr-defined]
        def connect(cls, conninfo: str) -> Any:  # type: ignore[override]
            return super().connect(conninfo)

    with Pool(dsn, connection_class=Mine) as pool, pool.connection(timeout=SHORT) as conn:
        assert ask(conn, "SELECT 1") == 1


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("mode", ["disable", "require"])
@pytest.mark.parametrize("hosts", [1, 2])
def test_a_server_that_says_nothing(silent_port: int, mode: str, hosts: int) -> None:
    host, port = ",".join(["127.0.0.1"] * hosts), ",".join([str(silent_port)] * hosts)
    conninfo = f"host={host} port={port} user=postgres sslmode={mode} connect_timeout={LONG}"
    pool = Pool(conninfo, max_size=1)
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        Caller(lambda: pool.acquire(timeout=3)).result(LIMIT)
    assert (pool.stats().total, pool.stats().connect_errors) == (0, 1)


def test_one_that_stops_in_mid_handshake(postgres: Postgres) -> None:
    with ExitStack() as stack:
        proxy = FaultyProxy(postgres.port)
        stack.callback(proxy.close)
        conninfo = readdressed("psycopg", postgres.dsn, proxy.port) + f" connect_timeout={LONG}"
        pool = stack.enter_context(Pool(conninfo, max_size=1))
        proxy.hold_replies(after=5)
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            Caller(lambda: pool.acquire(timeout=3)).result(LIMIT)
        proxy.pass_on()
        with pool.connection(timeout=LIMIT) as conn:
            assert ask(conn, "SELECT 1") == 1


def test_the_pool_s_own_timeout_is_one_too(silent_port: int) -> None:
    conninfo = f"host=127.0.0.1 port={silent_port} connect_timeout={LONG}"
    pool = Pool(conninfo, timeout=3)
    with pytest.raises((psycopg.OperationalError, forksafe_psycopg.PoolTimeout)):
        Caller(pool.acquire).result(LIMIT)
