"""What a person might get wrong is told where it was written, and takes no place."""

from __future__ import annotations

import functools
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forksafe_pool import Pool, PoolError, PoolTimeout
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import Caller
from tests.support.anything import anything, patient

LIMIT = 20.0


def with_two(one: object, other: object) -> None: ...


def with_a_keyword(conn: object, *, also: object) -> None: ...


# -- callbacks ------------------------------------------------------------------------------------


def test_a_connect_that_wants_an_argument() -> None:
    def connect(url: str) -> FakeConnection:
        return FakeConnection(0)

    with pytest.raises(TypeError, match=r"^connect is called as connect\(\), which .* 'url'$"):
        Pool(connect)


@pytest.mark.parametrize("name", ["check", "configure", "reset", "close", "fileno"])
@pytest.mark.parametrize("function", [lambda: None, with_two, with_a_keyword])
def test_a_callback_with_a_wrong_signature(
    connections: Connections, name: str, function: Callable[..., object]
) -> None:
    options: dict[str, Any] = {name: function}
    with pytest.raises(TypeError, match=rf"^{name} is called as {name}\(conn\), which "):
        Pool(connections, **options)


async def asynchronous(conn: object = None) -> None: ...


def generating(conn: object = None) -> Iterator[None]:
    yield


async def generating_asynchronously(conn: object = None) -> AsyncIterator[None]:
    yield


class Asynchronous:
    async def __call__(self, conn: object = None) -> None: ...


RUN_LATER = [
    *(asynchronous, generating, generating_asynchronously, Asynchronous()),
    functools.partial(asynchronous, None),
]


@pytest.mark.parametrize("function", RUN_LATER)
@pytest.mark.parametrize("name", ["connect", "check", "configure", "reset", "close", "fileno"])
def test_a_callback_that_is_async(connections: Connections, name: str, function: Any) -> None:
    options: dict[str, Any] = {"connect": connections, name: function}
    wrong = rf"^{name} must be a function that is no generator and not async: "
    with pytest.raises(TypeError, match=wrong):
        Pool(**options)


@pytest.mark.parametrize("name", ["check", "configure", "reset"])
def test_a_callback_whose_result_is_async(connections: Connections, name: str) -> None:
    """Which nothing tells before it is called."""
    options: dict[str, Any] = {name: lambda conn: asynchronous(conn)}
    pool = Pool(connections, name="db", check_after=0, **options)
    wrong = rf"^{name} of db is async: the pool is for threads$"
    with pytest.raises(PoolError, match=wrong):  # noqa: PT012 - by name, in another step
        for _ in range(2):
            pool.release(pool.acquire())
    assert pool.stats().total == 0
    assert connections.open == []


