"""redis-py's pool whose callers wait."""

from __future__ import annotations

from queue import LifoQueue
from typing import Any

import redis

import forksafe_pool
from forksafe_pool import PoolError
from forksafe_pool.extend import options
from forksafe_redis import _metrics
from forksafe_redis._errors import NoConnectionAvailable, TooManyWaiting
from forksafe_redis._pool import ConnectionPool


class BlockingConnectionPool(ConnectionPool, redis.BlockingConnectionPool):  # type: ignore[override]
    """redis-py's ``BlockingConnectionPool``, safe under fork and fair.

    Takes what redis-py's takes: ``timeout`` is how many seconds `get_connection` may take, for
    its turn and for connecting (None: no limit; 0: it does not wait, and only the socket's own
    timeouts limit connecting). The longest waiting caller is served first; one that waits in vain
    gets redis-py's ``ConnectionError``. ``queue_class`` is accepted and not used. After a failed
    connect the next attempt waits a little first, as in `forksafe_pool.Pool`.

    Parameters, besides redis-py's: those of `ConnectionPool`, and
        max_waiting: how many callers may wait at a time; one more gets ``ConnectionError``.
    """

    _timeout: float | None

    def reset(self) -> None:
        options.function("queue_class", self.queue_class, "max_connections")
        super().reset()

    @property
    def timeout(self) -> float | None:
        return self._timeout

    @timeout.setter
    def timeout(self, value: float | None) -> None:
        if hasattr(self, "_pool"):  # else reset() does it, in the constructor
            self._pool._timeout = options.seconds_or_none("timeout", value)
        self._timeout = value

    @property
    def pool(self) -> Any:
        """A picture of the queue that redis-py's class keeps; None for what is not made yet."""
        available = self._available_connections
        queue = LifoQueue[Any](self.max_connections)
        queue.queue = [None] * (self.max_connections - self._created_connections) + available
        return queue

    @property
    def _wait(self) -> float | None:
        return self.timeout

    def _acquire_late(self, error: PoolError) -> Any:
        raise self._translated(error) from error.__cause__

    def _unavailable(self, error: PoolError) -> Exception:
        if isinstance(error, forksafe_pool.TooManyWaiting):
            return TooManyWaiting(f"No connection available: {error}")
        return NoConnectionAvailable(f"No connection available: {error}")

    def _note_wait(self, seconds: float) -> None:
        _metrics.waited(self, seconds)
