"""What a pool is built with."""

from __future__ import annotations

import functools
import math
import re
import traceback
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.pq import PGconn
from psycopg.rows import class_row, dict_row

import forksafe_pool
from forksafe_psycopg import Pool
from tests.support.anything import anything, patient
from tests.support.server import free_port
from tests.support.sql import ask, new_session


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"conninfo": None}, TypeError, "conninfo must be text, not NoneType"),
        ({"conninfo": b"dbname=shop"}, TypeError, "conninfo must be text, not bytes"),
        ({"conninfo": "shop"}, ValueError, 'conninfo .* understood: missing "=" after … in'),
        ({"conninfo": "dbnam=shop"}, ValueError, 'conninfo cannot be understood: .*"dbnam"'),
        ({"conninfo": "dbname=\0"}, ValueError, "conninfo cannot be understood: .* zero byte"),
        ({"kwargs": {"autocomit": True}}, ValueError, '"autocomit".*, did you mean "autocommit"'),
        ({"kwargs": {"dbnam": "shop"}}, ValueError, '"dbnam".*, did you mean "dbname"'),
        ({"kwargs": {7: True}}, TypeError, "a name in kwargs must be text, not 7"),
        ({"kwargs": "autocommit"}, TypeError, "kwargs must be a mapping .*, not str$"),
        ({"kwargs": [("autocommit", 1)]}, TypeError, "kwargs must be a mapping .*, not list$"),
        (
            {"connection_class": psycopg.AsyncConnection},
            TypeError,
            "connection_class must be a subclass of psycopg.Connection, not .*AsyncConnection",
        ),
        ({"connection_class": "Connection"}, TypeError, "connection_class must .*'Connection'"),
        ({"connection_class": None}, TypeError, "connection_class must be .* None"),
        ({"connection_class": psycopg.connect}, TypeError, "connection_class must be .*connect"),
        ({"kwargs": {"row_factory": 5}}, TypeError, 'kwargs."row_factory".* function, not 5'),
        ({"kwargs": {"row_factory": "dict"}}, TypeError, "\"row_factory\".* function, not 'dict'"),
        (
            {"kwargs": {"row_factory": lambda: 0}},
            TypeError,
            r'"row_factory".*called as .*\(cursor\)',
        ),
        ({"kwargs": {"cursor_factory": "x"}}, TypeError, "\"cursor_factory\".* cursors, not 'x'"),
        ({"kwargs": {"cursor_factory": psycopg.AsyncCursor}}, TypeError, '"cursor_fac.*not async'),
        ({"kwargs": {"prepare_threshold": "x"}}, TypeError, "\"prepare_threshold\".* not 'x'"),
        (
            {"kwargs": {"prepare_threshold": -1}},
            ValueError,
            '"prepare_threshold".* at least 0, not -1',
        ),
        ({"kwargs": {"context": 5}}, TypeError, '"context".* adapters, .* not 5'),
        ({"kwargs": {"autocommit": "off"}}, TypeError, "\"autocommit\".* True or False, not 'off'"),
        ({"kwargs": {"port": "x"}}, ValueError, 'kwargs."port".* 1 to 65535, not other text'),
        ({"kwargs": {"port": -1}}, ValueError, 'kwargs."port".* 1 to 65535, not -1'),
        ({"conninfo": "host=a,b port=1,2x"}, ValueError, "port in conninfo .*, not other text"),
        ({"conninfo": "postgresql://h:65536/d"}, ValueError, "port in conninfo .*, not '65536'"),
        (
            {"conninfo": "sslmode=requir"},
            ValueError,
            "sslmode in .*'requir', did you mean \"require\"",
        ),
        ({"kwargs": {"sslmode": "maybe"}}, ValueError, "\"sslmode\".* disable, .*, not 'maybe'"),
        ({"kwargs": {"connect_timeout": "soon"}}, ValueError, "\"connect_timeout\".*, not 'soon'"),
        ({"kwargs": {"connect_timeout": math.nan}}, ValueError, '"connect_timeout".*, not nan'),
        ({"kwargs": {"connect_timeout": []}}, TypeError, '"connect_timeout".*, not list'),
        ({"kwargs": {"host": ["a", "b"]}}, TypeError, '"host".* text or a number, not list'),
        ({"kwargs": {"password": b"secret"}}, TypeError, '"password".* text .*, not bytes$'),
        ({"kwargs": {"host": "a\0b"}}, ValueError, '"host".* no zero byte'),
        ({"kwargs": {"connect_timeout": math.inf}}, ValueError, '"connect_timeout".*, not inf'),
        ({"conninfo": "connect_timeout=x"}, ValueError, "connect_timeout in conninfo .*, not 'x'"),
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


