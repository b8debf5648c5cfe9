"""An exception, a signal's, strikes at every step of a child's severing what it has inherited.

Whoever uses any of the pools next has all of them severed.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pymysql
import pytest

import forksafe_pool
import forksafe_redis
import forksafe_sqlalchemy
from forksafe_pool import Pool
from forksafe_pool._fork import registry
from tests.forks.servers import Server, sockets_to
from tests.support.forks import c_fork, in_child, os_fork

LIMIT = 20.0
Fork = Callable[[], int]
Use = Callable[[], object]

_OURS = tuple(
    str(Path(package.__file__ or "").parent)
    for package in (forksafe_pool, forksafe_redis, forksafe_sqlalchemy)
)


class Struck(BaseException):
    """As SystemExit out of a handler."""


class Strike:
    """Strikes once, in a child, at the ``step``-th line, call or return of the pools' code."""

    def __init__(self, step: int) -> None:
        self._left = step
        self._parent = os.getpid()
        self.where = ""

    @contextmanager
    def armed(self) -> Iterator[None]:
        sys.setprofile(self._profile)
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(None)
            sys.setprofile(None)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        self._step(frame, event)
        return self._trace

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if event == "c_return" and frame.f_code.co_filename.startswith(_OURS):
            self._step(frame, event)

    def _step(self, frame: FrameType, event: str) -> None:
        if os.getpid() == self._parent or registry.settled:
            return
        self._left -= 1
        if self._left == 0:
            code = frame.f_code
            self.where = f"{code.co_name} {event} {Path(code.co_filename).name}:{frame.f_lineno}"
            raise Struck


class Subject(NamedTuple):
    """Pools with connections of every kind, and what a child may do first with any of them."""

    port: int
    uses: list[Use]
    #: What the parent does at the end: it has all that it had.
    finish: Use


class Connection:
    """Its goodbye must not reach a parent's server."""

    def __init__(self, server: Server) -> None:
        self.sock = server.connect()

    def close(self) -> None:
        with suppress(OSError):
            self.sock.sendall(b"goodbye ")
        self.sock.close()


