"""What a pool is built with."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import forksafe_pool
from forksafe_psycopg import Pool
from tests.support.server import free_port
from tests.support.sql import ask, new_session


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"conninfo": None}, TypeError, "conninfo must be text, not None"),
        ({"conninfo": b"dbname=shop"}, TypeError, "conninfo must be text, not b'dbname=shop'"),
        ({"conninfo": "shop"}, ValueError, 'conninfo cannot be understood: .*"shop"'),
        ({"conninfo": "dbnam=shop"}, ValueError, 'conninfo cannot be understood: .*"dbnam"'),
        ({"conninfo": "dbname=\0"}, ValueError, "conninfo cannot be understood: .* zero byte"),
        ({"kwargs": {"autocomit": True}}, ValueError, '"autocomit".*, did you mean "autocommit"'),
        ({"kwargs": {"dbnam": "shop"}}, ValueError, '"dbnam".*, did you mean "dbname"'),
        ({"kwargs": {7: True}}, TypeError, "a name in kwargs must be text, not 7"),
        ({"kwargs": "autocommit"}, TypeError, "kwargs must be a mapping .*, not 'autocommit'"),
        ({"kwargs": [("autocommit", 1)]}, TypeError, "kwargs must be a mapping .*'autocommit', 1"),
        (
            {"connection_class": psycopg.AsyncConnection},
            TypeError,
            "connection_class must be a subclass of psycopg.Connection, not .*AsyncConnection",
        ),
        ({"connection_class": "Connection"}, TypeError, "connection_class must .*'Connection'"),
        ({"connection_class": None}, TypeError, "connection_class must be .* None"),
        ({"connection_class": psycopg.connect}, TypeError, "connection_class must be .*connect"),
        ({"max_size": 0}, ValueError, "max_size must be at least 1, not 0"),
        ({"check": "SELECT 1"}, TypeError, "check must be a function, not 'SELECT 1'"),
        ({"fileno": 0}, TypeError, "fileno must be a function, not 0"),
        ({"max_sise": 1}, TypeError, "max_sise"),
    ],
)
def test_bad_ones_are_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Pool(**arguments)


def test_a_password_does_not_show_in_the_error() -> None:
    with pytest.raises(ValueError, match="conninfo") as caught:
        Pool("password=secret dbname")
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_nothing_is_connected_before_the_first_use() -> None:
    pool = Pool(f"host=127.0.0.1 port={free_port()} connect_timeout=5")
    assert pool.stats().opened == 0
    with pytest.raises(psycopg.OperationalError):
        pool.acquire()
    stats = pool.stats()
    assert (stats.total, stats.connect_errors) == (0, 1)


def test_who_waited_in_vain_learns_why(dsn: str) -> None:
    with (
        Pool(dsn, max_size=1, timeout=0, name="shop") as pool,
        pool.connection(),
        pytest.raises(forksafe_pool.PoolTimeout, match=r"shop .*in use 1"),
    ):
        pool.acquire()


def test_kwargs_are_connect_s(dsn: str) -> None:
    kwargs: dict[str, Any] = {"autocommit": True, "row_factory": dict_row}
    with Pool(dsn, kwargs=kwargs) as pool:
        kwargs.clear()  # its own now
        with pool.connection() as conn:
            assert conn.autocommit
            assert conn.execute("SELECT 1 AS one").fetchone() == {"one": 1}
            assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_the_address_may_be_in_kwargs(dsn: str) -> None:
    with Pool(kwargs=psycopg.conninfo.conninfo_to_dict(dsn)) as pool:
        assert new_session(pool)


def test_connection_class(dsn: str) -> None:
    class Mine(psycopg.Connection[Any]):
        pass

    class Factory(Mine):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            return Mine.connect(*args, **kwargs)

    for connection_class in (Mine, Factory):
        with Pool(dsn, connection_class=connection_class) as pool, pool.connection() as conn:
            assert type(conn) is Mine
            assert ask(conn, "SELECT 1") == 1


def test_fill(dsn: str) -> None:
    with Pool(dsn, min_size=2) as pool:
        pool.fill()
        stats = pool.stats()
        assert (stats.available, stats.opened) == (2, 2)
    assert pool.stats().total == 0
