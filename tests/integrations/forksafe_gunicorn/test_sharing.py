"""No connection is ever shared by two processes, whatever befalls the workers.

Two witnesses: ``/proc/PID/fd`` says which sockets each process of the server has open, its masters
included, and ``CLIENT LIST`` which connections there are. A master that shared one with a worker
would show it: fork copies descriptors, and each copy leads to the same socket.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from tests.support.gunicorn import Gunicorn

# Whoever imports it, a master with --preload, uses the pool, and goes on with a connection in use
# and one idle.
APP = """
import json, os
import redis
from forksafe_redis import BlockingConnectionPool

pool = BlockingConnectionPool.from_url(
    os.environ["REDIS_URL"], client_name=os.environ["CLIENT"],
    max_connections=4, min_size=2, timeout=5,
)
client = redis.Redis(connection_pool=pool)
kept = pool.get_connection()
kept.send_command("PING")
assert kept.read_response() == b"PONG"
client.ping()

def app(environ, start_response):
    pid = os.getpid()
    clients = []
    for i in range(5):
        token = os.urandom(8)
        assert client.echo(token) == token
        clients.append(client.client_id())
    start_response("200 OK", [])
    return [json.dumps({"pid": pid, "clients": clients}).encode()]
"""

CONF = """
def on_exit(server):
    import sys
    if "app" in sys.modules:
        kept = sys.modules["app"].kept
        kept.send_command("PING")
        server.log.info("kept by %s: %r", server.pid, kept.read_response())

from forksafe_gunicorn import install
install(globals())
"""

WORKERS = {"sync": ("-ksync",), "gthread": ("-kgthread", "--threads=4"), "gevent": ("-kgevent",)}


def port_of(redis_url: str) -> int:
    port = urlsplit(redis_url).port
    assert port is not None
    return port


class Audited:
    """A server, and the Valkey server that it uses."""

    def __init__(self, server: Gunicorn, redis_url: str, client: str) -> None:
        self.server = server
        self._port = port_of(redis_url)
        self._client = client

    def client_list(self) -> set[int]:
        """The client's port of each connection that the server's processes have made."""
        with redis.Redis(port=self._port) as admin:
            clients: Any = admin.client_list()
        return {
            int(client["addr"].rpartition(":")[2])
            for client in clients
            if client["name"] == self._client
        }

    def audit(self, workers: set[int]) -> None:
        """Each of these workers answers, over connections of its own; none is shared."""
        answers = self.server.ask_each(workers)
        clients = Counter(c for pid in workers for c in set(answers[pid]["clients"]))
        assert set(clients.values()) == {1}, f"one client in two workers: {answers}"

        def settled() -> dict[int, set[int]] | None:
            owned = self.server.connections(self._port)
            owners = Counter(port for ports in owned.values() for port in ports)
            assert set(owners.values()) <= {1}, f"one socket in two processes: {owned}"
            # A connection may be opened or closed between the looks of the two witnesses.
            return owned if owners.keys() == self.client_list() else None

        owned = self.server.wait_until(settled, f"CLIENT LIST and /proc to agree on {workers}")
        assert all(owned[pid] for pid in workers), f"a worker without a connection: {owned}"


@pytest.mark.parametrize("preload", [True, False], ids=["preload", "no-preload"])
@pytest.mark.parametrize("worker_class", list(WORKERS))
@pytest.mark.parametrize("hooks", [True, False], ids=["hooks", "no-hooks"])
def test_a_servers_life(
    tmp_path: Path,
    redis_url: str,
    worker_class: str,
    preload: bool,
    hooks: bool,
) -> None:
    client = f"life-{uuid.uuid4().hex}"
    server = Gunicorn(
        tmp_path,
        APP,
        *WORKERS[worker_class],
        *(["--preload"] if preload else []),
        conf=CONF if hooks else CONF.partition("from forksafe_gunicorn")[0],
        env={"REDIS_URL": redis_url, "CLIENT": client},
    )
    audited = Audited(server, redis_url, client)
    with server:
        master = server.masters[0]
        first = server.wait_for_workers()
        audited.audit(first)

        victim = min(first)
        server.signal(signal.SIGKILL, victim)
        second = server.wait_for_workers(without={victim})
        audited.audit(second)

        server.signal(signal.SIGHUP)
        third = server.wait_for_workers(without=second)
        audited.audit(third)

        server.signal(signal.SIGUSR2)
        server.wait_until(lambda: len(server.masters) == 2, "the new master")
        new_master = server.masters[1]
        fourth = server.wait_for_workers(master=new_master)
        audited.audit(third | fourth)

        server.signal(signal.SIGTERM, master)
        server.wait_until(lambda: server.masters == [new_master], "the end of the old master")
        audited.audit(fourth)

        server.stop()
        server.wait_until(lambda: not audited.client_list(), "the end of every connection")
        assert "Traceback" not in server.log
        if preload:
            # All those forks and deaths, and the masters' own connections never noticed.
            assert server.log.count(": b'PONG'") == 2


def test_the_witnesses_see_what_is_shared(tmp_path: Path, redis_url: str) -> None:
    port = port_of(redis_url)
    app = """
import json, os, socket
shared = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid()}).encode()]
"""
    with Gunicorn(tmp_path, app, "--preload", env={"PORT": str(port)}) as server:
        workers = server.wait_for_workers()
        owned = server.connections(port)
        assert len(set.intersection(*owned.values())) == 1
        assert owned.keys() == {*server.masters, *workers}
        assert os.getpid() not in owned
        # SIGTERM is lost on a worker that has been forked and has not set its handlers.
        server.ask_each(workers)
