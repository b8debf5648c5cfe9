"""redis-py's client-side cache, which lives on invalidations that the server pushes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from forksafe_redis import ConnectionPool
from tests.support.forks import in_child
from tests.support.locks import held_elsewhere

connection = pytest.importorskip("redis.connection")
cache = pytest.importorskip("redis.cache", reason="redis-py has a client-side cache since 5.3")

Fork = Callable[[], int]
LIMIT = 10.0


@pytest.fixture
def caching(
    kind: type[ConnectionPool], redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Redis]:
    # redis-py caches with Redis 7.4 alone; Valkey's tracking is the same.
    proxy = connection.CacheProxyConnection
    monkeypatch.setattr(proxy, "DEFAULT_SERVER_NAME", "valkey")
    monkeypatch.setattr(proxy, "MIN_ALLOWED_VERSION", "7.0.0")
    pool = kind.from_url(redis_url, protocol=3, cache_config=cache.CacheConfig())
    yield Redis(connection_pool=pool)
    pool.disconnect()


def becomes_new(caching: Any) -> bool:
    """The server may answer who changes a key before it tells those who cached it."""
    deadline = time.monotonic() + LIMIT
    while caching.get("cached") != b"new":
        assert time.monotonic() < deadline, "the value is stale for ever"
    return True


def test_it_caches_and_hears_of_changes(caching: Any, watcher: Any) -> None:
    watcher.set("cached", "old")
    assert caching.get("cached") == b"old"
    assert caching.connection_pool.cache.size == 1
    watcher.set("cached", "new")
    assert becomes_new(caching)


def test_the_parent_hears_of_changes_after_a_child_has_read(
    caching: Any, watcher: Any, fork: Fork
) -> None:
    """Under redis-py the child takes the invalidation: the parent's value is stale for ever."""
    watcher.set("cached", "old")
    caching.get("cached")

    def child() -> object:
        caching.get("cached")
        watcher.connection_pool.reset()
        watcher.set("cached", "new")
        return becomes_new(caching)

    assert in_child(child, fork)
    assert becomes_new(caching)


def test_the_child_does_not_believe_what_the_parent_cached(
    caching: Any, watcher: Any, fork: Fork
) -> None:
    watcher.set("cached", "old")
    caching.get("cached")

    def child() -> object:
        watcher.connection_pool.reset()
        watcher.set("cached", "new")
        return caching.get("cached")

    assert in_child(child, fork) == b"new"


def test_an_inherited_connection_s_locks_are_held_by_nobody(caching: Any, fork: Fork) -> None:
    client: Any = Redis(connection_pool=caching.connection_pool, single_connection_client=True)
    client.set("cached", 1)

    def child() -> object:
        caching.ping()
        with contextlib.suppress(RedisConnectionError):  # the first command tells of the loss
            client.ping()
        return client.get("cached")

    locked = client.connection._cache_lock
    with held_elsewhere(locked):
        assert in_child(child, fork) == b"1"
        assert client.connection._cache_lock is locked
    client.close()
