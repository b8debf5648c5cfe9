"""A pytest plugin (``-p swap_redis_pools``): redis-py's names stand for our classes."""

from __future__ import annotations

import redis
import redis.client
import redis.cluster
import redis.connection
import redis.sentinel

import forksafe_redis

for module in (redis, redis.client, redis.cluster, redis.connection, redis.sentinel):
    for ours in (
        forksafe_redis.BlockingConnectionPool,
        forksafe_redis.ConnectionPool,
        forksafe_redis.SentinelConnectionPool,
    ):
        if hasattr(module, ours.__name__):
            setattr(module, ours.__name__, ours)
