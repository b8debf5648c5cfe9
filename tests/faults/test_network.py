"""The network drops, cuts, resets and refuses; servers fall silent and end idle connections."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pymysql
import pytest
import redis

from tests.faults.clients import (
    NEVER,
    PATIENT,
    SIZE,
    WAITING,
    Client,
    MySqlClient,
    NonBlockingRedis,
    Psycopg,
    Psycopg2,
    PyMySql,
    Redis,
    SqlAlchemy,
)
from tests.faults.proxy import FaultyProxy
from tests.forksafe_pool.threads import Caller, eventually
from tests.support.server import Server

LIMIT = 60.0

patient = pytest.mark.parametrize("kind", PATIENT, indirect=True, ids=lambda kind: kind.name)


def assert_all_is_well(client: Client) -> None:
    """From the very next request on."""
    for _ in range(5):
        client.assert_answered()
    client.assert_whole()
    client.close()


def has_stopped(pid: int) -> bool:
    """It does so a moment after the signal."""
    state: str = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


@patient
def test_a_network_that_drops_everything_for_a_while(
    kind: type[Client], proxy: FaultyProxy
) -> None:
    """The replies that come late are nobody's."""
    client = kind(proxy.port, check_after=NEVER)
    client.assert_answered()
    proxy.drop()
    assert not client.is_answered()
    assert proxy.struck.is_set()
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


@patient
def test_replies_that_are_late(kind: type[Client], proxy: FaultyProxy) -> None:
    """Three requests are given up at the same time; then all their replies come."""
    client = kind(proxy.port, check_after=NEVER)
    client.assert_answered()
    proxy.hold_replies()
    callers = [Caller(client.is_answered) for _ in range(SIZE)]
    assert not any(caller.result(LIMIT) for caller in callers)
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


def test_a_black_hole_where_the_server_should_be(kind: type[Client], proxy: FaultyProxy) -> None:
    """It takes connections, and that is all that is ever heard of it."""
    client = kind(proxy.port)
    proxy.drop()
    assert not client.is_answered()
    assert proxy.struck.is_set()
    client.assert_whole()
    proxy.pass_on()
    assert_all_is_well(client)


@patient
def test_a_server_that_is_silent_for_a_while(kind: type[Client], server: Server) -> None:
    client = kind(server.port, check_after=NEVER)
    client.assert_answered()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        eventually(lambda: has_stopped(server.pid), LIMIT)
        assert not client.is_answered()
        client.assert_whole()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert_all_is_well(client)


@pytest.mark.parametrize("kind", WAITING, indirect=True, ids=lambda kind: kind.name)
def test_a_silence_that_everybody_waits_out(kind: type[Client], proxy: FaultyProxy) -> None:
    """Those who asked and those in line behind them each hear what is theirs."""
    client = kind(proxy.port, check_after=NEVER, patience=None)
    proxy.hold_replies()
    first = [Caller(client.is_answered) for _ in range(SIZE)]
    eventually(lambda: client.stats().total == SIZE, LIMIT)
    proxy.pass_on()
    assert all(caller.result(LIMIT) for caller in first)
    proxy.hold_replies()
    callers = [Caller(client.is_answered) for _ in range(2 * SIZE)]
    eventually(lambda: client.stats().waiting == SIZE, LIMIT)
    assert client.stats().in_use == SIZE
    proxy.pass_on()
    assert all(caller.result(LIMIT) for caller in callers)
    assert client.stats().opened == SIZE
    assert_all_is_well(client)


@pytest.mark.parametrize("length", [0, 1, 7])
def test_half_a_reply_and_then_the_end(kind: type[Client], proxy: FaultyProxy, length: int) -> None:
    client = kind(proxy.port, check_after=NEVER)
    client.assert_answered()
    proxy.cut_next_reply(length, silently=False)
    assert not client.is_answered()
    assert proxy.struck.is_set()
    client.assert_whole()
    assert_all_is_well(client)