@pytest.mark.parametrize(
    ("name", "values"),
    {
        "sslmode": ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"],
        "gssencmode": ["disable", "prefer", "require"],
        "channel_binding": ["disable", "prefer", "require"],
        "load_balance_hosts": ["disable", "random"],
        "target_session_attrs": [
            *("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
        ],
    }.items(),
)
def test_libpq_takes_the_same_values(name: str, values: list[str]) -> None:
    for value in [*values, "", "x", values[0].upper(), values[0] + "d"]:
        conninfo = f"host=/nowhere {name}='{value}'"
        conn = PGconn.connect_start(conninfo.encode())
        is_good = b"invalid" not in conn.error_message
        conn.finish()
        assert is_good == (value in values)
        if is_good:
            Pool(conninfo)
        else:
            with pytest.raises(ValueError, match=f"^{name} in conninfo must be one of"):
                Pool(conninfo)


@pytest.mark.parametrize(
    "conninfo", ["password=secret dbname", "password=secret port=x", "postgresql://u:secret@h:x/d"]
)
def test_a_password_does_not_show_in_the_error(conninfo: str) -> None:
    with pytest.raises(ValueError, match="conninfo") as caught:
        Pool(conninfo)
    assert "secret" not in "".join(traceback.format_exception(caught.value, limit=0))


@pytest.mark.parametrize(
    "conninfo",
    [
        *("postgresql://u:secret@[::1", "postgresql://u:secret@[::1]x", "postgresql://u:secret@[]"),
        # A "%", a "/" and a blank that should have been encoded or quoted:
        *("postgresql://u:%secret@h/d", "postgresql://u:secret/1@h/d", "password=my secret"),
    ],
)
def test_nor_does_one_that_libpq_quotes(conninfo: str) -> None:
    with pytest.raises(ValueError, match="conninfo") as caught:
        Pool(conninfo)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"conninfo": "host=a,b,c port=1,,65535 sslmode=verify-full connect_timeout=0"},
        {"conninfo": "postgresql://h:5432/d?sslmode=require&connect_timeout=2"},
        {"conninfo": "service=shop"},
        {"kwargs": dict.fromkeys(["port", "sslmode", "connect_timeout", "host", "password"])},
        {
            "kwargs": dict.fromkeys(
                ["row_factory", "cursor_factory", "prepare_threshold", "context"]
            )
        },
        {"kwargs": {"port": 5432, "connect_timeout": 1.5, "autocommit": 1}},
        {"kwargs": {"row_factory": class_row(dict), "cursor_factory": psycopg.ClientCursor}},
        {"kwargs": {"cursor_factory": functools.partial(psycopg.Cursor)}},
        {"kwargs": {"context": psycopg, "prepare_threshold": 0}},
    ],
)
def test_good_ones_are_not_refused(arguments: dict[str, Any]) -> None:
    assert Pool(**arguments).stats().opened == 0


def test_a_class_of_one_s_own_may_take_anything() -> None:
    class Mine(psycopg.Connection[Any]):
        pass

    Pool(kwargs={"shop": 1, "port": "the usual"}, connection_class=Mine)


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


