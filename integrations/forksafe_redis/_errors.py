"""The pools' errors: subclasses of redis-py's errors and of `forksafe_pool`'s."""

from __future__ import annotations

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError
from redis.exceptions import TimeoutError as RedisTimeoutError

import forksafe_pool


class TooManyConnections(MaxConnectionsError, forksafe_pool.PoolTimeout):
    """``max_connections`` are in use, and the pool does not wait."""


class NoConnectionAvailable(RedisConnectionError, forksafe_pool.PoolTimeout):
    """No connection became available in time."""


class TooManyWaiting(RedisConnectionError, forksafe_pool.TooManyWaiting):
    """``max_waiting`` callers are already waiting."""


class ReconnectSuppressed(RedisConnectionError, forksafe_pool.PoolBackOff):
    """Several connects have just failed; ``__cause__`` is the last error."""


class ConnectTimeout(RedisTimeoutError, forksafe_pool.PoolTimeout):
    """The pool's timeout expired before the server had answered."""
