"""The network drops, cuts, resets and refuses; servers fall silent and end idle connections."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest
import redis

from tests.faults.clients import PATIENT, Client, Psycopg, Redis
from tests.faults.proxy import FaultyProxy
from tests.forksafe_pool.threads import eventually
from tests.support.server import Server

LIMIT = 60.0

patient = pytest.mark.parametrize("kind", PATIENT, indirect=True, ids=lambda kind: kind.name)


def assert_all_is_well(client: Client) -> None:
    eventually(client.is_answered, LIMIT)
    for _ in range(10):
        assert client.is_answered()
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
    client = kind(proxy.port)
    assert client.is_answered()
    proxy.drop()
    assert not client.is_answered()
    assert proxy.struck.is_set()
    proxy.pass_on()
    assert_all_is_well(client)


@patient
def test_a_server_that_is_silent_for_a_while(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    assert client.is_answered()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        eventually(lambda: has_stopped(server.pid), LIMIT)
        assert not client.is_answered()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert_all_is_well(client)


@pytest.mark.parametrize("length", [0, 1, 7])
def test_half_a_reply_and_then_the_end(kind: type[Client], proxy: FaultyProxy, length: int) -> None:
    client = kind(proxy.port)
    assert client.is_answered()
    proxy.cut_next_reply(length, silently=False)
    client.is_answered()  # where the client tries again by itself, it is
    assert proxy.struck.is_set()
    assert_all_is_well(client)


@patient
@pytest.mark.parametrize("length", [1, 7])
def test_half_a_reply_and_then_silence(kind: type[Client], proxy: FaultyProxy, length: int) -> None:
    client = kind(proxy.port)
    assert client.is_answered()
    proxy.cut_next_reply(length, silently=True)
    client.is_answered()
    assert proxy.struck.is_set()
    assert_all_is_well(client)


def test_idle_connections_that_are_reset(kind: type[Client], proxy: FaultyProxy) -> None:
    """The next user hears nothing of it."""
    client = kind(proxy.port)
    for _ in range(3):
        assert client.is_answered()
        proxy.reset()
    assert_all_is_well(client)


def test_connections_that_are_refused(kind: type[Client], proxy: FaultyProxy) -> None:
    client = kind(proxy.port)
    assert client.is_answered()
    proxy.refuse()
    for _ in range(2):
        assert not client.is_answered()
        client.assert_whole()
    proxy.listen()
    assert_all_is_well(client)


@pytest.mark.parametrize("kind", [Redis], indirect=True, ids=["valkey"])
def test_idle_connections_that_valkey_closes(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    with redis.Redis(port=server.port) as admin:
        for _ in range(3):
            assert client.is_answered()
            assert admin.client_kill_filter(skipme=True, _type="normal") == 1
            assert client.is_answered()
    assert_all_is_well(client)


@pytest.mark.parametrize("kind", [Psycopg], indirect=True, ids=["postgres"])
def test_idle_sessions_that_postgres_terminates(kind: type[Client], server: Server) -> None:
    client = kind(server.port)
    dsn = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    with psycopg.connect(dsn, autocommit=True) as admin:
        for _ in range(3):
            assert client.is_answered()
            # It returns when they are gone.
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            ).fetchall()
            assert ended == [(True,)]
            assert client.is_answered()
    assert_all_is_well(client)
