"""What a signal handler raises inside ``connect`` says nothing of the server."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool._handlers import raised_by_handler
from tests.forksafe_pool.fakes import Connections, FakeConnection


class SoftTimeLimitExceeded(Exception):
    """As celery's."""


class DriverError(Exception):
    """What a driver makes of an OSError."""


def handle(number: int, frame: object, error: Exception | None = None) -> None:
    raise error or SoftTimeLimitExceeded


class Handler:
    def __call__(self, number: int, frame: object) -> None:
        raise SoftTimeLimitExceeded

    def method(self, number: int, frame: object) -> None:
        raise SoftTimeLimitExceeded


HANDLERS: dict[str, Callable[[int, Any], None]] = {
    "a function": handle,
    "an OSError": functools.partial(handle, error=TimeoutError("the task's time is over")),
    "an object": Handler(),
    "a method": Handler().method,
}


@pytest.fixture(params=HANDLERS)
def handler(request: pytest.FixtureRequest) -> Iterator[str]:
    before = signal.signal(signal.SIGUSR1, HANDLERS[request.param])
    yield request.param
    signal.signal(signal.SIGUSR1, before)


def be_interrupted() -> None:
    signal.raise_signal(signal.SIGUSR1)


def be_interrupted_in_a_driver() -> None:
    try:
        be_interrupted()
    except (OSError, SoftTimeLimitExceeded) as error:
        raise DriverError("it cannot be reached") from error


@pytest.mark.parametrize("strike", [be_interrupted, be_interrupted_in_a_driver])
@pytest.mark.usefixtures("handler")
def test_the_pool_goes_on_at_once(connections: Connections, strike: Callable[[], None]) -> None:
    strikes = 5

    def connect() -> FakeConnection:
        nonlocal strikes
        if strikes:
            strikes -= 1
            strike()
        return connections()

    pool = Pool(connect, timeout=0)
    for _ in range(5):
        with pytest.raises((SoftTimeLimitExceeded, TimeoutError, DriverError)):
            pool.acquire()
    assert pool._ledger.failures == 0
    pool.release(pool.acquire())
    assert pool.stats().connect_errors == 5


@pytest.mark.usefixtures("handler")
def test_what_the_caller_was_handling_before_is_no_part_of_it(connections: Connections) -> None:
    """A task whose time is over may still use the pool, and its server may be down."""
    pool = Pool(connections, timeout=0)

    def clean_up() -> None:
        try:
            be_interrupted()
        finally:
            connections.errors.append(OSError("refused"))
            pool.acquire()

    with pytest.raises(OSError, match="refused") as caught:
        clean_up()
    earlier = caught.value.__context__
    assert earlier is not None
    assert raised_by_handler(earlier)
    assert pool._ledger.failures == 1


@pytest.mark.usefixtures("handler")
def test_a_handler_may_use_the_pool_itself(connections: Connections) -> None:
    pool = Pool(connections, timeout=0)
    seen: list[int] = []

    def ask(number: int, frame: object) -> None:
        connections.errors.append(OSError("refused"))
        with pytest.raises(OSError, match="refused"):
            pool.acquire()
        seen.append(pool._ledger.failures)

    signal.signal(signal.SIGUSR1, ask)
    be_interrupted()
    assert seen == [1]
