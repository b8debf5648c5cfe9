"""redis-py's Sentinel pool: ``sentinel.master_for(name, connection_pool_class=…)``."""

from __future__ import annotations

from typing import Any

import redis.sentinel

from forksafe_redis._pool import ConnectionPool


class SentinelConnectionPool(ConnectionPool, redis.sentinel.SentinelConnectionPool):
    """Drop-in for redis-py's class of the same name.

    The Sentinel object itself asks its sentinels through plain redis-py clients.
    """

    def reset(self) -> None:
        super().reset()
        self.proxy.reset()

    def _is_still_wanted(self, connection: Any) -> bool:
        # A connection to a master that has been replaced is not.
        return bool(self.owns_connection(connection))