@patient
def test_half_a_reply_and_then_silence(kind: type[Client], proxy: FaultyProxy) -> None:
    client = kind(proxy.port, check_after=NEVER)
    client.assert_answered()
    proxy.cut_next_reply(7, silently=True)
    assert not client.is_answered()
    assert proxy.struck.is_set()
    client.assert_whole()
    assert_all_is_well(client)


def test_idle_connections_that_are_reset(kind: type[Client], proxy: FaultyProxy) -> None:
    """The next user hears nothing of it."""
    client = kind(proxy.port)
    for _ in range(3):
        client.assert_answered()
        proxy.reset()
    assert_all_is_well(client)


def test_connections_that_are_refused(kind: type[Client], proxy: FaultyProxy) -> None:
    """The caller gets the driver's error, and the place is free again."""
    client = kind(proxy.port)
    client.assert_answered()
    proxy.refuse()
    for _ in range(SIZE + 1):
        with pytest.raises(kind.unreachable) as caught:
            client.ask("anybody?")
        assert not isinstance(caught.value, redis.exceptions.MaxConnectionsError)
        client.assert_whole()
    proxy.listen()
    client.outlast_failures()
    assert_all_is_well(client)


@pytest.mark.parametrize("kind", WAITING, indirect=True, ids=lambda kind: kind.name)
def test_who_waits_in_line_when_connections_are_refused(
    kind: type[Client], proxy: FaultyProxy
) -> None:
    """Everybody hears of it from the driver, long before the pool's own timeout."""
    client = kind(proxy.port, check_after=NEVER, patience=None)
    proxy.hold_replies()
    holders = [Caller(client.is_answered) for _ in range(SIZE)]
    eventually(lambda: client.stats().total == SIZE, LIMIT)
    waiters = [Caller(lambda: client.ask("anybody?")) for _ in range(4)]
    eventually(lambda: client.stats().waiting == 4, LIMIT)
    proxy.refuse()
    assert not any(holder.result() for holder in holders)
    for waiter in waiters:
        with pytest.raises(kind.unreachable):
            waiter.result()
    client.assert_whole()
    proxy.pass_on()
    proxy.listen()
    assert_all_is_well(client)


@pytest.mark.parametrize(
    "kind", [Redis, NonBlockingRedis], indirect=True, ids=lambda kind: kind.name
)
def test_idle_connections_that_valkey_closes(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    with redis.Redis(port=server.port) as admin:
        for _ in range(3):
            client.assert_answered()
            assert admin.client_kill_filter(skipme=True, _type="normal") == 1
            client.assert_answered()
    assert_all_is_well(client)


@pytest.mark.parametrize(
    "kind", [Psycopg, Psycopg2, SqlAlchemy], indirect=True, ids=lambda kind: kind.name
)
def test_idle_sessions_that_postgres_terminates(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    dsn = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    others = (
        "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(dsn, autocommit=True) as admin:
        eventually(lambda: not admin.execute(f"SELECT pid {others}").fetchall(), LIMIT)
        for _ in range(3):
            client.assert_answered()
            # It returns when they are gone.
            ended = admin.execute(f"SELECT pg_terminate_backend(pid, 20000) {others}").fetchall()
            assert ended == [(True,)]
            client.assert_answered()
    assert_all_is_well(client)


@pytest.mark.parametrize("kind", [PyMySql, MySqlClient], indirect=True, ids=lambda kind: kind.name)
def test_idle_sessions_that_mariadb_kills(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    with pymysql.connect(host="127.0.0.1", port=server.port, user="root") as admin:
        cursor = admin.cursor()

        def sessions() -> list[int]:
            cursor.execute(
                "SELECT id FROM information_schema.processlist "
                "WHERE user = 'root' AND id <> connection_id()"
            )
            return [row[0] for row in cursor.fetchall()]

        eventually(lambda: not sessions(), LIMIT)
        for _ in range(3):
            client.assert_answered()
            (session,) = sessions()
            cursor.execute("KILL %s", (session,))
            eventually(lambda: not sessions(), LIMIT)
            client.assert_answered()
    assert_all_is_well(client)
