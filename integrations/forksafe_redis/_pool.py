"""Drop-in for redis-py's pools: its classes outside, a `forksafe_pool.Pool` inside."""

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
    """What a process has renewed of what redis-py keeps beside the connections."""

    def __init__(self) -> None:
        self.alive = sentinel()
        self.is_renewed = False


class ConnectionPool(Internals, redis.ConnectionPool):
    """redis-py's ``ConnectionPool``, safe under fork.

    Takes what redis-py's takes, and raises what it raises: ``MaxConnectionsError`` where
    ``max_connections`` are in use. A fork leaves the child with an empty pool and the parent with
    all that it had; see `forksafe_pool.Pool`.

    As in redis-py, `get_connection` never waits. Where it has failed to connect several times in a
    row it fails at once, for half a second at most, before it tries again: a server that comes back
    is not met by everybody at once.

    Parameters, besides redis-py's:
        min_size, max_lifetime, max_idle, check_after, name: as in `forksafe_pool.Pool`; by default
            connections live as long as in redis-py.
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
        """A pool with the options that ``url`` holds, beside ``kwargs``, as in redis-py."""
        if not isinstance(url, str):  # not shown: it may hold a password
            raise TypeError(
                f'url must be text such as "redis://localhost:6379/0", not {type(url).__name__}'
            )
        return super().from_url(url, **kwargs)

    def reset(self) -> None:
        """Forget every connection: those in use are not ours any more when they come back."""
        self._check_size(self.max_connections)
        # Nobody asks for __dict__ here: CPython 3.11 finds attributes later in an object whose
        # __dict__ was asked for.
        if hasattr(self, "_pool"):
            self._checkpid()
            _metrics.count(self, used=-len(self._in_use_connections))
        #: Every connection that was made here and is still there, reset or not, by id(); weakly:
        #: whoever has one may just drop it.
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
        self._in_maintenance = self._in_maintenance  # found sooner here than in the class
        self.pid = os.getpid()

    def _note_class(self, connection_class: Any) -> None:
        _checks.check_class(connection_class)
        self._made_by = _connection.counting(connection_class)
        # The class of which nearly every connection is: what needs no second look.
        is_usual = _connection.counts(self._made_by) and not self._dispatcher
        self._counting = self._made_by if is_usual else None

    def _check_size(self, size: Any) -> None:
        options.count("max_connections", size, at_least=1)
        options.not_larger("min_size", self._options["min_size"], "max_connections", size)

    # redis-py's users may write these two later.

    @property
    def connection_class(self) -> Any:
        """Of what class new connections are."""
        return self._connection_class

    @connection_class.setter
    def connection_class(self, value: Any) -> None:
        if hasattr(self, "_pool"):  # else reset() does it, in the constructor
            self._note_class(value)
        self._connection_class = value

    @property
    def max_connections(self) -> int:
        """How many there may be. If it is made less, idle ones that are too many are closed at
        once, and those in use when they come back."""
        return self._max_connections

    @max_connections.setter
    def max_connections(self, value: int) -> None:
        if hasattr(self, "_pool"):
            self._check_size(value)
            self._pool.resize(value)
        self._max_connections = value

    @property
    def _wait(self) -> float | None:
        """How long `get_connection` waits, in seconds."""
        return 0

    @property
    def _dispatcher(self) -> Any:
        """Whom to tell of a connection that comes back; redis-py's own tells it what we do."""
        return self.connection_kwargs.get("event_dispatcher")

    # -- the fork -----------------------------------------------------------------------------

    def _checkpid(self) -> None:
        if not self._here.alive:
            self._enter_process()

    def _enter_process(self) -> None:
        """Renew what redis-py keeps beside the connections. Once, before the first use."""
        # Before the lock: it severs what came through the fork.
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
                # Invalidations of what it holds go to the parent's connections.
                cache.flush()
            self._renew_maintenance()
            dispatcher: Any = getattr(self, "_event_dispatcher", None)
            if hasattr(dispatcher, "_lock"):
                dispatcher._lock = threading.RLock()
            here.is_renewed = True
            self._here = here

    def _renew_maintenance(self) -> None:
        """A new handler, whose locks nobody holds, and no move under way.

        The timers that would end the parent's move do not run here.
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
        """A connected connection; the arguments are redis-py's of old and mean nothing.

        Raises:
            MaxConnectionsError: all are in use.
            redis.ConnectionError, redis.TimeoutError: it could not be connected; or that was not
                tried, since it has just failed several times.
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
        """Connect it, if it is not; count it, if anybody listens."""
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
        """When none was available: what redis-py raises, mostly."""
        if self._is_full(error):
            # An idle connection is missing for a moment while it is renewed under the lock.
            try:
                connection = self._pool.acquire_after(self._lock)
            except PoolError as late:
                error = late
            else:
                if connection is not None:
                    return connection
        raise self._translated(error) from error.__cause__

    def _is_full(self, error: PoolError) -> bool:
        """Whether all connections are in use, rather than that one could not be made."""
        return not isinstance(error, PoolBackOff | RedisError)

    def _translated(self, error: PoolError) -> Exception:
        """What redis-py would raise."""
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
        """redis-py times the wait in the blocking pool alone."""

    def _verify(self, connection: Any) -> None:
        """What redis-py does at each checkout, for connection classes that are not redis-py's."""
        try:
            if connection.can_read() and not self._expects_pushes():
                raise RedisConnectionError("Connection has data")
        except (RedisError, OSError):
            connection.disconnect()
            connection.connect()
            if connection.can_read() and not self._expects_pushes():
                raise RedisConnectionError("Connection not ready") from None

    def release(self, connection: Any) -> None:
        """Give a connection back. What this process does not hold is ignored, and counted."""
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
        """Give a connection back to be closed, not used again. Else like `release`."""
        self._checkpid()
        self._leave_replica(connection)
        if self._pool.holds(connection):
            _metrics.count(self, idle=1, used=-1)
        self._pool.discard(connection)

    # -- what the pool inside asks ------------------------------------------------------------

    def make_connection(self) -> Any:
        """A new connection, not connected yet."""
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
        """A new connection was connected, which took so long."""
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
        """Prepare a connection for the next user, before the next user can have it."""
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
        """Replace every connection where this one's server has become read-only, in a failover:
        the others lead there as well. Whether it has."""
        if not getattr(_connection.bare(connection), "is_read_only", False):
            return False
        if self._pool.is_current(connection):  # else another one was the first
            logger.warning("%s: the server is read-only, connections are replaced", self.name)
            self._pool.drain()
        return True

    def _note_close(self) -> None:
        _metrics.count(self, idle=-1)

    def close(self) -> None:
        """Disconnect all connections; the pool stays usable, as redis-py's does."""
        self.disconnect()

    # redis-py's own have these since 7.0.
    def __enter__(self) -> ConnectionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        with contextlib.suppress(Exception):
            if self._here.alive:
                stats = self._pool.stats()
                _metrics.count(self, idle=-stats.available, used=-stats.in_use)

    # -- ours ---------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The pool's name in errors, statistics and logs."""
        return self._pool.name

    def connection(self) -> RedisLease:
        """``with pool.connection() as connection:`` gets one, and releases it at the end.

        A block that ends by an exception may have been cut off in the middle of a reply or of a
        transaction: its connection is closed, not reused.
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
        """Replace every connection of this process: those that are idle are closed now, those in
        use when they come back. For a failover, a changed password, or a master that has done its
        work at import. A server that becomes read-only is left so without being asked.
        """
        self._checkpid()
        self._pool.drain()

    def stats(self) -> PoolStats:
        """This process's numbers, now."""
        self._checkpid()
        return self._pool.stats()


def _number(name: str, value: Any) -> Any:
    """Options of a URL's query string come as text."""
    if not isinstance(value, str):
        return value
    try:
        return int(value) if value.isdecimal() else float(value)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {value!r}") from None
