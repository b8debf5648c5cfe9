"""Drop-in for redis-py's pools: redis-py's classes, implemented with a `forksafe_pool.Pool`."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from typing import Any, TypeVar

import redis
import redis.connection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from forksafe_pool import PoolBackOff, PoolError, PoolStats
from forksafe_pool.extend import Deadline, ProcessLocal, monotonic, options, sentinel
from forksafe_redis import _checks, _connection, _metrics
from forksafe_redis._errors import ReconnectSuppressed, TooManyConnections
from forksafe_redis._inner import Connections
from forksafe_redis._internals import Internals
from forksafe_redis._lease import RedisLease

logger = logging.getLogger("forksafe_redis")

P = TypeVar("P", bound="ConnectionPool")


class _Process:
    """Whether this process has renewed the state that redis-py keeps beside the connections."""

    def __init__(self) -> None:
        self.alive = sentinel()
        self.is_renewed = False


class ConnectionPool(Internals, redis.ConnectionPool):
    """redis-py's ``ConnectionPool``, safe under fork.

    Accepts redis-py's parameters and raises its errors: ``MaxConnectionsError`` if
    ``max_connections`` are in use. After a fork the child starts with an empty pool and the parent
    keeps its connections; see `forksafe_pool.Pool`.

    As in redis-py, `get_connection` never waits. After several failed connects in a row it raises
    immediately, for at most half a second, before it tries again, so that not all clients reconnect
    at once to a server that comes back.

    Parameters, besides redis-py's:
        min_size, max_lifetime, max_idle, check_after, name: as in `forksafe_pool.Pool`; by default
            connections never expire, as in redis-py.
    """

    def __init__(
        self,
        *args: Any,
        min_size: int | str = 0,
        max_waiting: int | str | None = None,
        max_lifetime: float | str | None = None,
        max_idle: float | str | None = None,
        check_after: float | str = 0.5,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        self._options = {
            "min_size": _number("min_size", min_size),
            "max_waiting": _number("max_waiting", max_waiting),
            "max_lifetime": _number("max_lifetime", max_lifetime),
            "max_idle": _number("max_idle", max_idle),
            "check_after": _number("check_after", check_after),
            "name": name,
        }
        options.count("min_size", self._options["min_size"])
        if "timeout" in kwargs:  # redis-py 5.0 leaves it as text
            kwargs["timeout"] = _number("timeout", kwargs["timeout"])
        _checks.check_of_pool(kwargs)
        super().__init__(*args, **kwargs)
        _checks.check_of_connections(kwargs, self.connection_class)

    @classmethod
    def from_url(cls: type[P], url: str, **kwargs: Any) -> P:
        """Create a pool with the options in ``url`` and in ``kwargs``, as in redis-py."""
        if not isinstance(url, str):  # not shown: it may contain a password
            raise TypeError(
                f'url must be text such as "redis://localhost:6379/0", not {type(url).__name__}'
            )
        return super().from_url(url, **kwargs)

    def reset(self) -> None:
        """Forget all connections. Those in use are ignored when they are released."""
        self._check_size(self.max_connections)
        # Do not use __dict__ here: it slows down attribute access on CPython 3.11.
        if hasattr(self, "_pool"):
            self._checkpid()
            _metrics.count(self, used=-len(self._in_use_connections))
        #: All connections made by this pool that still exist, reset or not, by id(). The references
        #: are weak, because a user may simply drop a connection.
        self._made: dict[int, weakref.ref[Any]] = getattr(self, "_made", {})
        self._note_class(self.connection_class)
        self._pool = Connections(
            self, self._made, max_size=self.max_connections, timeout=self._wait, **self._options
        )
        if not hasattr(self, "_here"):
            # Made on first use: gunicorn's gevent worker patches `threading` after the fork.
            self._locks = ProcessLocal(lambda: threading.RLock())
            self._processes = ProcessLocal(_Process)
            self._here = self._processes.get()
            self._here.is_renewed = True
        self._in_maintenance = self._in_maintenance  # faster as an instance attribute
        self.pid = os.getpid()

    def _note_class(self, connection_class: Any) -> None:
        _checks.check_class(connection_class)
        self._made_by = _connection.counting(connection_class)
        # The usual connection class, which takes the fast path.
        is_usual = _connection.counts(self._made_by) and not self._dispatcher
        self._counting = self._made_by if is_usual else None

    def _check_size(self, size: Any) -> None:
        options.count("max_connections", size, at_least=1)
        options.not_larger("min_size", self._options["min_size"], "max_connections", size)

    # redis-py's users may assign these two after construction.

    @property
    def connection_class(self) -> Any:
        """The class of new connections."""
        return self._connection_class

    @connection_class.setter
    def connection_class(self, value: Any) -> None:
        if hasattr(self, "_pool"):  # else reset() does it, in the constructor
            self._note_class(value)
        self._connection_class = value

    @property
    def max_connections(self) -> int:
        """Maximum number of connections. If it is lowered, surplus idle connections are closed
        immediately, and those in use when they are released."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, value: int) -> None:
        if hasattr(self, "_pool"):
            self._check_size(value)
            self._pool.resize(value)
        self._max_connections = value

    @property
    def _wait(self) -> float | None:
        """Seconds that `get_connection` may wait."""
        return 0

    @property
    def _dispatcher(self) -> Any:
        """redis-py's event dispatcher, if the user has set one. Without one, the pool itself
        does on release what redis-py's default dispatcher does."""
        return self.connection_kwargs.get("event_dispatcher")

    # -- the fork -----------------------------------------------------------------------------

    def _checkpid(self) -> None:
        if not self._here.alive:
            self._enter_process()

    def _enter_process(self) -> None:
        """Renew the state that redis-py keeps beside the connections. Once, before first use."""
        # Before the lock is taken: this severs the inherited connections.
        idle, used = self._pool.take_counts_of_parent()
        _metrics.count(self, idle=-idle, used=-used)
        here = self._processes.get()
        with self._lock:
            if here.is_renewed:
                return
            self.pid = os.getpid()
            self._in_maintenance = False
            cache = getattr(self, "cache", None)
            if cache is not None:
                # Invalidations of the cached entries are sent to the parent's connections.
                cache.flush()
            self._renew_maintenance()
            dispatcher: Any = getattr(self, "_event_dispatcher", None)
            if hasattr(dispatcher, "_lock"):
                dispatcher._lock = threading.RLock()
            here.is_renewed = True
            self._here = here

    def _renew_maintenance(self) -> None:
        """Create a new handler, whose locks are free, and end any maintenance move.

        The timers that would end the parent's move do not run in this process.
        """
        handler = getattr(self, "_maint_notifications_pool_handler", None)
        kwargs = self.connection_kwargs
        if handler is not None:
            handler = type(handler)(self, handler.config)
            self._maint_notifications_pool_handler = handler
            kwargs["maint_notifications_pool_handler"] = handler
        if kwargs.pop("maintenance_state", None) is not None:
            kwargs.pop("maintenance_notification_hash", None)
            kwargs["host"] = kwargs.get("orig_host_address")
            for name in ("socket_timeout", "socket_connect_timeout"):
                kwargs[name] = kwargs.get(f"orig_{name}")

    # -- get and release ----------------------------------------------------------------------

    def get_connection(self, command_name: Any = None, *keys: Any, **options: Any) -> Any:
        """Return a connected connection.

        The arguments exist for compatibility with redis-py and are ignored.

        Raises:
            MaxConnectionsError: all connections are in use.
            redis.ConnectionError, redis.TimeoutError: the connect failed, or was suppressed after
                several failures.
        """
        start = monotonic() if _metrics.is_enabled() else 0.0
        if not self._here.alive:
            self._checkpid()
        if self._in_maintenance:
            with self._lock:
                pass
        try:
            connection = self._pool.acquire()
        except PoolError as error:
            connection = self._acquire_late(error)
        if start or type(connection) is not self._counting or connection._sock is None:
            self._prepare(connection, start)
        return connection

    def _prepare(self, connection: Any, start: float) -> None:
        """Connect if needed, and update the metrics if they are enabled."""
        try:
            if start:
                _metrics.count(self, idle=-1, used=1)
                _connection.bare(connection).is_counted = True
            if not _connection.is_connected(connection):
                self._connect(connection)
            if not isinstance(_connection.bare(connection), _connection.CountsReplies):
                self._verify(connection)
        except BaseException:
            self.release(connection)
            raise
        if start:
            self._note_wait(monotonic() - start)

    def _acquire_late(self, error: PoolError) -> Any:
        """Called if none was available: raises redis-py's error, except if a retry succeeds."""
        if self._is_full(error):
            # An idle connection is briefly unavailable while it is renewed under the lock.
            try:
                connection = self._pool.acquire_after(self._lock)
            except PoolError as late:
                error = late
            else:
                if connection is not None:
                    return connection
        raise self._translated(error) from error.__cause__

    def _is_full(self, error: PoolError) -> bool:
        """Whether all connections are in use, as opposed to a failed connect."""
        return not isinstance(error, PoolBackOff | RedisError)

    def _translated(self, error: PoolError) -> Exception:
        """The error that redis-py would raise."""
        if isinstance(error, PoolBackOff):
            return ReconnectSuppressed(
                f"{self.name}: reconnect suppressed by back-off; last error: {error.__cause__}"
            )
        return self._unavailable(error) if self._is_full(error) else error

    def _unavailable(self, error: PoolError) -> Exception:
        return TooManyConnections(f"Too many connections: {error}")

    def _connect(self, connection: Any) -> None:
        try:
            self._pool.connect(connection, Deadline(self._wait))
        except PoolError as error:
            raise self._translated(error) from error.__cause__

    def _note_wait(self, seconds: float) -> None:
        """redis-py records the wait only in the blocking pool."""

    def _verify(self, connection: Any) -> None:
        """redis-py's check at checkout, for connection classes that are not redis-py's."""
        try:
            if connection.can_read() and not self._expects_pushes():
                raise RedisConnectionError("Connection has data")
        except (RedisError, OSError):
            connection.disconnect()
            connection.connect()
            if connection.can_read() and not self._expects_pushes():
                raise RedisConnectionError("Connection not ready") from None

    def release(self, connection: Any) -> None:
        """Release a connection. One that this process does not hold is ignored, and counted."""
        needs_a_look = (
            type(connection) is not self._counting
            or connection.unread_replies
            or connection.is_counted
            or connection._should_reconnect
            or connection._re_auth_token
        )
        if needs_a_look and self._pool.holds(connection) and not self._is_taken_back(connection):
            self._pool.discard(connection)
        else:
            self._pool.release(connection)

    def _is_taken_back(self, connection: Any) -> bool:
        try:
            return self._take_back(connection)
        except BaseException as error:
            if not isinstance(error, Exception):
                self._pool.discard(connection)
                raise
            logger.warning("%s: a connection is closed, not reused", self.name, exc_info=True)
            return False

    def discard(self, connection: Any) -> None:
        """Release a connection and close it instead of reusing it. Otherwise like `release`."""
        self._checkpid()
        self._leave_replica(connection)
        if self._pool.holds(connection):
            _metrics.count(self, idle=1, used=-1)
        self._pool.discard(connection)

    # -- called by the inner pool -------------------------------------------------------------

    def make_connection(self) -> Any:
        """Create a connection that is not connected yet."""
        connection = self._made_by(**self.connection_kwargs)
        cache = getattr(self, "cache", None)
        if cache is not None:
            proxy: Any = redis.connection.CacheProxyConnection
            connection = proxy(connection, cache, self._lock)
        if _connection.counts(self._made_by):
            made, key = self._made, id(connection)
            made[key] = weakref.ref(connection, lambda _: made.pop(key, None))
        _metrics.count(self, idle=1)
        return connection

    def _note_connect(self, seconds: float) -> None:
        """Record that a new connection was connected, and the seconds that this took."""
        _metrics.created(self, seconds)

    def _is_alive(self, connection: Any) -> bool:
        if not _connection.is_connected(connection):
            return True  # get_connection will connect it
        try:
            return not connection.can_read() or self._expects_pushes()
        except (RedisError, OSError):
            return False

    def _expects_pushes(self) -> bool:
        if getattr(self, "cache", None) is not None:
            return True
        enabled = getattr(self, "maint_notifications_enabled", None)
        return bool(enabled and enabled())

    def _take_back(self, connection: Any) -> bool:
        """Prepare a connection for the next user, before it becomes available.

        Returns whether it can be reused."""
        _metrics.count(self, idle=1, used=-1)
        _connection.bare(connection).is_counted = False
        dispatcher = self._dispatcher
        if self._leave_replica(connection):
            return False
        if not _connection.is_clean(connection):
            connection.disconnect()
        if dispatcher is not None:
            dispatcher.dispatch(redis.event.AfterConnectionReleasedEvent(connection))
        elif getattr(_connection.bare(connection), "_re_auth_token", None) is not None:
            connection.re_auth()
        return True

    def _leave_replica(self, connection: Any) -> bool:
        """Drain the pool if this connection's server has become read-only after a failover: the
        other connections lead to the same server. Returns whether it has."""
        if not getattr(_connection.bare(connection), "is_read_only", False):
            return False
        if self._pool.is_current(connection):  # else another one has already drained the pool
            logger.warning("%s: the server is read-only, connections are replaced", self.name)
            self._pool.drain()
        return True

    def _note_close(self) -> None:
        _metrics.count(self, idle=-1)

    def close(self) -> None:
        """Disconnect all connections. The pool stays usable, as in redis-py."""
        self.disconnect()

    # redis-py's pools have these since 7.0.
    def __enter__(self) -> ConnectionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._here.alive:
                stats = self._pool.stats()
                _metrics.count(self, idle=-stats.available, used=-stats.in_use)

    # -- beyond redis-py ----------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The pool's name in errors, statistics and logs."""
        return self._pool.name

    def connection(self) -> RedisLease:
        """``with pool.connection() as connection:`` acquires one, and releases it at the end.

        An exception may interrupt the block in the middle of a reply or of a transaction, so its
        connection is closed instead of reused.
        """
        return RedisLease(self)

    def fill(self) -> None:
        """Connect until this process has `min_size` connections."""
        self._checkpid()
        try:
            self._pool.fill()
        except PoolError as error:
            raise self._translated(error) from error.__cause__

    def drain(self) -> None:
        """Replace all connections of this process: idle ones are closed immediately, those in use
        when they are released. Use it after a failover or a password change, or in a master process
        before it forks. Called automatically when the server becomes read-only.
        """
        self._checkpid()
        self._pool.drain()

    def stats(self) -> PoolStats:
        """Return a snapshot of this process's statistics."""
        self._checkpid()
        return self._pool.stats()


def _number(name: str, value: Any) -> Any:
    """Convert an option that is a string because it comes from a URL's query."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.isdecimal() else float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {value!r}") from None
