"""redis-py's Sentinel pool: ``sentinel.master_for(name, connection_pool_class=…)``."""

from __future__ import annotations

from typing import Any

import redis.sentinel

from forksafe_redis import _metrics
from forksafe_redis._pool import ConnectionPool


class SentinelConnectionPool(ConnectionPool, redis.sentinel.SentinelConnectionPool):
    """Drop-in for redis-py's class of the same name.

    The Sentinel object itself asks its sentinels through plain redis-py clients.
    """

    def reset(self) -> None:
        super().reset()
        self._counting = None  # each connection is looked at: its master may have been replaced
        self.proxy.reset()

    def _take_back(self, connection: Any) -> bool:
        if self.owns_connection(connection):
            return super()._take_back(connection)
        _metrics.count(self, idle=1, used=-1)
        return False  # its master has been replaced
