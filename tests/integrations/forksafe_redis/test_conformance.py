"""The conformance suite with redis-py's connections: a real server."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import pytest
import redis
from redis.exceptions import MaxConnectionsError

from forksafe_pool import PoolStats
from forksafe_pool.conformance import DriverConformance
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.support.valkey import Valkey


class Adapter:
    """redis-py's names for what a pool does."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    def acquire(self) -> Any:
        return self._pool.get_connection()

    def release(self, conn: Any) -> None:
        self._pool.release(conn)

    def discard(self, conn: Any) -> None:
        self._pool.discard(conn)

    def connection(self) -> AbstractContextManager[Any]:
        return self._pool.connection()

    def close(self, timeout: float) -> None:
        self._pool.disconnect()

    def drain(self) -> None:
        self._pool.drain()

    def resize(self, max_size: int) -> None:
        self._pool.max_connections = max_size

    def stats(self) -> PoolStats:
        return self._pool.stats()


class RedisConformance(DriverConformance):
    kind: ClassVar[type[ConnectionPool]]
    connect_error = redis.ConnectionError
    closed_error = None

    @pytest.fixture(autouse=True)
    def connect_to(self, valkey: Valkey) -> None:
        self.port = valkey.port

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        options["max_connections"] = options.pop("max_size")
        if not self.waits:
            del options["timeout"]
        return Adapter(self.kind(host="127.0.0.1", port=port or self.port or 0, **options))

    def echo(self, conn: Any, text: str) -> str:
        return str(self._command(conn, "ECHO", text).decode())

    def session_id(self, conn: Any) -> Any:
        return self._command(conn, "CLIENT", "ID")

    def begin(self, conn: Any) -> None:
        conn.send_command("ECHO", "unread")

    def finish(self, conn: Any) -> bool:
        found = self._command(conn, "ECHO", "end")
        if found == b"end":
            return False
        assert (found, conn.read_response()) == (b"unread", b"end")
        return True

    def close(self, conn: Any) -> None:
        conn.disconnect()

    def killer(self, conn: Any) -> Callable[[], object]:
        session = str(self.session_id(conn))

        def kill() -> None:
            with redis.Redis(port=self.port or 0) as admin:
                admin.client_kill_filter(_id=session)
            with pytest.raises(redis.ConnectionError):
                conn.can_read(timeout=20)

        return kill

    def lives(self, session: Any) -> bool:
        with redis.Redis(port=self.port or 0) as admin:
            return str(session) in {client["id"] for client in admin.client_list()}

    def _command(self, conn: Any, *words: str) -> Any:
        conn.send_command(*words)
        return conn.read_response()


class TestConnectionPool(RedisConformance):
    kind = ConnectionPool
    exhausted_error = MaxConnectionsError
    waits = False


class TestBlockingConnectionPool(RedisConformance):
    kind = BlockingConnectionPool
    exhausted_error = redis.ConnectionError
