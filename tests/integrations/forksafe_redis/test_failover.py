"""All connections are replaced: by `drain`, and where a server has become a replica."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import ReadOnlyError

from forksafe_redis import ConnectionPool
from tests.support.forks import in_child
from tests.support.valkey import Valkey

SIZE = 4


class Name:
    """A DNS name, and where it leads."""

    def __init__(self, *servers: Valkey) -> None:
        self.servers = servers
        self.server = servers[0]

    def client_of(self, kind: type[ConnectionPool], **options: Any) -> Any:
        name = self

        class Connection(redis.Connection):
            def _connect(self) -> Any:
                self.port = name.server.port
                return super()._connect()

        pool = kind(connection_class=Connection, max_connections=SIZE, **options)
        return redis.Redis(connection_pool=pool)


@pytest.fixture(scope="module")
def other() -> Iterator[Valkey]:
    server = Valkey()
    yield server
    server.stop()


@pytest.fixture
def name(valkey: Valkey, other: Valkey) -> Iterator[Name]:
    name = Name(other, valkey)
    yield name
    with redis.Redis(port=other.port) as admin:
        admin.replicaof("NO", "ONE")


def fail_over(name: Name) -> None:
    """What was the master becomes a replica, and the name leads to another server."""
    with redis.Redis(port=name.server.port) as admin:
        admin.replicaof("127.0.0.1", 1)
    name.server = name.servers[1]


def open_all(pool: ConnectionPool) -> list[Any]:
    """As many connections as there may be, all idle again."""
    held = [pool.get_connection() for _ in range(SIZE)]
    for connection in held:
        pool.release(connection)
    return held


def errors_of(client: Any, times: int = 3 * SIZE) -> int:
    errors = 0
    for number in range(times):
        try:
            assert client.set("key", number)
        except ReadOnlyError:
            errors += 1
    return errors


def test_a_failover_behind_a_name_costs_one_error(kind: type[ConnectionPool], name: Name) -> None:
    client = name.client_of(kind)
    open_all(client.connection_pool)
    fail_over(name)
    assert errors_of(client) == 1
    assert client.connection_pool.stats().in_use == 0
    client.connection_pool.disconnect()


def test_so_it_does_in_a_pipeline(kind: type[ConnectionPool], name: Name) -> None:
    client = name.client_of(kind)
    open_all(client.connection_pool)
    fail_over(name)
    for transaction in (True, False):
        if transaction:
            with pytest.raises((ReadOnlyError, redis.exceptions.ExecAbortError)):
                client.pipeline(transaction=transaction).set("key", 1).execute()
        assert client.pipeline(transaction=transaction).set("key", 1).execute() == [True]
    assert errors_of(client) == 0
    client.connection_pool.disconnect()


@pytest.mark.parametrize("give_back", ["release", "discard", "block"])
def test_what_is_in_use_then_is_replaced_as_well(
    kind: type[ConnectionPool], name: Name, give_back: str
) -> None:
    client = name.client_of(kind)
    pool = client.connection_pool
    in_use, hit, *idle = (pool.get_connection() for _ in range(SIZE))
    for connection in idle:
        pool.release(connection)
    fail_over(name)

    def write(connection: Any) -> None:
        connection.send_command("SET", "key", "value")
        connection.read_response()

    if give_back == "block":
        pool.release(hit)
        with pytest.raises(ReadOnlyError), pool.connection() as hit:
            write(hit)
    else:
        with pytest.raises(ReadOnlyError):
            write(hit)
        getattr(pool, give_back)(hit)
    pool.release(in_use)
    assert errors_of(client) == 0
    stats = pool.stats()
    assert (stats.in_use, stats.foreign_releases, stats.closed) == (0, 0, SIZE)
    pool.disconnect()


def test_another_error_of_the_server_costs_no_connection(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    pool = kind.from_url(redis_url, max_connections=SIZE)
    client = redis.Redis(connection_pool=pool)
    open_all(pool)
    with pytest.raises(redis.ResponseError):
        client.execute_command("NO-SUCH-COMMAND")
    assert pool.stats().closed == 0
    pool.disconnect()


def test_a_master_drains_what_it_used_at_import(pool: ConnectionPool, client: redis.Redis) -> None:
    client.ping()
    pool.drain()

    def child() -> tuple[int, bool]:
        return pool.stats().severed, client.ping()

    assert in_child(child) == (0, True)


def test_drain_while_a_connection_is_being_made(kind: type[ConnectionPool], redis_url: str) -> None:
    """It may lead where the others do: it is replaced when it comes back."""
    drains = True

    def on_connect(connection: Any) -> None:
        connection.on_connect()
        if drains:
            pool.drain()

    pool = kind.from_url(redis_url, redis_connect_func=on_connect)
    connection = pool.get_connection()
    drains = False
    pool.release(connection)
    with contextlib.closing(redis.Redis(connection_pool=pool)) as client:
        assert client.ping()
    assert pool.stats().closed == 1
    pool.disconnect()
