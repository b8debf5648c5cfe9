"""A request that is ended in the middle of a reply does not leave it to the next one."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
import pymysql
import pytest
import redis
from psycopg.pq import TransactionStatus

import forksafe_dbapi
from tests.faults.clients import (
    CLIENTS,
    DEAF,
    NEVER,
    Client,
    NonBlockingRedis,
    Pipeline,
    Psycopg,
    PyMySql,
    Redis,
    RedisOverTls,
    SqlAlchemy,
    Transaction,
)
from tests.faults.proxy import FaultyProxy
from tests.faults.test_network import assert_all_is_well
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.programs import run_program
from tests.support.server import Server

LIMIT = 20.0

SLEEPERS = "FROM pg_stat_activity WHERE wait_event = 'PgSleep'"


class SoftTimeLimit(Exception):
    """As Celery's and RQ's: an ordinary exception, from a signal handler."""


by_error = pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, SoftTimeLimit])
by_kind = pytest.mark.parametrize(
    "kind", [*CLIENTS, Pipeline, Transaction], indirect=True, ids=lambda kind: kind.name
)
redis_pools = pytest.mark.parametrize(
    "kind", [Redis, NonBlockingRedis], indirect=True, ids=lambda kind: kind.name
)


@contextmanager
def raised_by(number: signal.Signals, error: type[BaseException]) -> Iterator[None]:
    def handler(number: int, frame: FrameType | None) -> None:
        raise error

    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, previous)


def is_struck_when(happens: Callable[[], object], then: Callable[[], object]) -> Caller[None]:
    """Send this thread a signal as soon as ``happens`` returns, and it waits for the server."""
    thread = threading.get_native_id()

    def strike() -> None:
        happens()
        eventually(lambda: waits_in_the_kernel(thread), LIMIT)
        os.kill(os.getpid(), signal.SIGUSR1)
        then()

    return Caller(strike)


def waits_in_the_kernel(thread: int) -> bool:
    """For something that takes long: whoever waits for the GIL wakes up every 5 ms."""

    def naps() -> list[str]:
        status = Path(f"/proc/self/task/{thread}/status").read_text()
        return [line for line in status.splitlines() if line.startswith(("State", "voluntary"))]

    before = naps()
    time.sleep(0.03)
    return "S (sleeping)" in before[0] and naps() == before


def nothing() -> None:
    pass


def is_held_back(proxy: FaultyProxy) -> Callable[[], None]:
    def wait() -> None:
        assert proxy.struck.wait(LIMIT)

    return wait


@by_error
@pytest.mark.parametrize("heard", [0, 7])
@by_kind
def test_by_a_signal(
    kind: type[Client], proxy: FaultyProxy, heard: int, error: type[BaseException]
) -> None:
    """After so many bytes of the reply."""
    client = kind(proxy.port, check_after=NEVER, patience=None)
    client.assert_answered()
    proxy.hold_replies(after=heard)
    # psycopg has the server cancel the statement, and waits until it has.
    waits = kind in DEAF or (error is not SoftTimeLimit and kind in (Psycopg, SqlAlchemy))
    with raised_by(signal.SIGUSR1, error):
        striker = is_struck_when(is_held_back(proxy), proxy.pass_on if waits else nothing)
        with pytest.raises((error, *kind.instead)):
            client.ask("unheard")
        striker.result(LIMIT)
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


@pytest.mark.parametrize(
    "kind",
    [kind for kind in CLIENTS if kind not in DEAF],
    indirect=True,
    ids=lambda kind: kind.name,
)
def test_by_a_timer(kind: type[Client], proxy: FaultyProxy) -> None:
    client = kind(proxy.port, check_after=NEVER, patience=None)
    client.assert_answered()
    proxy.hold_replies()
    held_back = is_held_back(proxy)

    def set_timer() -> None:
        held_back()
        signal.setitimer(signal.ITIMER_REAL, 0.05)

    with raised_by(signal.SIGALRM, SoftTimeLimit):
        setter = Caller(set_timer)
        with pytest.raises((SoftTimeLimit, *kind.instead)):
            client.ask("unheard")
        setter.result(LIMIT)
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


@pytest.mark.skipif(
    sys.gettrace() is not None,
    reason="until the exception has struck, a function that is traced never begins (CPython 3.11)",
)
@by_error
@by_kind
def test_by_another_thread(
    kind: type[Client], proxy: FaultyProxy, error: type[BaseException]
) -> None:
    """It strikes when the thread is back from the kernel, which gives it a part of the reply."""
    client = kind(proxy.port, check_after=NEVER, patience=None)
    client.assert_answered()
    proxy.hold_replies()
    thread: list[int] = []

    def ask() -> str:
        thread[:] = threading.get_ident(), threading.get_native_id()
        return client.ask("unheard")

    asker = Caller(ask)
    assert proxy.struck.wait(LIMIT)
    eventually(lambda: waits_in_the_kernel(thread[1]), LIMIT)
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert raise_in(ctypes.c_ulong(thread[0]), ctypes.py_object(error)) == 1
    proxy.struck.clear()
    proxy.let_through(7)
    assert proxy.struck.wait(LIMIT)
    # What waits in C for the whole reply, or for a whole record of TLS, gets it.
    if kind in (Psycopg, SqlAlchemy, RedisOverTls, *DEAF):
        proxy.pass_on()
    with pytest.raises((error, *kind.instead)):
        asker.result(LIMIT)
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


def blocked(admin: Any) -> int:
    count: int = admin.info("clients")["blocked_clients"]
    return count


@by_error
@pytest.mark.parametrize("command", ["BLPOP", "XREAD", "a pipeline"])
@redis_pools
def test_of_a_blocking_command(
    kind: type[Redis], server: Server, command: str, error: type[BaseException]
) -> None:
    """What it waited for comes later, and is still there."""
    client = kind(server.port, check_after=NEVER, patience=None)
    client.assert_answered()

    def block() -> None:
        if command == "BLPOP":
            client.client.blpop(["queue"])
        elif command == "XREAD":
            client.client.xread({"stream": "$"}, block=0)
        else:
            pipeline: Any = client.client.pipeline(transaction=False)
            pipeline.echo("before").blpop(["queue"]).execute()

    with redis.Redis(port=server.port) as admin, raised_by(signal.SIGUSR1, error):
        striker = is_struck_when(lambda: eventually(lambda: blocked(admin) == 1, LIMIT), nothing)
        with pytest.raises(error):
            block()
        striker.result(LIMIT)
        client.assert_whole()
        eventually(lambda: blocked(admin) == 0, LIMIT)
        admin.rpush("queue", "job")
        admin.xadd("stream", {"job": "1"})
        client.assert_answered()
        assert admin.delete("queue", "stream") == 2
    assert_all_is_well(client)


@by_error
@pytest.mark.parametrize("kind", [Psycopg], indirect=True, ids=lambda kind: kind.name)
def test_of_a_transaction(kind: type[Psycopg], server: Server, error: type[BaseException]) -> None:
    """What it has done is rolled back, and the next one's transaction is its own."""
    client = kind(server.port, check_after=NEVER)

    def sleeps() -> bool:
        return bool(admin.execute(f"SELECT 1 {SLEEPERS}").fetchall())

    def insert_and_sleep() -> None:
        with client.pool.connection() as conn, conn.transaction():
            conn.execute("INSERT INTO killed VALUES ('no')")
            conn.execute("SELECT pg_sleep(60)")

    dsn = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE TABLE killed (word text)")
        with raised_by(signal.SIGUSR1, error):
            striker = is_struck_when(lambda: eventually(sleeps, LIMIT), nothing)
            with pytest.raises(error):
                insert_and_sleep()
            striker.result(LIMIT)
        client.assert_whole()
        with client.pool.connection() as conn:
            assert conn.info.transaction_status == TransactionStatus.IDLE
            assert conn.execute("SELECT * FROM killed").fetchall() == []
        # A session that lost its client goes on until it has slept.
        admin.execute(f"SELECT pg_terminate_backend(pid, 20000) {SLEEPERS}")
        assert admin.execute("SELECT * FROM killed").fetchall() == []
        admin.execute("DROP TABLE killed")
    assert_all_is_well(client)


