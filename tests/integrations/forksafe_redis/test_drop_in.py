"""What redis-py's users and its own code expect of its pools."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from redis import Redis
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError, WatchError

from forksafe_redis import BlockingConnectionPool, ConnectionPool

LIMIT = 10.0


def test_they_are_redis_py_s_classes(redis_url: str) -> None:
    assert isinstance(ConnectionPool.from_url(redis_url), redis.ConnectionPool)
    blocking = BlockingConnectionPool.from_url(redis_url)
    assert isinstance(blocking, redis.BlockingConnectionPool)
    assert isinstance(blocking, ConnectionPool)


def test_arguments_are_redis_py_s(kind: type[ConnectionPool]) -> None:
    pool = kind(host="localhost", port=1, db=2, max_connections=7)
    theirs = redis.ConnectionPool(host="localhost", port=1, db=2, max_connections=7)
    assert pool.max_connections == 7
    assert {**pool.connection_kwargs, "x": 0}.keys() == {**theirs.connection_kwargs, "x": 0}.keys()
    assert "port=1" in repr(pool)


def test_a_url_carries_our_options_too(kind: type[ConnectionPool]) -> None:
    pool = kind.from_url("redis://localhost/3?max_connections=4&min_size=2&max_idle=1.5&name=n")
    stats = pool.stats()
    assert (stats.max_size, stats.min_size, stats.name) == (4, 2, "n")
    assert pool._pool.max_idle == 1.5


def test_a_bad_option_of_a_url_is_named(kind: type[ConnectionPool]) -> None:
    with pytest.raises(ValueError, match="min_size must be a number, not 'two'"):
        kind.from_url("redis://localhost?min_size=two")


def test_too_many_connections(redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url, max_connections=1)
    connection = pool.get_connection()
    with pytest.raises(MaxConnectionsError, match=r"Too many connections.*in use 1"):
        pool.get_connection()
    assert pool.stats().timeouts == 1
    pool.release(connection)
    assert pool.get_connection() is connection
    pool.disconnect()


class Watched:
    """A lock that tells when somebody is about to wait for it."""

    def __init__(self) -> None:
        self.lock, self.wanted = threading.RLock(), threading.Event()

    def __enter__(self) -> None:
        self.wanted.set()
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_what_is_renewed_just_now_is_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py's pool holds its lock for the whole of it."""
    pool = ConnectionPool.from_url(redis_url, max_connections=1)
    pool.release(pool.get_connection())
    lock = Watched()
    monkeypatch.setattr(pool, "_locks", SimpleNamespace(get=lambda: lock))
    renewing = threading.Event()

    def renew() -> None:
        def wait(connection: Any) -> None:
            renewing.set()
            assert lock.wanted.wait(LIMIT)

        with lock.lock:
            pool._pool.for_each_idle(wait)

    thread = threading.Thread(target=renew)
    thread.start()
    assert renewing.wait(LIMIT)
    pool.release(pool.get_connection())
    thread.join(LIMIT)
    pool.disconnect()


