"""Only what says something about the server has the next attempt to connect wait."""

from __future__ import annotations

import functools
import signal
import ssl
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from forksafe_pool import Pool, PoolError
from tests.forksafe_pool.fakes import Connections, FakeConnection


class SoftTimeLimitExceeded(Exception):
    """As billiard's, which Celery's time limits raise in a handler of SIGUSR1."""


def fail(pool: Pool[FakeConnection], error: type[BaseException], times: int = 4) -> int:
    """How many of as many failed attempts count."""
    for _ in range(times):
        with pytest.raises(error):
            pool.acquire(timeout=0)
    assert pool.stats().connect_errors == times
    assert pool.stats().total == 0
    return pool._ledger.failures


@pytest.mark.parametrize(
    "error",
    [TypeError("x"), KeyError("x"), AttributeError("x"), ValueError("x"), PoolError("x")],
)
def test_a_mistake_in_connect_does_not(connections: Connections, error: Exception) -> None:
    connections.errors.extend([error] * 4)
    assert fail(Pool(connections), type(error)) == 0


@pytest.mark.parametrize(
    "error",
    [OSError("x"), EOFError("x"), RuntimeError("x"), ssl.SSLCertVerificationError("x")],
)
def test_what_may_be_the_server_s_does(connections: Connections, error: Exception) -> None:
    connections.errors.extend([error] * 3)
    assert fail(Pool(connections), type(error), 3) == 3


def time_limit(signum: int, frame: FrameType | None) -> None:
    raise SoftTimeLimitExceeded


class Limits:
    def method(self, signum: int, frame: FrameType | None) -> None:
        raise SoftTimeLimitExceeded

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        time_limit(signum, frame)


@pytest.fixture(
    params=[
        time_limit,
        functools.partial(time_limit),
        Limits().method,
        Limits(),
        functools.partial(Limits().method),
        lambda *_: time_limit(0, None),
    ],
    ids=["function", "partial", "method", "object", "partial-method", "lambda"],
)
def limited(request: pytest.FixtureRequest) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, request.param)
    yield
    signal.signal(signal.SIGUSR1, before)


def interrupted() -> FakeConnection:
    signal.raise_signal(signal.SIGUSR1)
    raise AssertionError


def wrapped() -> FakeConnection:
    """A driver that raises its own error for any."""
    try:
        return interrupted()
    except Exception as error:
        raise OSError("connect failed") from error


def wrapped_silently() -> FakeConnection:
    try:
        return interrupted()
    except Exception:
        raise OSError("connect failed")  # noqa: B904


@pytest.mark.usefixtures("limited")
@pytest.mark.parametrize(
    ("connect", "error"),
    [
        (interrupted, SoftTimeLimitExceeded),
        (wrapped, OSError),
        (wrapped_silently, OSError),
    ],
)
def test_what_a_signal_s_handler_raises_inside_of_connect_does_not(
    connect: Callable[[], FakeConnection], error: type[Exception]
) -> None:
    assert fail(Pool(connect), error) == 0


@pytest.mark.usefixtures("limited")
def test_an_error_of_the_server_s_counts_while_a_time_limit_is_handled(
    connections: Connections,
) -> None:
    pool: Pool[Any] = Pool(connections)
    connections.errors.append(OSError("refused"))
    try:
        interrupted()
    except SoftTimeLimitExceeded:
        assert fail(pool, OSError, 1) == 1