class StruckBetween(pymysql.connections.Connection):
    """A signal comes as soon as a request is out, and before its reply is read."""

    armed = False

    def _write_bytes(self, data: bytes) -> None:
        super()._write_bytes(data)  # type: ignore[misc]
        if self.armed:
            self.armed = False
            signal.raise_signal(signal.SIGUSR1)


@by_error
@pytest.mark.parametrize("kind", [PyMySql], indirect=True, ids=lambda kind: kind.name)
def test_between_a_request_and_its_reply(
    kind: type[PyMySql], server: Server, error: type[BaseException]
) -> None:
    pool = forksafe_dbapi.Pool(
        lambda: StruckBetween(host="127.0.0.1", port=server.port, user="root", read_timeout=5),
        check_after=NEVER,
    )

    def be_struck() -> None:
        with pool.connection() as conn, conn.cursor() as cursor:
            conn.armed = True
            cursor.execute("SET @word = 'lost'")

    with raised_by(signal.SIGUSR1, error), pytest.raises(error):
        be_struck()
    with pool.connection() as conn, conn.cursor() as cursor:
        cursor.execute("SELECT 'word'")
        heard = cursor.fetchone()
    assert pool.close()
    assert heard == ("word",)


# A greenlet is ended while its reply is held back; the pool's only place is the next one's then.
GREENLETS = r"""
from gevent import monkey; monkey.patch_all()
import contextlib, sys
import gevent
from tests.faults import clients
from tests.faults.proxy import FaultyProxy

clients.SIZE = 1
kind = clients.named(sys.argv[1])
proxy = FaultyProxy(int(sys.argv[2]))
client = kind(proxy.port, check_after=clients.NEVER, patience=None)
client.assert_answered()


def ask():
    with contextlib.suppress(gevent.Timeout):
        client.ask("unheard")


for heard in (0, 7):
    for end in (gevent.GreenletExit, gevent.Timeout):
        proxy.hold_replies(after=heard)
        greenlet = gevent.spawn(ask)
        assert proxy.struck.wait(20)
        greenlet.kill(end, timeout=20)
        assert greenlet.dead
        client.assert_whole()
        proxy.pass_on()
        for _ in range(3):
            client.assert_answered()
client.assert_whole()
print("fine")
"""


@pytest.mark.parametrize(
    "kind",
    [kind for kind in [*CLIENTS, Pipeline, Transaction] if kind not in DEAF],
    indirect=True,
    ids=lambda kind: kind.name,
)
def test_by_gevent(kind: type[Client], server: Server) -> None:
    assert run_program(GREENLETS, kind.name, str(server.port)) == "fine\n"
