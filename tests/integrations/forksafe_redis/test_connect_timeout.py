"""A blocking pool's timeout bounds the whole of `get_connection`: the wait and the connecting."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.forksafe_pool.threads import Caller, eventually

LIMIT = 10.0
#: What the user allows the socket: longer than a test may take.
LONG = 60.0
SHORT = 0.2


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """The address of a server that accepts, and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()


@pytest.fixture
def unreachable() -> Iterator[tuple[str, int]]:
    """One to which nobody gets through: its queue is full, and no SYN is answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        address = listener.getsockname()
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        yield address


def blocking(address: tuple[str, int], **options: Any) -> BlockingConnectionPool:
    options = {"timeout": SHORT, "socket_timeout": LONG, "protocol": 3, **options}
    options.setdefault("socket_connect_timeout", LONG)
    return BlockingConnectionPool(host=address[0], port=address[1], max_connections=1, **options)


def assert_fails_in_time(pool: BlockingConnectionPool, match: str) -> None:
    # Again with the same connection object, and with a client, whose retries are its own.
    client = redis.Redis(connection_pool=pool, retry=Retry(NoBackoff(), 0))
    for ask in (pool.get_connection, pool.get_connection, client.ping):
        with pytest.raises((RedisConnectionError, RedisTimeoutError), match=match):
            Caller(ask).result(LIMIT)
    assert pool.stats().in_use == 0


def test_a_server_that_accepts_and_says_nothing(silent: tuple[str, int]) -> None:
    assert_fails_in_time(blocking(silent), "Timeout reading|suppressed")


def test_a_server_that_cannot_be_reached(unreachable: tuple[str, int]) -> None:
    assert_fails_in_time(blocking(unreachable), "Timeout connecting|suppressed")


def test_a_name_that_has_many_addresses(
    unreachable: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = socket.getaddrinfo(*unreachable, 0, socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 200)
    assert_fails_in_time(blocking(unreachable), "Timeout connecting|suppressed")


def test_a_socket_of_the_file_system(tmp_path: Any) -> None:
    path = str(tmp_path / "redis.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        pool = BlockingConnectionPool(
            connection_class=redis.UnixDomainSocketConnection,
            path=path,
            timeout=SHORT,
            socket_timeout=LONG,
            protocol=3,
        )
        assert_fails_in_time(pool, "Timeout reading|suppressed")


def test_a_server_that_says_nothing_to_tls(silent: tuple[str, int]) -> None:
    pool = blocking(silent, connection_class=redis.SSLConnection)
    assert_fails_in_time(pool, "timed out|Timeout|suppressed")


@pytest.mark.parametrize("retry", [Retry(NoBackoff(), 1000), Retry(NoBackoff(), -1)])
def test_a_silent_server_that_is_tried_again(silent: tuple[str, int], retry: Retry) -> None:
    pool = blocking(silent, retry=retry, retry_on_timeout=True)
    assert_fails_in_time(pool, "Timeout reading|suppressed")


def test_a_refused_port_that_is_tried_again_much_later() -> None:
    pool = blocking(("127.0.0.1", 1), retry=Retry(ConstantBackoff(LONG), 5))
    assert_fails_in_time(pool, "refused")


def test_a_server_that_takes_its_time_with_each_reply(valkey: Any) -> None:
    """No single wait is long. Their sum is."""

    def on_connect(connection: Any) -> None:
        connection.on_connect()
        for _ in range(1000):
            connection.send_command("BLPOP", "nothing", SHORT / 4)
            connection.read_response()

    pool = blocking((valkey.host, valkey.port), redis_connect_func=on_connect)
    assert_fails_in_time(pool, "Timeout reading|suppressed")


def test_what_is_left_after_the_wait(silent: tuple[str, int]) -> None:
    """A waiter that is handed a place connects within the rest."""
    waits = threading.Event()

    def on_connect(connection: Any) -> None:
        if waits.is_set():
            connection.on_connect()

    pool = blocking(silent, redis_connect_func=on_connect, timeout=2 * SHORT)
    held = pool.get_connection()
    waits.set()
    waiter = Caller(pool.get_connection)
    eventually(lambda: pool.stats().waiting == 1)
    held.disconnect()
    pool.release(held)
    with pytest.raises(RedisTimeoutError, match="Timeout reading"):
        waiter.result(LIMIT)


def patience(
    pool: ConnectionPool, redis_class: Any = redis.Redis
) -> tuple[list[float | None], float | None]:
    """How long the socket may take in the handshake, and afterwards."""
    seen: list[float | None] = []

    def on_connect(connection: Any) -> None:
        seen.append(connection._sock.gettimeout())
        connection.on_connect()
        connection.send_command("PING")
        seen.append(connection._sock.gettimeout())
        connection.read_response()

    pool.connection_kwargs["redis_connect_func"] = on_connect
    connection = pool.get_connection()
    assert connection.socket_timeout == pool.connection_kwargs.get("socket_timeout")
    after = connection._sock.gettimeout()
    assert redis_class(connection_pool=pool).ping() if pool.max_connections > 1 else True
    connection.disconnect()
    pool.release(connection)
    reconnected = pool.get_connection()
    assert reconnected._sock.gettimeout() == after
    pool.release(reconnected)
    pool.disconnect()
    return seen, after


def test_the_connection_s_own_timeout_is_back_afterwards(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, timeout=5, socket_timeout=LONG)
    seen, after = patience(pool)
    assert seen
    assert all(seconds is not None and 0 < seconds <= 5 for seconds in seen)
    assert after == LONG


def test_nor_is_there_one_where_the_user_gave_none(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, timeout=5, socket_timeout=None)
    seen, after = patience(pool)
    assert all(seconds is not None and 0 < seconds <= 5 for seconds in seen)
    assert after is None


def test_what_the_user_gave_is_never_made_longer(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, timeout=LONG, socket_timeout=5)
    assert patience(pool) == ([5] * 6, 5)


@pytest.mark.parametrize("timeout", [None, 0])
def test_a_blocking_pool_without_a_timeout_leaves_it_to_the_socket_s(
    redis_url: str, timeout: float | None
) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, timeout=timeout, socket_timeout=LONG)
    assert patience(pool) == ([LONG] * 6, LONG)


def test_a_pool_that_never_waits_leaves_it_to_the_socket_s(redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url, socket_timeout=LONG)
    assert patience(pool) == ([LONG] * 6, LONG)


def test_the_next_command_has_its_own_time(valkey: Any) -> None:
    """What bounded the handshake does not end a command that takes longer."""
    pool = blocking((valkey.host, valkey.port))
    client = redis.Redis(connection_pool=pool)
    assert client.blpop(["nothing"], timeout=2 * SHORT) is None
    pool.disconnect()
