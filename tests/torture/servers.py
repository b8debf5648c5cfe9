"""The real servers that a run needs, started on first use."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator

from tests.support import mariadb, memcached, postgres
from tests.support.certificates import write_certificate
from tests.support.mariadb import MariaDB
from tests.support.mariadb_tls import TlsMariaDB
from tests.support.memcached import Memcached
from tests.support.postgres import Postgres
from tests.support.server import Server, free_port
from tests.support.valkey import Valkey
from tests.torture.echo import Echo


class TlsRedis(Valkey):
    """Debian's: the wheel's server is built without TLS."""

    def __init__(self) -> None:
        self.tls_port = free_port()
        super().__init__()

    def prepare(self) -> None:
        write_certificate(self.folder)
        self._config = (
            f"tls-port {self.tls_port}\ntls-auth-clients no\ntls-cert-file {self.folder}/cert.pem\n"
            f"tls-key-file {self.folder}/key.pem\ntls-ca-cert-file {self.folder}/ca.pem"
        )

    def command(self) -> list[str]:
        return ["redis-server", *super().command()[1:]]

    @property
    def url(self) -> str:
        return f"rediss://{self.host}:{self.tls_port}/0?ssl_ca_certs={self.folder}/ca.pem"


STARTS: dict[str, Callable[[], Server]] = {
    "valkey": Valkey,
    "redis tls": TlsRedis,
    "postgres": Postgres,
    "postgres tls": lambda: Postgres(tls=True),
    "mariadb": MariaDB,
    "mariadb tls": TlsMariaDB,
    "memcached": Memcached,
    "echo": lambda: Echo("raw"),
    "echo tls": lambda: Echo("raw", tls=True),
    "mongo": lambda: Echo("mongo"),
    "http": lambda: Echo("http"),
    "http tls": lambda: Echo("http", tls=True),
}

#: Why a server cannot be had on this machine.
MISSING = {
    name: reason
    for name, reason in {
        "postgres tls": postgres.MISSING_TLS,
        "mariadb": mariadb.MISSING,
        "mariadb tls": mariadb.MISSING,
        "redis tls": None if shutil.which("redis-server") else "apt-get install redis-server",
        "memcached": memcached.MISSING,
    }.items()
    if reason
}


@contextlib.contextmanager
def running(names: set[str]) -> Iterator[dict[str, str]]:
    """What tells a subject where each server is."""
    with contextlib.ExitStack() as stack:
        addresses = {}
        for name in sorted(names):
            server = STARTS[name]()
            stack.callback(server.stop)
            addresses[name] = address(server)
        yield addresses


def address(server: Server) -> str:
    if isinstance(server, Valkey):
        return server.url
    if isinstance(server, Postgres):
        return server.dsn
    return f"{server.host}:{server.port}:{server.folder}"