class Returns:
    """A connection_class's ``connect``."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.value


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "connect of shop returned None"),
        (nothing, "connect of shop is async"),
        (object, "connect of shop returned <object .*>, not a connection of psycopg's"),
    ],
)
def test_a_connect_of_one_s_own_that_returns_no_connection(
    make: Callable[[], Any], message: str
) -> None:
    class Mine(psycopg.Connection[Any]):
        connect = Returns(make())

    pool = Pool(connection_class=Mine, max_size=1, timeout=0, name="shop")
    with pytest.raises(forksafe_pool.PoolError, match=message):
        pool.acquire()
    assert pool.stats().total == 0


def test_fill(dsn: str) -> None:
    with Pool(dsn, min_size=2) as pool:
        pool.fill()
        stats = pool.stats()
        assert (stats.available, stats.opened) == (2, 2)
    assert pool.stats().total == 0


# -- anything at all ------------------------------------------------------------------------------

NAMES = (
    *("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory", "autocomit"),
    *("host", "port", "dbname", "user", "password", "sslmode", "connect_timeout", "options"),
)


def complaint(**arguments: Any) -> str | None:
    """What a person is told who gave something wrong."""
    try:
        pool = Pool(**arguments)
    except (TypeError, ValueError) as error:
        return str(error)
    assert (pool.stats().opened, pool.stats().connect_errors) == (0, 0)
    return None


def names_conninfo(said: str) -> bool:
    return bool(re.match("conninfo (must be|cannot be understood)|[a-z_]+ in conninfo must", said))


@patient
@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), anything, max_size=3))
def test_any_kwargs_make_a_pool_or_are_named(kwargs: dict[str, Any]) -> None:
    said = complaint(kwargs=kwargs)
    assert said is None or said.startswith(tuple(f'kwargs["{name}"]' for name in kwargs))


@patient
@given(
    anything
    | st.dictionaries(anything.filter(lambda name: not isinstance(name, list | dict)), anything)
)
def test_what_is_no_kwargs_is_named(kwargs: Any) -> None:
    said = complaint(kwargs=kwargs)
    assert said is None or re.match(r"kwargs must be|kwargs\[|a name in kwargs must be", said)


junk = st.text(alphabet="=' \\ab:/@?#[]%&,0159\0é\ud800", max_size=8)
parameters = st.builds(
    "{}{}={}".format,
    st.sampled_from([" ", "?", "&", "/d?"]),
    st.sampled_from(["port", "sslmode", "connect_timeout", "dbnam"]),
    junk,
)


@patient
@given(
    st.one_of(
        anything,
        st.builds(
            "{}{}{}".format,
            st.sampled_from(["postgresql://", "postgres://", "postgresql://h", "host=h ", ""]),
            *(junk, st.just("") | parameters),
        ),
    )
)
@example("postgresql://h/%zz")
@example("password='open")
def test_any_conninfo_makes_a_pool_or_is_named(conninfo: Any) -> None:
    said = complaint(conninfo=conninfo)
    assert said is None or names_conninfo(said)


@patient
@given(st.integers(-9, 70000) | st.integers())
@example(65535)
@example(65536)
def test_any_port_is_one_or_is_named(port: int) -> None:
    is_one = 0 < port < 65536
    for said, where in (
        (complaint(kwargs={"port": port}), 'kwargs["port"]'),
        (complaint(conninfo=f"port={port}"), "port in conninfo"),
        (complaint(conninfo=f"host=a,b port=1,{port}"), "port in conninfo"),
    ):
        assert (said is None) is is_one
        assert is_one or str(said).startswith(f"{where} must be a number from 1 to 65535")


@patient
@given(
    st.sampled_from(["password=secret ", "password='a secret' "]), junk, st.just("") | parameters
)
@example("password=secret ", "'", "")
@example("password=secret ", "", " sslmode=requir")
def test_no_error_beside_a_password_shows_it(password: str, beside: str, more: str) -> None:
    said = complaint(conninfo=password + beside + more)
    assert said is None or (names_conninfo(said) and "secret" not in said)
