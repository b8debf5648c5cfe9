"""What the pools raise: redis-py's errors, which are `forksafe_pool`'s as well."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError
from redis.exceptions import TimeoutError as RedisTimeoutError

import forksafe_pool


class TooManyConnections(MaxConnectionsError, forksafe_pool.PoolTimeout):
    """``max_connections`` are in use, and the pool does not wait."""


class NoConnectionAvailable(RedisConnectionError, forksafe_pool.PoolTimeout):
    """None became available in time."""


class TooManyWaiting(RedisConnectionError, forksafe_pool.TooManyWaiting):
    """``max_waiting`` callers are waiting already."""


class ReconnectSuppressed(RedisConnectionError, forksafe_pool.PoolBackOff):
    """Several attempts to connect have just failed; ``__cause__`` is the last error."""


class ConnectTimeout(RedisTimeoutError, forksafe_pool.PoolTimeout):
    """The pool's timeout was over before the server had answered."""
