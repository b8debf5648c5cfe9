"""redis-py's OpenTelemetry metrics (redis-py 7.4 and later), recorded as by its own pools."""

from __future__ import annotations

from typing import Any

import redis.connection

try:
    from redis.observability.attributes import ConnectionState, get_pool_name
    from redis.observability.providers import get_observability_instance
except ImportError:  # before 7.4 there are no metrics
    get_observability_instance = None  # type: ignore[assignment]

# redis-py's functions are looked up in redis.connection at each call, because its users and its own
# tests replace them there.
_redis: Any = redis.connection
_counts = hasattr(_redis, "record_connection_count")


def is_enabled() -> bool:
    """Whether metrics are enabled."""
    return _counts and get_observability_instance().get_provider_manager() is not None


def count(pool: Any, *, idle: int = 0, used: int = 0) -> None:
    """Change the number of idle and used connections of ``pool``."""
    if not is_enabled():
        return
    name = get_pool_name(pool)
    for state, change in ((ConnectionState.IDLE, idle), (ConnectionState.USED, used)):
        if change:
            _redis.record_connection_count(pool_name=name, connection_state=state, counter=change)


def created(pool: Any, seconds: float) -> None:
    if is_enabled():
        _redis.record_connection_create_time(connection_pool=pool, duration_seconds=seconds)


def waited(pool: Any, seconds: float) -> None:
    if is_enabled():
        _redis.record_connection_wait_time(pool_name=get_pool_name(pool), duration_seconds=seconds)
