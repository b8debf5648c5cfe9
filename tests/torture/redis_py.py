"""redis-py: a transaction under way, or a subscription."""

from __future__ import annotations

import time
from typing import Any

import redis
from redis.exceptions import MaxConnectionsError

import forksafe_redis
from tests.torture.subject import PATIENCE, SIZE, Driver, Held, Pool, find_locks


class RedisPy(Driver):
    """The transaction watches a key, and is told when somebody changes it."""

    name = "redis-py"
    server = "valkey"

    def connect(self) -> Any:
        raise NotImplementedError  # the pool does

    def ask(self, conn: Any, word: str) -> str:
        conn.send_command("ECHO", word)
        return str(conn.read_response().decode())

    def session(self, conn: Any) -> object:
        conn.send_command("CLIENT", "ID")
        return conn.read_response()

    def begin(self, client: Any) -> Any:
        pipeline = client.pipeline()
        client.set("watched", "before")
        pipeline.watch("watched")
        pipeline.multi()
        pipeline.set("watched", "lost update")
        return pipeline

    def spoil(self, client: Any, pipeline: Any) -> bool:
        pipeline.execute()  # does not connect anew, since it watches
        return True

    def finish(self, client: Any, pipeline: Any) -> bool:
        client.set("watched", "changed")
        try:
            pipeline.execute()
        except redis.WatchError as error:
            return "occurred" not in str(error)  # it says so too where the connection was lost
        return False


class Subscription(RedisPy):
    name = "redis-py, subscription"

    def begin(self, client: Any) -> Any:
        subscription = client.pubsub(ignore_subscribe_messages=True)
        subscription.subscribe("news")
        subscription.get_message(timeout=PATIENCE)
        return subscription

    def spoil(self, client: Any, subscription: Any) -> bool:
        name = subscription.connection._sock.getsockname()
        subscription.unsubscribe("news")
        return bool(subscription.connection._sock.getsockname() == name)

    def finish(self, client: Any, subscription: Any) -> bool:
        heard = 0
        for number in range(5):
            client.publish("news", number)
        for _ in range(5):
            message = subscription.get_message(timeout=PATIENCE)
            heard += bool(message)
        return heard == 5


class TlsRedisPy(RedisPy):
    name = "redis-py, TLS"
    server = "redis tls"


class HeldByClient(Held):
    @property
    def _connection(self) -> Any:
        return self._begun.connection

    def release(self) -> None:
        self._pool.release(self._connection)


class _RedisPool(Pool):
    kind: Any

    def __init__(self, driver: RedisPy) -> None:
        options: dict[str, Any] = {"max_connections": SIZE}
        if issubclass(self.kind, redis.BlockingConnectionPool):
            options["timeout"] = PATIENCE
        self.pool: Any = self.kind.from_url(
            driver.address, socket_timeout=5.0, socket_connect_timeout=5.0, **options
        )
        self.client: Any = redis.Redis(connection_pool=self.pool)

    def acquire(self) -> Any:
        """With as much patience as a pool that waits has."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.pool.get_connection()
            except MaxConnectionsError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.001)

    def release(self, conn: Any) -> None:
        self.pool.release(conn)

    def close(self) -> None:
        self.pool.disconnect()

    def hold(self, driver: Any) -> Held:
        return HeldByClient(self, driver, self.client, driver.begin(self.client))

    def locks(self) -> dict[str, Any]:
        locks = find_locks(pool=self.pool)
        if hasattr(self.pool, "_lock"):
            locks["pool._lock"] = self.pool._lock
        return locks


class OurPool(_RedisPool):
    name = "forksafe_redis.ConnectionPool"
    ours = True
    kind: Any = forksafe_redis.ConnectionPool


class OurBlockingPool(OurPool):
    name = "forksafe_redis.BlockingConnectionPool"
    kind = forksafe_redis.BlockingConnectionPool


class TheirPool(_RedisPool):
    name = "redis.ConnectionPool"
    kind: Any = redis.ConnectionPool


class TheirBlockingPool(TheirPool):
    name = "redis.BlockingConnectionPool"
    kind = redis.BlockingConnectionPool

    def locks(self) -> dict[str, Any]:
        return super().locks() | find_locks(queue=self.pool.pool)
