"""What is dropped is gone: nothing keeps a pool, nor what its user made for it."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import redis

from forksafe_redis import BlockingConnectionPool, ConnectionPool

PLAIN: list[Any] = [redis.ConnectionPool, redis.BlockingConnectionPool]


@pytest.mark.parametrize("kind", [*PLAIN, ConnectionPool, BlockingConnectionPool])
@pytest.mark.parametrize("is_used", [False, True])
@pytest.mark.parametrize("is_cached", [False, True])
def test_connection_classes_made_in_a_function(
    kind: Any, redis_url: str, is_used: bool, is_cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As kombu makes one for each channel, which refers to the channel and its pool."""
    alive: list[weakref.ref[Any]] = []
    options: dict[str, Any] = {}
    if is_cached:
        cache = pytest.importorskip("redis.cache", reason="since redis-py 5.1")
        options = {"protocol": 3, "cache_config": cache.CacheConfig()}
        proxy: Any = redis.connection.CacheProxyConnection
        monkeypatch.setattr(proxy, "DEFAULT_SERVER_NAME", "valkey")
        monkeypatch.setattr(proxy, "MIN_ALLOWED_VERSION", "7.0.0")

    def use_one() -> None:
        owner: dict[str, Any] = {}

        class Connection(redis.Connection):
            def disconnect(self, *args: Any) -> None:
                super().disconnect(*args)
                owner["lost"] = self

        owner["pool"] = pool = kind.from_url(redis_url, connection_class=Connection, **options)
        if is_used:
            redis.Redis(connection_pool=pool).ping()
            pool.disconnect()
        alive.extend([weakref.ref(Connection), weakref.ref(pool)])

    for _ in range(20):
        use_one()
    gc.collect()
    assert sum(reference() is not None for reference in alive) == 0


def test_pools_of_one_connection_class_share_what_is_derived_from_it(redis_url: str) -> None:
    one = ConnectionPool.from_url(redis_url)
    other = ConnectionPool.from_url(redis_url)
    assert one._made_by is other._made_by


def test_a_connection_class_that_is_no_key(redis_url: str) -> None:
    class Makes:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, **options: Any) -> redis.Connection:
            return redis.Connection(**options)

    pool = ConnectionPool.from_url(redis_url, connection_class=Makes())
    assert redis.Redis(connection_pool=pool).ping()
    pool.disconnect()
