"""redis-py's blocking pool, whose callers wait for a connection."""

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

    Accepts redis-py's parameters. ``timeout`` bounds `get_connection` in seconds: waiting and
    connecting (None: no limit; 0: do not wait; only the socket timeouts bound the connect).
    Waiters are served in FIFO order; after the timeout they get redis-py's ``ConnectionError``.
    ``queue_class`` is accepted but ignored. Failed connects are followed by a back-off, as in
    `forksafe_pool.Pool`.

    Parameters, besides redis-py's: those of `ConnectionPool`, and
        max_waiting: maximum number of waiting callers; further callers get ``ConnectionError``.
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
        """A copy of the queue that redis-py's class keeps; None is a connection not yet made."""
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
