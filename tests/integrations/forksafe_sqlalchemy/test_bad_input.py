"""What a person might get wrong is told when the pool is made."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy.pool
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import create_engine
from sqlalchemy.pool import ConnectionPoolEntry

from forksafe_sqlalchemy import QueuePool
from tests.support.anything import anything, patient

# An option, wrong values of it, and what it must be.
OPTIONS: list[tuple[str, list[Any], str]] = [
    ("pool_size", ["5", 1.5], "a whole number"),
    ("pool_size", [-1], "at least 0"),
    ("max_overflow", ["1"], "a whole number"),
    ("max_overflow", [-2], "at least -1"),
    ("timeout", ["30"], "a number of seconds"),
    ("timeout", [-1, float("nan")], "0 seconds or more"),
    (
        "recycle",
        ["x", None, [], float("nan"), Decimal("nan")],
        "a number of seconds, or -1 for never",
    ),
    ("logging_name", [7, b"shop", ["shop"]], "text"),
]


def never() -> None:
    raise AssertionError("a pool that is being made connects nothing")


@pytest.mark.parametrize(("option", "values", "wanted"), OPTIONS)
def test_a_wrong_option(option: str, values: list[Any], wanted: str) -> None:
    for value in values:
        options: dict[str, Any] = {option: value}
        with pytest.raises((TypeError, ValueError)) as raised:
            QueuePool(never, **options)
        assert str(raised.value) == f"{option} must be {wanted}, not {value!r}"


def test_an_option_of_an_engine() -> None:
    with pytest.raises(ValueError, match=r"^pool_size must be at least 0, not -5"):
        create_engine("sqlite://", poolclass=QueuePool, pool_size=-5)


async def connect() -> None:
    pass


def without() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


def with_a_record(record: ConnectionPoolEntry) -> sqlite3.Connection:
    assert record.dbapi_connection is None
    return without()


def maybe_with(connection_record: ConnectionPoolEntry | None = None) -> sqlite3.Connection:
    assert connection_record is not None
    return without()


@pytest.mark.parametrize(
    ("creator", "message"),
    [
        (None, "creator must be a function, not None"),
        ("sqlite://", "creator must be a function, not 'sqlite://'"),
        (connect, "creator must be a function that is .* not async"),
        (lambda one, other: None, r"creator is called as creator\(\), which .* does not take"),
        (lambda one, *, other: None, r"creator is called as creator\(record\), which .* does not"),
        (functools.partial(with_a_record), r"creator is called as creator\(\), which .* does not"),
    ],
)
def test_a_creator_that_cannot_be_called(creator: Any, message: str) -> None:
    with pytest.raises(TypeError, match=f"^{message}"):
        QueuePool(creator)


@pytest.mark.parametrize(
    "creator",
    [
        without,
        with_a_record,
        maybe_with,
        lambda database=":memory:", timeout=0: sqlite3.connect(database, timeout=timeout),
        lambda *args, **kwargs: without(),
        functools.partial(sqlite3.connect, ":memory:"),
    ],
)
@pytest.mark.parametrize("pool_class", [QueuePool, sqlalchemy.pool.QueuePool])
def test_creators_that_sqlalchemy_takes(pool_class: type[QueuePool], creator: Any) -> None:
    pool = pool_class(creator)
    with closing(pool.connect()) as connection:
        assert connection.cursor().execute("SELECT 42").fetchone() == (42,)
    pool.dispose()


@pytest.mark.parametrize("recycle", [-1, 0, 5, 0.5, -7, True, Decimal("2.5"), float("inf")])
@pytest.mark.parametrize("pool_class", [QueuePool, sqlalchemy.pool.QueuePool])
def test_a_recycle_that_sqlalchemy_takes(pool_class: type[QueuePool], recycle: Any) -> None:
    pool = pool_class(without, recycle=recycle)
    for _ in range(2):
        pool.connect().close()
    pool.dispose()


# -- anything at all ------------------------------------------------------------------------------

values = anything | st.decimals(allow_nan=False) | st.complex_numbers()
NAMES = (
    *("creator", "pool_size", "max_overflow", "timeout", "use_lifo", "recycle", "pre_ping"),
    *("reset_on_return", "echo", "dialect", "reset", "pool_sise"),
)


def wrong(pool_class: type[sqlalchemy.pool.QueuePool], options: dict[str, Any]) -> Exception | None:
    try:
        pool = pool_class(**{"creator": never, **options})
    except Exception as error:
        return error
    assert (pool.checkedin(), pool.checkedout()) == (0, 0)
    return None


def names_one(error: Exception, options: dict[str, Any]) -> bool:
    return isinstance(error, (TypeError, ValueError)) and str(error).startswith(tuple(options))


@patient
@given(st.dictionaries(st.sampled_from(NAMES), values, max_size=3))
@example({"pool_size": 0, "max_overflow": -7})
@example({"reset_on_return": "x"})
@example({"pool_sise": 5})
@example({"reset": None, "pool_sise": 5})
def test_any_options_make_a_pool_or_are_named(options: dict[str, Any]) -> None:
    """Or get the error that SQLAlchemy has for them."""
    error = wrong(QueuePool, options)
    if error is not None and not names_one(error, options):
        theirs = {name: value for name, value in options.items() if name != "reset"}  # it is ours
        assert repr(error) == repr(wrong(sqlalchemy.pool.QueuePool, theirs))
