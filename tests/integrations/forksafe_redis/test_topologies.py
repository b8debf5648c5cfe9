"""A real cluster and a real Sentinel, through our pools."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError, WatchError
from redis.sentinel import Sentinel

from forksafe_redis import ConnectionPool, SentinelConnectionPool
from tests.support.forks import in_child
from tests.support.locks import held_elsewhere
from tests.support.server import free_port
from tests.support.valkey import Valkey

Fork = Callable[[], int]
LIMIT = 20.0


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + LIMIT
    while True:
        try:
            value = condition()
        except RedisError:
            value = None
        if value:
            return value
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Valkey]:
    """One node that serves every slot is a cluster all the same."""
    # Its nodes would talk over a port 10,000 above its own, where there may be none.
    node = Valkey(config=f"cluster-enabled yes\ncluster-port {free_port()}")
    with closing(Redis(port=node.port)) as admin:
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        until(lambda: admin.cluster("INFO")["cluster_state"] == "ok")
    yield node
    node.stop()


def test_cluster(cluster: Valkey, fork: Fork) -> None:
    with closing(
        RedisCluster.from_url(cluster.url, connection_pool_class=ConnectionPool)
    ) as client:
        client.set("key", 1)
        node = client.get_node_from_key("key")
        pool = node.redis_connection.connection_pool
        assert isinstance(pool, ConnectionPool)
        mine = node.redis_connection.client_id()

        def child() -> Any:
            assert client.get("key") == b"1"
            return node.redis_connection.client_id()

        with held_elsewhere(pool._lock):
            assert in_child(child, fork) != mine
        assert node.redis_connection.client_id() == mine


def test_cluster_transaction_that_the_child_collects(cluster: Valkey, fork: Fork) -> None:
    with closing(
        RedisCluster.from_url(cluster.url, connection_pool_class=ConnectionPool)
    ) as client:
        client.set("key", 1)
        try:
            box = [client.pipeline(transaction=True)]
            box[0].watch("key")
        except (RedisError, RedisClusterException) as error:
            pytest.skip(f"this redis-py has no cluster transactions: {error}")

        def child() -> None:
            client.get("key")
            box.clear()

        in_child(child, fork)
        pipe = box[0]
        client.set("key", 2)
        pipe.multi()
        pipe.set("key", "lost update")
        with pytest.raises(WatchError):
            pipe.execute()
        assert client.get("key") == b"2"


@pytest.fixture(scope="module")
def sentinel() -> Iterator[Sentinel]:
    with ExitStack() as stack:
        master = Valkey()
        stack.callback(master.stop)
        watcher = Valkey(
            "--sentinel", config=f"sentinel monitor themaster 127.0.0.1 {master.port} 1"
        )
        stack.callback(watcher.stop)
        found = Sentinel([("127.0.0.1", watcher.port)])
        until(lambda: found.discover_master("themaster"))
        yield found
        for client in found.sentinels:
            client.connection_pool.disconnect()


def test_sentinel(sentinel: Sentinel, fork: Fork) -> None:
    client = sentinel.master_for("themaster", connection_pool_class=SentinelConnectionPool)
    client.set("key", 1)
    mine = client.client_id()

    def child() -> Any:
        assert client.get("key") == b"1"
        return client.client_id()

    with held_elsewhere(client.connection_pool._lock):
        assert in_child(child, fork) != mine
    assert client.client_id() == mine
    assert client.connection_pool.stats().total == 1
    client.connection_pool.disconnect()


def test_a_connection_to_a_replaced_master_frees_its_place(sentinel: Sentinel) -> None:
    client = sentinel.master_for("themaster", connection_pool_class=SentinelConnectionPool)
    pool = client.connection_pool
    connection = pool.get_connection()
    pool.proxy.master_address = ("192.0.2.1", 1)
    pool.release(connection)
    stats = pool.stats()
    assert (stats.total, stats.closed) == (0, 1)
    assert connection._sock is None
    assert client.ping()
    pool.disconnect()


def test_a_reset_forgets_the_master() -> None:
    pool = SentinelConnectionPool("themaster", Sentinel([]))
    pool.proxy.master_address = ("192.0.2.1", 1)
    pool.reset()
    assert pool.proxy.master_address is None
