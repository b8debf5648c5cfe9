"""Hundreds of forks while threads work: no child hangs, and nobody reads another's reply."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from redis import Redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.forks import Child, c_fork, os_fork
from tests.support.valkey import Valkey

THREADS = 8
BATCH = 4
LIMIT = 30.0

Echo = Callable[[bytes], object]


class Busy:
    """Threads that have the server echo, each its own words, for the length of a block."""

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._stop = threading.Event()
        self._callers: list[Caller[int]] = []
        self._started = threading.Barrier(THREADS + 1)

    def _work(self, number: int) -> int:
        done = 0
        while not self._stop.is_set():
            words = b"thread %d, %d" % (number, done)
            reply = self._echo(words)
            assert reply == words, f"{reply!r} is the reply to {words!r}"
            done += 1
            if done == 1:
                self._started.wait(LIMIT)
        return done

    def __enter__(self) -> None:
        self._callers = [
            Caller(lambda number=number: self._work(number))  # type: ignore[misc]
            for number in range(THREADS)
        ]
        self._started.wait(LIMIT)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for caller in self._callers:
            caller.result(LIMIT)


def speak_in_child(echo: Echo) -> bool:
    words = [b"process %d, %d" % (os.getpid(), number) for number in range(3)]
    return [echo(each) for each in words] == words


def storm(
    forks: int,
    child: Callable[[], Any],
    expected: object = True,
    fork: Callable[[], int] = os_fork,
) -> None:
    """Fork ``forks`` children, some of them alive at a time, and hear of each."""
    for _ in range(forks // BATCH):
        batch = [Child(child, fork) for _ in range(BATCH)]
        try:
            while batch:
                assert batch.pop().result(LIMIT) == expected
        finally:
            for left in batch:
                left.kill()


@contextmanager
def repeating(function: Callable[[], object]) -> Iterator[None]:
    """A thread calls ``function`` over and over for the length of the block."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            function()

    caller = Caller(repeat)
    try:
        yield
    finally:
        stop.set()
        caller.result(LIMIT)


# -- os.fork while threads work -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "forks"),
    [
        pytest.param(BlockingConnectionPool, {"max_connections": 4}, 300, id="fewer than threads"),
        pytest.param(ConnectionPool, {"max_connections": THREADS}, 100, id="one for each thread"),
        pytest.param(
            BlockingConnectionPool,
            {"max_connections": 4, "max_lifetime": 0.001},
            100,
            id="made and closed all the time",
        ),
    ],
)
def test_a_redis_pool(
    redis_url: str, kind: type[ConnectionPool], options: dict[str, Any], forks: int
) -> None:
    """redis-py 8.1 leaves up to 30 of 1000 children hanging, and 19 of 60 under churn."""
    pool = kind.from_url(redis_url, **options)
    client: Any = Redis(connection_pool=pool)
    with Busy(client.echo):
        storm(forks, lambda: speak_in_child(client.echo))
    pool.disconnect()


def test_a_redis_pool_that_is_disconnected_all_the_time(redis_url: str) -> None:
    """Whoever disconnects holds the pool's lock, here at most of the forks."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=4)
    client: Any = Redis(connection_pool=pool)

    def disconnect() -> None:
        pool.disconnect(inuse_connections=False)

    def child() -> bool:
        spoken = speak_in_child(client.echo)
        disconnect()
        return spoken and speak_in_child(client.echo)

    with repeating(disconnect), Busy(client.echo):
        storm(100, child)
    pool.disconnect()


def test_a_pool_of_sockets(valkey: Valkey) -> None:
    def connect() -> socket.socket:
        return socket.create_connection(("127.0.0.1", valkey.port), LIMIT)

    pool = Pool(connect, max_size=4, max_lifetime=0.01)

    def echo(words: bytes) -> bytes:
        with pool.connection() as conn:
            conn.sendall(b'ECHO "%s"\r\n' % words)
            end = b"\r\n%s\r\n" % words
            reply = b""
            while not reply.endswith(b"\r\n") or reply.count(b"\r\n") < 2:
                reply += conn.recv(4096)
            assert reply.endswith(end), f"{reply!r} is the reply to {words!r}"
            return words

    with Busy(echo):
        storm(100, lambda: speak_in_child(echo))
    assert pool.close()


def test_statistics_and_releases_while_others_fork(redis_url: str) -> None:
    """What a child finds is its own from its first look on, whatever the parent was at."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=4)
    client: Any = Redis(connection_pool=pool)

    def child() -> tuple[int, int, int, int]:
        first = pool.stats()
        spoken = speak_in_child(client.echo)
        after = pool.stats()
        assert spoken
        return first.total, first.waiting, first.acquired, after.total

    with Busy(client.echo):
        storm(60, child, (0, 0, 0, 1))
    pool.disconnect()


# -- C-level forks while threads hold connections, or wait for one ------------------------------


def test_c_level_forks_while_replies_are_under_way(redis_url: str) -> None:
    """Each holder has sent its command before the forks, and reads the reply after them."""
    pool = BlockingConnectionPool.from_url(redis_url, max_connections=4)
    client: Any = Redis(connection_pool=pool)
    with ExitStack() as stack:
        stack.callback(pool.disconnect)
        for turn in range(15):
            held = threading.Semaphore(0)
            proceed = threading.Event()
            stack.callback(proceed.set)

            def ask(
                number: int,
                held: threading.Semaphore = held,
                proceed: threading.Event = proceed,
            ) -> bool:
                words = b"thread %d" % number
                conn = pool.get_connection()
                conn.send_command("ECHO", words)
                held.release()
                assert proceed.wait(LIMIT)
                reply = conn.read_response()
                pool.release(conn)
                return bool(reply == words)

            callers = [
                Caller(lambda number=number: ask(number))  # type: ignore[misc]
                for number in range(turn * THREADS, (turn + 1) * THREADS)
            ]
            for _ in range(4):
                assert held.acquire(timeout=LIMIT)
            eventually(lambda: pool.stats().waiting == THREADS - 4)
            storm(BATCH, lambda: speak_in_child(client.echo), fork=c_fork)
            proceed.set()
            assert [caller.result(LIMIT) for caller in callers] == [True] * THREADS
        assert pool.stats().opened == 4
