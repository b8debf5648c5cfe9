"""Who has which connection: what the programs of a test do with Valkey, and what Valkey saw.

The connections of one test bear one client name. `Witness` is for the test itself, the functions
are for the programs that it starts, to which `Witness.env` says what to call themselves.
"""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis

from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool


def clients(admin: redis.Redis, name: str) -> dict[int, dict[str, Any]]:
    """``CLIENT LIST`` of those who bear ``name``, by the client's port."""
    found: Any = admin.client_list()
    return {
        int(client["addr"].rpartition(":")[2]): client for client in found if client["name"] == name
    }


class Watched(Protocol):
    """What a `Witness` asks of the processes: a `Family`, or gunicorn's."""

    def connections(self, port: int) -> dict[int, set[int]]: ...
    def wait_until(self, condition: Callable[[], bool], what: str) -> bool: ...


class Witness:
    """What the Valkey server at ``url`` says of one test's connections."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = f"witness-{uuid.uuid4().hex}"
        self.port = urlsplit(url).port or 0
        self.env = {"REDIS_URL": url, "CLIENT": self.name}

    def clients(self) -> dict[int, dict[str, Any]]:
        """What the server knows of each connection, by the client's port."""
        with redis.Redis.from_url(self.url) as admin:
            return clients(admin, self.name)

    def goodbyes(self) -> Counter[int]:
        """For each pid: how many connections of its `polite_pool` it has closed."""
        with redis.Redis.from_url(self.url) as admin:
            said: list[bytes] = admin.lrange(f"goodbyes:{self.name}", 0, -1)
        return Counter(map(int, said))

    def audit(self, family: Watched) -> dict[int, set[int]]:
        """No connection is open in two processes; returns the ports of each process.

        The kernel and the server must agree. A process that has just been forked is given the
        time to notice; the program's further connections, which bear another name, do not count.
        """
        owned: dict[int, set[int]] = {}

        def settled() -> bool:
            named = self.clients().keys()
            owned.clear()
            for pid, ports in family.connections(self.port).items():
                owned[pid] = ports & named
            return sorted(port for ports in owned.values() for port in ports) == sorted(named)

        try:
            family.wait_until(settled, "each connection to be in one process")
        except AssertionError as error:
            raise AssertionError(f"the server has {set(self.clients())}, {owned}") from error
        return owned

    def assert_unwritten(self, ports: set[int]) -> None:
        """Nothing has reached the server over these since their `used_client` was made."""
        with redis.Redis.from_url(self.url) as admin:
            noted = admin.hgetall(f"read:{self.name}")
        clients = self.clients()
        now = {port: clients[port]["tot-net-in"] for port in ports}
        before = {port: noted[str(port).encode()].decode() for port in ports}
        assert now == before, "somebody has written to a connection of its parent's"


# -- in the programs ------------------------------------------------------------------------------


def used_client() -> tuple[redis.Redis, Any]:
    """A client that this process has used, and a connection that it keeps in use.

    Notes for `Witness.assert_unwritten` how many bytes the server has read from both.
    """
    url, name = os.environ["REDIS_URL"], os.environ["CLIENT"]
    pool = BlockingConnectionPool.from_url(url, client_name=name, max_connections=4, timeout=5)
    client = redis.Redis(connection_pool=pool)
    kept = pool.get_connection()
    kept.send_command("PING")
    assert kept.read_response() == b"PONG"
    client.ping()
    with redis.Redis.from_url(url) as admin:
        for port, connected in clients(admin, name).items():
            admin.hsetnx(f"read:{name}", str(port), connected["tot-net-in"])
    return client, kept


def report(client: redis.Redis) -> dict[str, Any]:
    """This process, and the ids of the connections that it is served over, with its own replies."""
    clients = []
    for _ in range(5):
        token = os.urandom(8)
        assert client.echo(token) == token
        clients.append(client.client_id())
    return {"pid": os.getpid(), "clients": clients}


def polite_pool() -> Pool[Any]:
    """A pool that `Pool.fill` fills with two, and whose connections say goodbye to the server.

    Over the connection itself: one that came through a fork and says so would be heard.
    """
    url = urlsplit(os.environ["REDIS_URL"])
    name = os.environ["CLIENT"]

    def connect() -> Any:
        conn = redis.Connection(host=url.hostname or "", port=url.port or 0, client_name=name)
        conn.connect()
        return conn

    def close(conn: Any) -> None:
        conn.send_command("RPUSH", f"goodbyes:{name}", os.getpid())
        conn.read_response()
        conn.disconnect()

    return Pool(connect, min_size=2, max_size=4, timeout=5, close=close)


def report_polite(pool: Pool[Any]) -> dict[str, Any]:
    """This process, and the id of the connection that it is served over."""
    with pool.connection() as conn:
        conn.send_command("CLIENT", "ID")
        return {"pid": os.getpid(), "clients": [conn.read_response()]}
