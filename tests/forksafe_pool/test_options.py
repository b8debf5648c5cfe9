"""A wrong option is told where it is given: by its name, its value and what would do."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from forksafe_pool import Pool, PoolTimeout
from tests.forksafe_pool.fakes import Connections

NAN, INF = float("nan"), float("inf")

COUNTS = ("max_size", "min_size", "max_waiting")
SECONDS = ("timeout", "max_lifetime", "max_idle", "check_after")
FUNCTIONS = ("check", "configure", "reset", "close", "fileno")

WRONG_TYPES: list[tuple[str, Any]] = [
    *product(COUNTS, (True, False, 1.0, "1", (), 1j)),
    *product(SECONDS, (True, False, "1", (), 1j)),
    *product(FUNCTIONS, (True, 1, "len", ())),
    *product(("max_size", "min_size", "check_after"), [None]),
    *product(["name"], (b"db", 1, True, object)),
]
WRONG_VALUES: list[tuple[str, Any]] = [
    ("max_size", 0),
    ("max_size", -1),
    ("min_size", -1),
    ("max_waiting", -1),
    *product(SECONDS, (-1, -0.001, -INF, NAN)),
]


def wrong(connections: Connections, name: str, value: Any, error: type[Exception]) -> str:
    with pytest.raises(error) as caught:
        Pool(connections, **{name: value})
    return str(caught.value)


@pytest.mark.parametrize(("name", "value"), WRONG_TYPES)
def test_an_option_of_a_wrong_type(connections: Connections, name: str, value: Any) -> None:
    message = wrong(connections, name, value, TypeError)
    assert message.startswith(f"{name} must be ")
    assert message.endswith(f"not {value!r}")


@pytest.mark.parametrize(("name", "value"), WRONG_VALUES)
def test_an_option_of_a_wrong_value(connections: Connections, name: str, value: Any) -> None:
    message = wrong(connections, name, value, ValueError)
    assert message.startswith(f"{name} must be ")
    assert message.endswith(f"not {value!r}")


@pytest.mark.parametrize("name", SECONDS)
def test_a_number_of_seconds_beyond_all_bounds(connections: Connections, name: str) -> None:
    options: dict[str, Any] = {name: 10**400}
    Pool(connections, **options)


@pytest.mark.parametrize("connect", [None, "redis://", 1, object()])
def test_connect_that_is_no_function(connect: Any) -> None:
    with pytest.raises(TypeError) as caught:
        Pool(connect)
    assert str(caught.value) == f"connect must be a function, not {connect!r}"


def test_min_size_larger_than_max_size(connections: Connections) -> None:
    with pytest.raises(ValueError, match=r"^min_size .* max_size \(2\), not 3$"):
        Pool(connections, max_size=2, min_size=3)
    Pool(connections, max_size=3, min_size=3)


def test_a_misspelt_option(connections: Connections) -> None:
    with pytest.raises(TypeError, match="max_connections"):
        Pool(connections, max_connections=3)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 1, "min_size": 1, "max_waiting": 0},
        {"max_size": 10**9, "min_size": 0, "max_waiting": None},
        {"timeout": None, "max_lifetime": None, "max_idle": None},
        dict.fromkeys(SECONDS, 0),
        dict.fromkeys(SECONDS, 0.5),
        dict.fromkeys(SECONDS, INF),
        dict.fromkeys(FUNCTIONS),
        dict.fromkeys(FUNCTIONS, print),
        {"name": None},
    ],
)
def test_right_options_are_taken(connections: Connections, options: dict[str, Any]) -> None:
    pool = Pool(connections, **options)
    for name in ("max_size", "min_size", "max_waiting", "timeout", "max_lifetime", "max_idle"):
        if name in options:
            assert getattr(pool, name) == options[name]


def test_the_defaults(connections: Connections) -> None:
    pool = Pool(connections)
    assert (pool.max_size, pool.min_size, pool.max_waiting) == (10, 0, None)
    assert (pool.timeout, pool.max_lifetime, pool.max_idle) == (20.0, 3600.0, 600.0)


@pytest.mark.parametrize(
    ("timeout", "error"),
    [("1", TypeError), (True, TypeError), (-1, ValueError), (NAN, ValueError)],
)
def test_a_wrong_timeout_of_a_call_takes_no_place(
    connections: Connections, timeout: Any, error: type[Exception]
) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    with pytest.raises(error, match=r"^timeout must be"):
        pool.acquire(timeout)
    with pytest.raises(error, match=r"^timeout must be"), pool.connection(timeout):
        pass
    assert not connections.made
    pool.acquire()
    with pytest.raises(PoolTimeout):
        pool.acquire()


def test_a_pool_without_a_name_gets_one_of_its_own(connections: Connections) -> None:
    first, second = Pool(connections), Pool(connections)
    assert first.name != second.name
    assert Pool(connections, name="db").name == "db"
