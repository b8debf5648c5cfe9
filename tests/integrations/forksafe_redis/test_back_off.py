"""Who connects again after failures waits a little first, as in the core's pool."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from forksafe_pool import _upkeep
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.locks import can_be_taken


class Refused(redis.Connection):
    refusing = True

    def _connect(self) -> Any:
        if self.refusing:
            raise ConnectionRefusedError("refused")
        return super()._connect()


@pytest.fixture(autouse=True)
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Refused, "refusing", True)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait was, if the chance was always the most that it can be."""
    slept: list[float] = []
    now = time.monotonic()
    for module in ("_clock", "_upkeep"):
        monkeypatch.setattr(f"forksafe_pool.{module}.monotonic", lambda: now)
    monkeypatch.setattr(time, "sleep", slept.append)
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)
    return slept


@pytest.fixture
def blocking(redis_url: str) -> Iterator[BlockingConnectionPool]:
    options: Any = {"connection_class": Refused, "max_connections": 2, "timeout": 0.3}
    pool = BlockingConnectionPool.from_url(redis_url, **options)
    yield pool
    pool.disconnect()


def fail(pool: ConnectionPool, times: int) -> None:
    for _ in range(times):
        with pytest.raises(RedisConnectionError, match="refused"):
            pool.get_connection()
        assert pool.stats().in_use == 0


def test_each_failure_doubles_what_the_next_attempt_may_wait(
    blocking: BlockingConnectionPool, slept: list[float]
) -> None:
    fail(blocking, 6)
    assert slept == pytest.approx([0.05, 0.1, 0.2, 0.3, 0.3])  # the pool's own timeout is 0.3
    blocking.timeout = None
    fail(blocking, 1)
    assert slept[-1] == 0.5


def test_a_success_ends_it(
    blocking: BlockingConnectionPool, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(blocking, 3)
    monkeypatch.setattr(Refused, "refusing", False)
    client = Redis(connection_pool=blocking)
    assert client.ping()
    blocking.disconnect()
    slept.clear()
    assert client.ping()
    assert slept == []


def test_no_lock_is_held_meanwhile(
    blocking: BlockingConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def look(seconds: float) -> None:
        free.append(can_be_taken(blocking._lock))

    # The longest wait: a short one may be over on a busy machine before it begins.
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)
    fail(blocking, 1)
    monkeypatch.setattr(time, "sleep", look)
    fail(blocking, 2)
    assert free == [True, True]


def test_the_pool_that_never_waits_does_not(
    redis_url: str, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails at once, without an attempt: thousands a second would meet who comes back."""
    now = time.monotonic()
    monkeypatch.setattr(_upkeep, "monotonic", lambda: now)
    pool = ConnectionPool.from_url(redis_url, connection_class=Refused)
    fail(pool, 3)
    for _ in range(9):
        with pytest.raises(RedisConnectionError, match=r"back-off; last error: .*refused"):
            pool.get_connection()
    assert pool.stats().in_use == 0
    assert pool.stats().connect_errors == 3
    monkeypatch.setattr(Refused, "refusing", False)
    now += 0.5
    assert Redis(connection_pool=pool).ping()
    assert slept == []
    pool.disconnect()
