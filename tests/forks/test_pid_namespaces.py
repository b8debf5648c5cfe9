"""A child that has the very pid of its parent, as in containers: no check of pids sees it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import ConnectionPool
from tests.forks.servers import serving
from tests.support.forks import in_child, open_sockets

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWPID = 0x20000000

Fork = Callable[[], int]


def unshare(flags: int) -> None:
    """os.unshare, which Python has since 3.12. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def start_pid_namespace() -> None:
    """The next child of this process is number 1 of a namespace of its own. Raises OSError."""
    try:
        unshare(_CLONE_NEWPID)
    except PermissionError:
        unshare(_CLONE_NEWUSER | _CLONE_NEWPID)


def reason_to_skip() -> str:
    """Why there can be no such child here: "" where there can."""

    def attempt() -> str:
        try:
            start_pid_namespace()
        except (OSError, AttributeError) as error:
            return f"pid namespaces cannot be had: {error}"
        pid: int = in_child(os.getpid)
        return "" if pid == 1 else "pid namespaces do not work"

    return str(in_child(attempt))


@pytest.fixture
def as_pid_1() -> Callable[[Callable[[], Any]], Any]:
    """``as_pid_1(function)`` calls it in a process that has the pid 1."""
    reason = reason_to_skip()
    if reason:
        pytest.skip(reason)

    def call(function: Callable[[], Any]) -> Any:
        def outer() -> Any:
            start_pid_namespace()
            return in_child(function)

        return in_child(outer)

    return call


AsPid1 = Callable[[Callable[[], Any]], Any]


def test_a_pool_of_sockets(as_pid_1: AsPid1, fork: Fork) -> None:
    with serving() as server:

        def parent() -> None:
            assert os.getpid() == 1
            before = open_sockets()
            pool = Pool(server.connect, max_size=2)
            held = pool.acquire()
            pool.release(pool.acquire())
            ours = open_sockets() - before
            names = {conn.getsockname() for conn in pool._ledger.connections.values()}

            def child() -> tuple[int, int, int, int]:
                pool.release(held)
                with pool.connection() as one, pool.connection() as two:
                    assert not names & {one.getsockname(), two.getsockname()}
                assert not open_sockets() & ours
                stats = pool.stats()
                return os.getpid(), stats.total, stats.severed, stats.foreign_releases

            start_pid_namespace()
            assert in_child(child, fork) == (1, 2, 2, 1)
            assert open_sockets() >= ours
            assert held.getsockname() in names
            pool.release(held)
            assert pool.stats().available == 2

        as_pid_1(parent)


def test_a_redis_pool(redis_url: str, as_pid_1: AsPid1, fork: Fork) -> None:
    """redis-py's parent and child use one socket then, and each reads the other's replies."""

    def parent() -> None:
        assert os.getpid() == 1
        pool = ConnectionPool.from_url(redis_url)
        client: Any = Redis(connection_pool=pool)
        watching = client.pipeline()
        watching.watch("key")
        news = client.pubsub(ignore_subscribe_messages=True)
        news.subscribe("news")
        news.get_message(timeout=5)
        mine = client.client_id()

        def child() -> tuple[int, bool, int]:
            theirs = client.client_id()
            watching.reset()
            news.unsubscribe()
            pool.disconnect()
            assert client.client_id() not in (mine, theirs)
            return os.getpid(), theirs == mine, pool.stats().severed

        start_pid_namespace()
        assert in_child(child, fork) == (1, False, 3)
        assert client.client_id() == mine
        assert watching.get("key") is None
        client.publish("news", "heard")
        assert news.get_message(timeout=5)["data"] == b"heard"

    as_pid_1(parent)
