"""Attributes of redis-py's pools that its clients and handlers read, as views of our pool."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import redis

from forksafe_pool.extend import ProcessLocal
from forksafe_redis import _connection

if TYPE_CHECKING:
    from forksafe_redis._inner import Connections

    _Base = redis.ConnectionPool
else:
    _Base = object


class Internals(_Base):
    """Read-only."""

    _pool: Connections
    _locks: ProcessLocal[threading.RLock]

    # redis-py sets this, holding the lock, while it redirects a pool to another server.
    _in_maintenance = False

    @property
    def _lock(self) -> threading.RLock:
        """Held while redis-py changes settings or idle connections; one per process."""
        return self._locks.get()

    @_lock.setter
    def _lock(self, value: object) -> None:
        """Ignored: redis-py's constructor sets a lock, but ours are made on first use."""

    @property
    def _available_connections(self) -> list[Any]:  # type: ignore[override]
        return self._pool.idle_connections()

    @property
    def _in_use_connections(self) -> set[Any]:  # type: ignore[override]
        return set(self._pool.connections_in_use())

    @property
    def _connections(self) -> list[Any]:
        return self._pool.all_connections()

    @property
    def _created_connections(self) -> int:  # type: ignore[override]
        return self._pool.size

    def _get_free_connections(self) -> list[Any]:
        return self._available_connections

    def _get_in_use_connections(self) -> set[Any]:
        return self._in_use_connections

    def set_in_maintenance(self, in_maintenance: bool) -> None:
        """redis-py calls this, holding the lock, while it redirects the pool."""
        self._in_maintenance = in_maintenance

    def disconnect(self, inuse_connections: bool = True) -> None:
        """Disconnect available connections, and those in use if ``inuse_connections`` is true.

        The pool stays usable: connections reconnect on demand.
        """
        self._checkpid()
        with self._lock:
            self._pool.for_each_idle(lambda connection: connection.disconnect())
            if inuse_connections:
                for connection in self._in_use_connections:
                    connection.disconnect()

    def disconnect_free_connections(self, moving_address_src: str | None = None) -> None:
        """Disconnect available connections, or only those to ``moving_address_src``."""

        def leave(connection: Any) -> None:
            if self._should_update_connection(connection, "connected_address", moving_address_src):
                connection.disconnect()

        with self._lock:
            self._pool.for_each_idle(leave)

    def re_auth_callback(self, token: Any) -> None:
        """Authenticate again: available connections now, those in use when they are released."""

        def authenticate(connection: Any) -> None:
            if not _connection.is_connected(connection):
                return  # it gets the new token when it connects
            retry = connection.retry
            retry.call_with_retry(
                lambda: connection.send_command("AUTH", token.try_get("oid"), token.get_value()),
                self._mock,
            )
            retry.call_with_retry(connection.read_response, self._mock)

        self._checkpid()
        with self._lock:
            self._pool.for_each_idle(authenticate)
            for connection in self._in_use_connections:
                connection.set_re_auth_token(token)
