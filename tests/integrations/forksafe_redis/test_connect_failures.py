"""Which errors of a connect attempt make the next one wait, and what its caller hears then."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, RedisError

from forksafe_pool import PoolBackOff, _upkeep
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.forksafe_pool.threads import Caller
from tests.support.valkey import Valkey

LIMIT = 10.0


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The back-off's clock, which stands still: nobody's wait ends by itself."""
    now = [time.monotonic()]
    monkeypatch.setattr(_upkeep, "monotonic", lambda: now[0])
    monkeypatch.setattr(_upkeep, "_chance", lambda: 1.0)
    return now


class SoftTimeLimitExceeded(Exception):
    """As celery's, which a signal handler raises in the middle of a task."""


def mistake(connection: Any) -> None:
    raise TypeError("a programming error")


def missing_secret(connection: Any) -> None:
    raise KeyError("the credentials are not there")


def closed_by_another_thread(connection: Any) -> None:
    """In the middle of the handshake: redis-py's parser then fails of what is not there."""
    connection.on_connect()
    connection.send_command("PING")
    Caller(connection.disconnect).result()
    connection.read_response()


def interrupted(connection: Any) -> None:
    signal.raise_signal(signal.SIGUSR1)


@pytest.fixture(params=[SoftTimeLimitExceeded, TimeoutError, RedisConnectionError])
def handler_raises(request: pytest.FixtureRequest) -> Iterator[type[Exception]]:
    def handle(number: int, frame: object) -> None:
        raise request.param("the task's time is over")

    before = signal.signal(signal.SIGUSR1, handle)
    yield request.param
    signal.signal(signal.SIGUSR1, before)


def assert_not_held_against_the_server(
    kind: type[ConnectionPool],
    redis_url: str,
    connect: Callable[[Any], None],
    errors: tuple[type[Exception], ...],
    **options: Any,
) -> None:
    failing = True

    def on_connect(connection: Any) -> None:
        if failing:
            connect(connection)
        connection.on_connect()

    pool = kind.from_url(redis_url, redis_connect_func=on_connect, max_connections=8, **options)
    for _ in range(5):
        with pytest.raises(errors):
            pool.get_connection()
    failing = False
    assert redis.Redis(connection_pool=pool).ping()
    assert pool._pool._ledger.failures == 0
    assert pool.stats().in_use == 0
    pool.disconnect()


@pytest.mark.parametrize("connect", [mistake, missing_secret, closed_by_another_thread])
@pytest.mark.usefixtures("frozen")
def test_a_mistake_says_nothing_of_the_server(
    kind: type[ConnectionPool], redis_url: str, connect: Callable[[Any], None]
) -> None:
    errors = (TypeError, KeyError, AttributeError, ValueError)
    assert_not_held_against_the_server(kind, redis_url, connect, errors)


@pytest.mark.usefixtures("frozen")
def test_what_a_signal_handler_raises_says_nothing_of_the_server(
    kind: type[ConnectionPool], redis_url: str, handler_raises: type[Exception]
) -> None:
    assert_not_held_against_the_server(kind, redis_url, interrupted, (handler_raises,))


