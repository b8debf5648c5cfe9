"""redis-py's Sentinel pool: ``sentinel.master_for(name, connection_pool_class=…)``."""

from __future__ import annotations

import inspect
from typing import Any

import redis.sentinel

from forksafe_pool.extend import options
from forksafe_redis import _metrics
from forksafe_redis._pool import ConnectionPool


class SentinelConnectionPool(ConnectionPool, redis.sentinel.SentinelConnectionPool):
    """Drop-in for redis-py's class of the same name.

    The Sentinel object itself queries its sentinels with plain redis-py clients.
    """

    def __init__(self, service_name: str, sentinel_manager: Any, **kwargs: Any) -> None:
        options.text("service_name", service_name)
        if not hasattr(sentinel_manager, "discover_master"):
            raise TypeError(
                f"sentinel_manager must be a redis.sentinel.Sentinel, not {sentinel_manager!r}"
            )
        if inspect.iscoroutinefunction(sentinel_manager.discover_master):
            raise TypeError(
                "sentinel_manager must be a redis.sentinel.Sentinel, not one of redis.asyncio: "
                f"{sentinel_manager!r}"
            )
        super().__init__(service_name, sentinel_manager, **kwargs)

    def reset(self) -> None:
        super().reset()
        self.proxy.reset()

    def _note_class(self, connection_class: Any) -> None:
        super()._note_class(connection_class)
        self._counting = None  # check each connection: its master may have been replaced

    def _take_back(self, connection: Any) -> bool:
        if self.owns_connection(connection):
            return super()._take_back(connection)
        _metrics.count(self, idle=1, used=-1)
        return False  # its master has been replaced