def test_what_was_renewed_meanwhile_is_seen(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = ConnectionPool.from_url(redis_url, max_connections=1)
    pool.release(pool.get_connection())
    inner, tried = pool._pool, list[str]()
    acquire = inner.acquire

    def at_a_bad_moment() -> Any:
        tried.append("once")
        if len(tried) > 1:
            return acquire()
        slot = inner._ledger.available.pop()
        try:
            return acquire()
        finally:
            inner._ledger.put_back(slot)

    monkeypatch.setattr(inner, "acquire", at_a_bad_moment)
    pool.release(pool.get_connection())
    assert pool.stats().timeouts == 0
    pool.disconnect()


def test_no_connection_available(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=1)
    pool.get_connection()
    pool.timeout = 0.01
    with pytest.raises(RedisConnectionError, match="No connection available") as caught:
        pool.get_connection()
    assert not isinstance(caught.value, MaxConnectionsError)
    pool.disconnect()


def test_commands(client: Any) -> None:
    assert client.set("commands", 1)
    assert client.get("commands") == b"1"
    assert client.connection_pool.stats().total == 1


def test_pipelines_and_transactions(client: Any) -> None:
    with client.pipeline() as pipe:
        assert pipe.set("p", 1).incr("p").get("p").execute() == [True, 2, b"2"]
    with client.pipeline() as pipe:
        pipe.watch("p")
        client.set("p", "changed")
        pipe.multi()
        pipe.set("p", "lost")
        with pytest.raises(WatchError):
            pipe.execute()

    def change(pipe: Any) -> None:
        pipe.multi()
        pipe.set("p", "t")

    assert client.transaction(change, "p") == [True]
    stats = client.connection_pool.stats()
    assert (stats.in_use, stats.opened, stats.closed) == (0, 2, 0)


def test_subscriptions(client: Any) -> None:
    subscription = client.pubsub()
    subscription.subscribe("channel")
    assert subscription.get_message(timeout=LIMIT)["type"] == "subscribe"
    client.publish("channel", "hello")
    assert subscription.get_message(timeout=LIMIT)["data"] == b"hello"
    subscription.close()
    assert client.ping()


def test_monitors(client: Any) -> None:
    with client.monitor() as monitor:
        client.echo("seen")
        while monitor.next_command()["command"] != "ECHO seen":
            pass
    assert client.ping()


def test_locks(client: Any) -> None:
    with client.lock("a-lock", timeout=LIMIT) as lock:
        assert lock.owned()
    assert not lock.locked()


def test_a_single_connection_client(pool: ConnectionPool) -> None:
    client: Any = Redis(connection_pool=pool, single_connection_client=True)
    assert client.ping()
    assert pool.stats().in_use == 1
    client.close()
    assert pool.stats().in_use == 0


# redis-py 5.0 does not close the socket that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_unix_sockets(kind: type[ConnectionPool], tmp_path: Any) -> None:
    pool = kind.from_url(f"unix://{tmp_path}/none.sock")
    assert pool.connection_class is UnixDomainSocketConnection
    with pytest.raises(RedisConnectionError):
        pool.get_connection()


def test_a_dispatcher_of_the_user_s_hears_of_what_comes_back(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    event = pytest.importorskip("redis.event", reason="redis-py has events since 5.3")
    heard: list[Any] = []

    class Dispatcher(event.EventDispatcher):  # type: ignore[misc, name-defined]
        def dispatch(self, event: Any) -> None:
            heard.append(event)

    pool = kind.from_url(redis_url, event_dispatcher=Dispatcher())
    connection = pool.get_connection()
    heard.clear()
    pool.release(connection)
    assert [type(event).__name__ for event in heard] == ["AfterConnectionReleasedEvent"]
    assert heard[0].connection is connection
    assert pool.get_connection() is connection
    pool.disconnect()


def test_another_pool_s_connection_is_ignored(pool: ConnectionPool, redis_url: str) -> None:
    other = ConnectionPool.from_url(redis_url)
    connection = other.get_connection()
    pool.release(connection)
    assert pool.stats().foreign_releases == 1
    connection.send_command("PING")
    assert connection.read_response() == b"PONG"
    other.disconnect()


def test_what_redis_py_s_own_code_reaches_for(pool: ConnectionPool) -> None:
    first, second = pool.get_connection(), pool.get_connection()
    pool.release(first)
    assert pool._available_connections == [first]
    assert pool._in_use_connections == {second}
    assert pool._get_free_connections() == [first]
    assert pool._get_in_use_connections() == {second}
    assert pool._created_connections == 2
    assert pool.owns_connection(first)
    assert pool.get_encoder().encode("a") == b"a"
    with pool._lock:
        pass
    pool.reset()
    assert (pool._created_connections, pool._available_connections) == (0, [])
    pool.release(second)
    assert pool.stats().foreign_releases == 1
    second.disconnect()


def test_the_queue_of_a_blocking_pool_can_be_looked_at(redis_url: str) -> None:
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=3)
    connection = pool.get_connection()
    assert pool.pool.queue == [None, None]
    pool.release(connection)
    assert pool.pool.queue == [None, None, connection]
    pool.disconnect()


def test_disconnect_spares_what_is_in_use_if_asked(pool: ConnectionPool) -> None:
    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    pool.disconnect(inuse_connections=False)
    assert (idle._sock, bool(used._sock)) == (None, True)
    pool.disconnect()
    assert used._sock is None
    pool.release(used)
    assert Redis(connection_pool=pool).ping()


def test_a_closed_pool_is_usable_again_as_redis_py_s_is(
    kind: type[ConnectionPool], redis_url: str
) -> None:
    with kind.from_url(redis_url) as pool:
        client = Redis(connection_pool=pool)
        client.ping()
    assert client.ping()
    pool.disconnect()


def test_set_retry_reaches_connections(pool: ConnectionPool) -> None:
    """redis-py's blocking pool raises AttributeError."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    retry = Retry(NoBackoff(), 5)
    pool.set_retry(retry)
    assert idle.retry is used.retry is retry
    pool.release(used)


def test_fill_connects(kind: type[ConnectionPool], redis_url: str) -> None:
    pool = kind.from_url(redis_url, min_size=2)
    pool._pool.fill()  # as forksafe_gunicorn does
    assert [bool(connection._sock) for connection in pool._available_connections] == [True, True]
    pool.disconnect()
    pool.fill()
    assert [bool(connection._sock) for connection in pool._available_connections] == [True, True]
    pool.disconnect()


def test_a_dropped_pool_closes_its_sockets(kind: type[ConnectionPool], redis_url: str) -> None:
    pool = kind.from_url(redis_url, protocol=2)
    connection = pool.get_connection()
    sock = connection._sock
    pool.release(connection)
    del pool
    assert sock.fileno() == -1


def test_a_connection_class_of_the_user_s(kind: type[ConnectionPool]) -> None:
    class Fake:
        def __init__(self, **options: Any) -> None:
            self.pid, self.log = 0, list[str]()

        def connect(self) -> None:
            self.log.append("connect")

        def disconnect(self) -> None:
            self.log.append("disconnect")

        def can_read(self, timeout: float = 0) -> bool:
            return self.log == ["connect"]  # looks unclean until it has reconnected

    pool = kind(connection_class=Fake)
    connection = pool.get_connection()
    assert isinstance(connection, Fake)
    assert connection.log == ["connect", "disconnect", "connect"]
    pool.release(connection)
    assert pool.get_connection() is connection


class Token:
    def try_get(self, key: str) -> str:
        return "default"

    def get_value(self) -> str:
        return "nopass"


@pytest.mark.skipif(
    not hasattr(redis.ConnectionPool, "re_auth_callback"), reason="since redis-py 5.3"
)
def test_renewed_credentials(pool: ConnectionPool, client: Any, watcher: Any) -> None:
    """redis-py's blocking pool raises AttributeError."""
    watcher.acl_setuser("default", enabled=True, nopass=True)
    idle, used = pool.get_connection(), pool.get_connection()
    pool.release(idle)
    before = watcher.info("commandstats").get("cmdstat_auth", {"calls": 0})["calls"]
    pool.re_auth_callback(Token())
    pool.release(used)
    after = watcher.info("commandstats")["cmdstat_auth"]["calls"]
    assert after - before == 2
    assert client.ping()
