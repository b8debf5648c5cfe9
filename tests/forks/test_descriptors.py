"""A child keeps no copy of its parent's sockets: they end with the parent, not with the child."""

from __future__ import annotations

import contextlib
import gc
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.forks.servers import serving
from tests.support.forks import Child, c_fork, in_child, open_sockets, os_fork

LIMIT = 10.0


@contextmanager
def frozen() -> Iterator[None]:
    """What servers do that preload: the collector leaves alone, for ever, what exists by now."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def as_it_is() -> Iterator[None]:
    yield


class Sessions:
    """A redis-py pool with a connection of each kind, and their sockets."""

    def __init__(self, kind: type[ConnectionPool], url: str) -> None:
        before = open_sockets()
        self.pool = kind.from_url(url, max_connections=5)
        self.client: Any = Redis(connection_pool=self.pool)
        self._in_use = self.pool.get_connection()
        self._watching = self.client.pipeline()
        self._watching.watch("key")
        self._news = self.client.pubsub(ignore_subscribe_messages=True)
        self._news.subscribe("news")
        assert self._news.get_message(timeout=LIMIT) is None
        idle = [self.pool.get_connection() for _ in range(2)]
        for conn in idle:
            self.pool.release(conn)
        self.sockets = open_sockets() - before
        assert len(self.sockets) == 5

    def close(self) -> None:
        self.pool.release(self._in_use)
        self._watching.reset()
        self._news.close()
        self.pool.disconnect()
        assert not open_sockets() & self.sockets


@pytest.fixture(params=[ConnectionPool, BlockingConnectionPool], ids=lambda kind: kind.__name__)
def sessions(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Sessions]:
    sessions = Sessions(request.param, redis_url)
    yield sessions
    sessions.close()


@pytest.mark.parametrize("collector", [as_it_is, frozen])
def test_none_is_left_before_the_first_use(sessions: Sessions, collector: Any) -> None:
    """redis-py keeps all until its first command, and some of them for ever after gc.freeze()."""
    with collector():
        assert in_child(lambda: open_sockets() & sessions.sockets, os_fork) == set()
    assert open_sockets() >= sessions.sockets


@pytest.mark.parametrize("collector", [as_it_is, frozen])
def test_none_is_left_after_the_first_use_without_hooks(sessions: Sessions, collector: Any) -> None:
    def child() -> tuple[bool, set[str]]:
        return sessions.client.ping(), open_sockets() & sessions.sockets

    with collector():
        assert in_child(child, c_fork) == (True, set())
    assert open_sockets() >= sessions.sockets


FIRST_USES: dict[str, Callable[[ConnectionPool], object]] = {
    "stats": lambda pool: pool.stats(),
    "disconnect": lambda pool: pool.disconnect(),
    "reset": lambda pool: pool.reset(),
    "foreign release": lambda pool: pool.release(object()),
    "foreign discard": lambda pool: pool.discard(object()),
    "owns_connection": lambda pool: pool._in_use_connections,
}


@pytest.mark.parametrize("first_use", FIRST_USES)
def test_any_first_use_will_do(redis_url: str, first_use: str) -> None:
    sessions = Sessions(ConnectionPool, redis_url)

    def child() -> set[str]:
        FIRST_USES[first_use](sessions.pool)
        return open_sockets() & sessions.sockets

    assert in_child(child, c_fork) == set()
    sessions.close()


def still_open(descriptors: set[int]) -> set[int]:
    found = set()
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found


def test_no_dead_end_is_left_either(fork: Callable[[], int]) -> None:
    """What severed descriptors lead to goes with the connections, when the child connects."""
    with serving() as server:
        pool = Pool(server.connect)
        conns = [pool.acquire() for _ in range(4)]
        descriptors = {conn.fileno() for conn in conns}
        for conn in conns:
            pool.release(conn)
        del conn, conns

        def child() -> bool:
            with pool.connection() as own:
                return still_open(descriptors) <= {own.fileno()}

        assert in_child(child, fork)
        pool.close()


def test_a_server_reads_end_of_file_while_a_child_lives_on(fork: Callable[[], int]) -> None:
    """When the parent closes its connections they are closed, whatever a child was born with."""
    with serving() as server:
        pool = Pool(server.connect)
        idle, in_use = pool.acquire(), pool.acquire()
        pool.release(idle)
        ready, proceed = os.pipe(), os.pipe()

        def live_on() -> bytes:
            pool.stats()  # after a C-level fork the first use severs
            os.write(ready[1], b"severed")
            return os.read(proceed[0], 100)

        child = Child(live_on, fork)
        try:
            assert select.select([ready[0]], [], [], LIMIT)[0]
            pool.release(in_use)
            pool.close()
            for _ in range(2):
                with server.accept() as peer:
                    assert peer.recv(1) == b""
        finally:
            os.write(proceed[1], b"end")
            assert child.result(LIMIT) == b"end"
            for descriptor in ready + proceed:
                os.close(descriptor)