def test_a_close_whose_result_is_async_says_so(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    pool = Pool(connections, name="db", close=lambda conn: asynchronous(conn))
    pool.discard(pool.acquire())
    assert caplog.messages == ["close of db is async: the pool is for threads"]


@pytest.mark.parametrize("number", [None, True, "3", 3.0])
def test_a_fileno_that_returns_no_descriptor(connections: Connections, number: Any) -> None:
    pool = Pool(connections, name="db", fileno=lambda conn: number)
    with pytest.raises(TypeError, match=rf"^fileno of db must return .* it returned {number!r}$"):
        pool.acquire()
    assert pool.stats().total == 0
    assert connections.open == []


@pytest.mark.parametrize("function", [len, print, FakeConnection.close, lambda *all_of_it: True])
def test_a_callback_that_can_be_called_or_does_not_tell(
    connections: Connections, function: Callable[..., Any]
) -> None:
    Pool(connections, check=function, configure=function, reset=function, close=function)


# -- what connect returns -------------------------------------------------------------------------


class Awaitable:
    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize("make", [asynchronous, Awaitable])
def test_what_is_to_be_awaited(make: Callable[[], object]) -> None:
    pool = Pool(lambda: make())
    with pytest.raises(PoolError, match="is async"):
        pool.acquire()
    assert pool.stats().total == 0


def closed_socket() -> socket.socket:
    sock = socket.socket()
    sock.close()
    return sock


class ClosedFrom:
    """As DB-API drivers say it: True, or a number that is not 0."""

    def __init__(self, closed: object) -> None:
        self.closed = closed


class ClosedLikePyMySQL:
    open = False


@pytest.mark.parametrize(
    "connect",
    [
        *(
            closed_socket,
            lambda: ClosedFrom(True),
            lambda: ClosedFrom(2),
            lambda: ClosedLikePyMySQL(),
        ),
        *(lambda: None, lambda: False, lambda: 5, lambda: "conn"),
    ],
)
def test_a_connect_that_returns_no_open_connection(connect: Callable[[], Any]) -> None:
    pool = Pool(connect, max_size=1, timeout=0)
    for _ in range(2):
        with pytest.raises(PoolError, match=r"connect of .* returned"):
            pool.acquire()
    stats = pool.stats()
    assert (stats.total, stats.in_use, stats.connect_errors) == (0, 0, 2)


@pytest.mark.parametrize("closed", [False, 0, None, lambda: True, "no"])
def test_a_connection_that_is_open_or_does_not_tell(closed: object) -> None:
    pool = Pool(lambda: ClosedFrom(closed))
    pool.release(pool.acquire())


# -- callbacks that fail --------------------------------------------------------------------------


def fail(conn: object) -> int:
    raise ZeroDivisionError


@pytest.mark.parametrize("name", ["check", "reset", "close", "fileno"])
def test_a_callback_that_raises_loses_no_place(connections: Connections, name: str) -> None:
    options: dict[str, Any] = {name: fail}
    pool = Pool(connections, max_size=1, timeout=0, check_after=0, **options)
    for _ in range(3):
        pool.release(pool.acquire())
    pool.discard(pool.acquire())
    assert (pool.stats().total, pool.stats().in_use) == (0, 0)


def test_a_configure_that_raises_loses_no_place(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0, configure=fail)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            pool.acquire()
    assert pool.stats().total == 0
    assert connections.open == []


def test_a_close_that_hangs_holds_up_nobody_else(connections: Connections) -> None:
    """Its own place is taken meanwhile: the server never sees more than max_size."""
    hangs, proceed = threading.Event(), threading.Event()

    def close(conn: FakeConnection) -> None:
        hangs.set()
        assert proceed.wait(LIMIT)

    pool = Pool(connections, max_size=2, timeout=0, close=close)
    conn = pool.acquire()
    closer = Caller(lambda: pool.discard(conn))
    assert hangs.wait(LIMIT)
    other = pool.acquire()
    assert pool.stats().total == 2
    with pytest.raises(PoolTimeout):
        pool.acquire()
    assert not pool.close(timeout=0)
    proceed.set()
    closer.result(LIMIT)
    pool.release(other)
    assert pool.stats().total == 0


# -- anything at all ------------------------------------------------------------------------------

NAMES = (
    *("max_size", "min_size", "timeout", "max_waiting", "max_lifetime", "max_idle", "check"),
    *("check_after", "configure", "reset", "close", "fileno", "name"),
)


def complaint(call: Callable[[], object]) -> str | None:
    """What a person is told who gave something wrong."""
    try:
        call()
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@patient
@given(st.dictionaries(st.sampled_from(NAMES), anything, max_size=3))
def test_any_options_make_a_pool_or_are_named(options: dict[str, Any]) -> None:
    connections = Connections()
    wrong = complaint(lambda: Pool(connections, **options))
    assert wrong is None or wrong.startswith(tuple(options))
    assert connections.made == []


@patient
@given(anything)
def test_any_timeout_of_a_call_waits_or_is_named(timeout: Any) -> None:
    """With a connection that is there, too: it is told at once, not when the pool is busy."""
    pool = Pool(Connections(), max_size=1)
    pool.release(pool.acquire())
    right = timeout is None or (
        type(timeout) in (int, float) and not math.isnan(timeout) and timeout >= 0
    )
    calls: list[Callable[[Any], object]] = [
        lambda timeout: pool.release(pool.acquire(timeout)),
        pool.connection,
        pool.close,
    ]
    for call in calls:
        wrong = complaint(lambda call=call: call(timeout))  # type: ignore[misc]
        assert (wrong is None) is right
        assert right or str(wrong).startswith("timeout must be")
        assert pool.stats().in_use == 0
