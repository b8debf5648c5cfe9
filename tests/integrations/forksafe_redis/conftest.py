from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis

from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.forks import c_fork, os_fork

LIMIT = 10.0
KINDS = [ConnectionPool, BlockingConnectionPool]


def hear(subscription: Any) -> bytes:
    """The next message. What is ignored may come first: to it, redis-py's answer is None."""
    for _ in range(3):
        if message := subscription.get_message(timeout=LIMIT):
            return bytes(message["data"])
    raise AssertionError("there was no message")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request: pytest.FixtureRequest) -> type[ConnectionPool]:
    found: type[ConnectionPool] = request.param
    return found


@pytest.fixture
def pool(kind: type[ConnectionPool], redis_url: str) -> Iterator[ConnectionPool]:
    pool = kind.from_url(redis_url, max_connections=3)
    yield pool
    pool.disconnect()


@pytest.fixture
def client(pool: ConnectionPool) -> Redis:
    return Redis(connection_pool=pool)


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    function: Callable[[], int] = request.param
    return function


@pytest.fixture
def watcher(redis_url: str) -> Iterator[Redis]:
    """A plain redis-py client, to look at the server with."""
    client = Redis.from_url(redis_url, decode_responses=True)
    yield client
    client.close()
    client.connection_pool.disconnect()