@pytest.mark.usefixtures("frozen", "handler_raises")
def test_nor_where_redis_py_takes_it_for_the_socket_s(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    class Connection(redis.Connection):
        failing = 5

        def _connect(self) -> Any:
            if Connection.failing:
                Connection.failing -= 1
                interrupted(self)
            return super()._connect()

    pool = kind.from_url(redis_url, connection_class=Connection)
    for _ in range(5):
        with pytest.raises((RedisError, SoftTimeLimitExceeded)):
            pool.get_connection()
    assert redis.Redis(connection_pool=pool).ping()
    pool.disconnect()


@pytest.mark.usefixtures("frozen")
def test_a_pool_that_is_disconnected_while_its_threads_connect(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    """As `Redis.close` does with the pool that other clients use as well."""
    pools: list[ConnectionPool] = []

    def disconnect(connection: Any) -> None:
        connection.on_connect()
        connection.send_command("PING")
        Caller(pools[0].disconnect).result()
        if connection._sock is None:
            connection.read_response()
        raise AttributeError("not in use, and so not disconnected")

    failing = False

    def on_connect(connection: Any) -> None:
        if failing:
            disconnect(connection)
        connection.on_connect()

    pool = kind.from_url(redis_url, redis_connect_func=on_connect)
    pools.append(pool)
    client = redis.Redis(connection_pool=pool)
    client.ping()
    failing = True
    for _ in range(5):
        pool.disconnect()
        with pytest.raises((AttributeError, ValueError)):
            client.ping()
    failing = False
    assert client.ping()
    pool.disconnect()


def refused_by(server: Valkey, name: str) -> dict[str, Any]:
    """Options with which the server answers, and refuses."""
    options: dict[str, dict[str, Any]] = {
        "a wrong password": {"username": "nobody", "password": "wrong"},
        "no such database": {"db": 4711},
    }
    return {"host": server.host, "port": server.port, **options[name]}


@pytest.mark.parametrize("name", ["a wrong password", "no such database"])
@pytest.mark.usefixtures("frozen")
def test_what_the_server_refuses_it_would_refuse_again(valkey: Valkey, name: str) -> None:
    """All connections of a pool log in alike."""
    pool = ConnectionPool(**refused_by(valkey, name))
    for _ in range(3):
        with pytest.raises(RedisError) as refused:
            pool.get_connection()
    with pytest.raises(RedisConnectionError, match="back-off; last error: ") as caught:
        pool.get_connection()
    assert str(refused.value) in str(caught.value)


# -- one success ends it, and only a success -------------------------------------------------


class Refused(redis.Connection):
    attempts = 0

    def _connect(self) -> Any:
        Refused.attempts += 1
        return super()._connect()


@pytest.fixture
def refused_pool(frozen: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[ConnectionPool]:
    monkeypatch.setattr(Refused, "attempts", 0)
    pool = ConnectionPool(
        host="127.0.0.1", port=1, connection_class=Refused, max_connections=100, name="shop"
    )
    yield pool
    pool.disconnect()


def test_who_makes_a_new_connection_object_has_not_reached_the_server(
    refused_pool: ConnectionPool, frozen: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            refused_pool.get_connection()
    frozen[0] += 1.0
    reached, go_on = threading.Event(), threading.Event()

    class Waits(Refused):
        def _connect(self) -> Any:
            if not reached.is_set():
                reached.set()
                assert go_on.wait(LIMIT)
            return super()._connect()

    # Whatever object the first takes, the others make new ones.
    with contextlib.suppress(IndexError):
        while True:
            refused_pool._pool._retire(
                refused_pool._pool._ledger, refused_pool._pool._ledger.available.pop()
            )
    refused_pool.connection_class = Waits
    first = Caller(refused_pool.get_connection)
    assert reached.wait(LIMIT)
    for _ in range(5):
        with pytest.raises(RedisConnectionError, match="back-off"):
            refused_pool.get_connection()
    assert Refused.attempts == 3
    go_on.set()
    with pytest.raises(RedisConnectionError, match="refused"):
        first.result()


def assert_names_the_cause(error: BaseException) -> None:
    assert not isinstance(error, MaxConnectionsError)
    assert "shop" in str(error)
    assert "reconnect suppressed by back-off; last error: " in str(error)
    assert "Connection refused" in str(error)
    assert isinstance(error, PoolBackOff)
    assert isinstance(error.__cause__, RedisConnectionError)
    assert "Connection refused" in str(error.__cause__)


@pytest.mark.parametrize("new_object", [False, True])
@pytest.mark.parametrize("through_client", [False, True])
def test_a_refusal_by_back_off_names_the_cause(
    refused_pool: ConnectionPool, new_object: bool, through_client: bool
) -> None:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    client = redis.Redis(connection_pool=refused_pool, retry=retry)
    ask = client.ping if through_client else refused_pool.get_connection
    for _ in range(3):
        with pytest.raises(RedisConnectionError, match="refused"):
            ask()
    if new_object:
        refused_pool._pool._close_idle(refused_pool._pool._ledger)
    with pytest.raises(RedisConnectionError) as caught:
        ask()
    assert_names_the_cause(caught.value)
    assert refused_pool.stats().in_use == 0


@pytest.mark.usefixtures("frozen")
def test_so_does_that_of_a_blocking_pool_that_does_not_wait() -> None:
    pool = BlockingConnectionPool(
        host="127.0.0.1", port=1, max_connections=1, timeout=0, name="shop"
    )
    for _ in range(3):
        with pytest.raises(RedisConnectionError, match="refused"):
            pool.get_connection()
    with pytest.raises(RedisConnectionError) as caught:
        pool.get_connection()
    assert_names_the_cause(caught.value)