@pytest.fixture(autouse=True)
def no_other_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have left would be severed too, in as many steps again."""
    monkeypatch.setattr(registry, "_pools", {})


@pytest.fixture
def pools(server: Server) -> Iterator[Subject]:
    pools = [Pool(lambda: Connection(server), max_size=3, timeout=LIMIT) for _ in range(2)]
    held = [pool.acquire() for pool in pools]
    for pool in pools:
        pool.release(pool.acquire())

    def lease(pool: Pool[Connection]) -> None:
        with pool.connection():
            pass

    uses: list[Use] = []
    for pool, conn in zip(pools, held, strict=True):
        uses += [
            lambda pool=pool: pool.release(pool.acquire()),  # type: ignore[misc]
            lambda pool=pool: lease(pool),  # type: ignore[misc]
            lambda pool=pool, conn=conn: pool.release(conn),  # type: ignore[misc]
            lambda pool=pool, conn=conn: pool.discard(conn),  # type: ignore[misc]
            pool.stats,
            lambda pool=pool: repr(pool),  # type: ignore[misc]
            lambda pool=pool: pool.close(timeout=0),  # type: ignore[misc]
        ]

    def finish() -> None:
        for pool, conn in zip(pools, held, strict=True):
            conn.sock.sendall(b"held ")
            pool.release(conn)
            assert pool.stats().total == pool.stats().opened == 2
            pool.close()

    yield Subject(server.port, uses, finish)
    # At most one each, the owner's.
    assert {stream.count(b"goodbye ") for stream in server.received()} <= {0, 1}


@pytest.fixture
def redis_pools(valkey: Any) -> Subject:
    pools: list[Any] = [
        forksafe_redis.BlockingConnectionPool.from_url(valkey.url, max_connections=3)
        for _ in range(2)
    ]
    strays = [pool.get_connection() for pool in pools]
    for pool in pools:
        pool.reset()
    held = [pool.get_connection() for pool in pools]
    for pool in pools:
        pool.release(pool.get_connection())
    uses: list[Use] = []
    for pool, conn in zip(pools, held, strict=True):
        uses += [
            lambda pool=pool: pool.release(pool.get_connection()),  # type: ignore[misc]
            lambda pool=pool, conn=conn: pool.release(conn),  # type: ignore[misc]
            pool.stats,
            pool.disconnect,
        ]

    def finish() -> None:
        for conn in (*strays, *held):
            conn.send_command("PING")
            assert conn.read_response() == b"PONG"
            conn.disconnect()

    return Subject(valkey.port, uses, finish)


@pytest.fixture
def sqlalchemy_pools(mariadb: Any) -> Subject:
    def connect() -> Any:
        return pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root")

    pools = [forksafe_sqlalchemy.QueuePool(connect, pool_size=3) for _ in range(2)]
    held = [pool.connect() for pool in pools]
    detached = [pool.connect() for pool in pools]
    for conn in detached:
        conn.detach()
    uses: list[Use] = []
    for pool, conn in zip(pools, held, strict=True):
        pool.connect().close()
        uses += [lambda pool=pool: pool.connect().close(), conn.close, pool.dispose]  # type: ignore[misc]

    def finish() -> None:
        for conn in (*held, *detached):
            dbapi_connection: Any = conn.dbapi_connection
            dbapi_connection.ping(reconnect=False)
            conn.close()
        for pool in pools:
            pool.dispose()

    return Subject(mariadb.port, uses, finish)


@pytest.mark.parametrize("kind", ["pools", "redis_pools", "sqlalchemy_pools"])
def test_a_signal_s_exception_at_every_step(
    kind: str, fork: Fork, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject: Subject = request.getfixturevalue(kind)
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # what a hook raises
    parents = sockets_to(subject.port)
    assert len(parents) == {"pools": 4}.get(kind, 6)
    step = 0
    while True:
        step += 1 if kind == "pools" else 3  # the core's own steps are the same
        strike = Strike(step)
        uses = subject.uses[step % len(subject.uses) :] + subject.uses[: step % len(subject.uses)]

        def child(strike: Strike = strike, uses: list[Use] = uses) -> tuple[str, int]:
            gc.disable()
            if fork is c_fork:
                with suppress(Struck), strike.armed():
                    uses[0]()
            sys.settrace(None)
            sys.setprofile(None)
            uses[-1]()
            return strike.where, len(sockets_to(subject.port) & parents)

        def fork_armed(strike: Strike = strike) -> int:
            with strike.armed():
                return os_fork()

        where, left = in_child(child, fork if fork is c_fork else fork_armed, LIMIT)
        assert left == 0, (step, where)
        if not where:
            break
    assert step > 50
    subject.finish()


class Finalized(Connection):
    def __del__(self) -> None:
        self.close()


def test_a_signal_s_exception_while_a_pool_is_dropped(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody uses it later; what it held is freed. After a C-level fork its finalizer severs."""
    pools = [Pool(lambda: Finalized(server), max_size=3, timeout=LIMIT) for _ in range(2)]
    for pool in pools:
        pool.release(pool.acquire())
    del pool
    gc.collect()
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    parents = sockets_to(server.port)
    assert len(parents) == 2
    step = unguarded = 0
    while True:
        step += 1
        strike = Strike(step)

        def child(strike: Strike = strike) -> tuple[str, int]:
            with suppress(Struck), strike.armed():
                pools.clear()
            return strike.where, len(sockets_to(server.port) & parents)

        where, left = in_child(child, c_fork, LIMIT)
        if where.startswith(("__del__ ", "_checkpid_finally call")):
            unguarded += 1  # nothing can guard the first steps of a finalizer
        else:
            assert left == 0, (step, where)
        if not where:
            break
    assert step > 50
    pools.clear()
    goodbyes = [stream.count(b"goodbye ") for stream in server.received()]
    assert 1 <= min(goodbyes) <= max(goodbyes) <= 1 + unguarded
