"""What asks a server through one of our pools: each question has an answer that is only its own."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import math
import secrets
import socket
import ssl
from typing import Any, ClassVar

import psycopg
import psycopg2
import pymysql
import redis
import sqlalchemy
from pymemcache.client.base import Client as MemcacheClient
from redis.backoff import NoBackoff
from redis.retry import Retry

import forksafe_dbapi
import forksafe_psycopg
from forksafe_pool import Pool, PoolStats
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from forksafe_sqlalchemy import QueuePool
from tests.forksafe_pool.threads import eventually
from tests.support import mariadb, memcached
from tests.support.mariadb import MariaDB
from tests.support.memcached import Memcached
from tests.support.postgres import Postgres
from tests.support.server import Server
from tests.support.valkey import Valkey
from tests.torture import servers
from tests.torture.echo import Echo
from tests.torture.servers import TlsRedis

with contextlib.suppress(ImportError):
    import MySQLdb

SIZE = 3
#: Seconds that a client waits for a reply, where it is not told otherwise.
PATIENCE = 2.0
#: For `check_after`: the pool trusts a connection that comes back, and has to be right.
NEVER = 3600.0


class Client:
    """``port`` is the server's own, or that of what stands before it."""

    name: ClassVar[str]
    missing: ClassVar[str | None] = None
    #: What the driver raises where nobody can be reached.
    unreachable: ClassVar[type[Exception]]
    #: What it may raise instead of what has struck it: it cleans up first, and fails.
    instead: ClassVar[tuple[type[Exception], ...]] = ()

    def __init__(
        self, port: int, *, check_after: float = 0, patience: float | None = PATIENCE
    ) -> None:
        self.port = port
        self.check_after = check_after
        self.patience = patience
        self.open()

    def open(self) -> None:
        """Make the pool."""
        raise NotImplementedError

    @staticmethod
    def start_server() -> Server:
        raise NotImplementedError

    def ask(self, word: str) -> str:
        """The server's answer, which is the word."""
        raise NotImplementedError

    def is_answered(self) -> bool:
        """Whether there is an answer. Raises AssertionError where it is not one's own."""
        word = secrets.token_hex(8)
        try:
            heard = self.ask(word)
        except Exception:
            return False
        assert heard == word, "a reply went astray"
        return True

    def outlast_failures(self) -> None:
        """Return when the pool may connect again: at once, where a caller waits for that itself."""

    def assert_answered(self) -> None:
        """There is an answer, and no error."""
        word = secrets.token_hex(8)
        assert self.ask(word) == word, "a reply went astray"

    def stats(self) -> PoolStats:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def assert_whole(self) -> None:
        """Nothing is in use, and nothing is lost."""
        stats = self.stats()
        assert (stats.in_use, stats.available) == (0, stats.total)
        assert stats.total <= SIZE


class Plain(Client):
    """One of our own pools, not hidden in another library's class."""

    pool: Pool[Any]

    def stats(self) -> PoolStats:
        return self.pool.stats()

    def close(self) -> None:
        assert self.pool.close()


class Socket(Plain):
    """The generic pool, with nothing but a connect."""

    name = "socket"
    unreachable = ConnectionRefusedError

    def open(self) -> None:
        self.pool = Pool(
            lambda: socket.create_connection(("127.0.0.1", self.port), self.patience),
            max_size=SIZE,
            check_after=self.check_after,
        )

    @staticmethod
    def start_server() -> Server:
        return Echo("raw")

    def ask(self, word: str) -> str:
        with self.pool.connection() as conn:
            conn.sendall(word.encode() + b"\n")
            heard = b""
            while not heard.endswith(b"\n"):
                chunk = conn.recv(1024)
                if not chunk:
                    raise EOFError
                heard += chunk
        return str(heard.split()[2].decode())


class Memcache(Plain):
    """The generic pool, with a driver that connects when it is first used."""

    name = "pymemcache"
    missing = memcached.MISSING
    unreachable = ConnectionRefusedError

    def open(self) -> None:
        self.pool = Pool(
            lambda: MemcacheClient(
                ("127.0.0.1", self.port), connect_timeout=PATIENCE, timeout=self.patience
            ),
            max_size=SIZE,
            check_after=self.check_after,
        )

    @staticmethod
    def start_server() -> Server:
        return Memcached()

    def ask(self, word: str) -> str:
        with self.pool.connection() as conn:
            conn.set(word, word)  # to which there is no reply
            return str(conn.get(word).decode())


class Redis(Client):
    name = "BlockingConnectionPool"
    unreachable = redis.ConnectionError
    kind: ClassVar[Any] = BlockingConnectionPool
    options: ClassVar[dict[str, Any]] = {}

    def open(self) -> None:
        self.pool: Any = self.kind(
            host="127.0.0.1",
            port=self.port,
            max_connections=SIZE,
            socket_timeout=self.patience,
            socket_connect_timeout=PATIENCE,
            check_after=self.check_after,
            retry=Retry(NoBackoff(), 0),  # what goes wrong is to be seen
            **self.options,
        )
        self.client = redis.Redis(connection_pool=self.pool)

    @staticmethod
    def start_server() -> Server:
        return Valkey()

    def ask(self, word: str) -> str:
        return self.client.echo(word).decode()  # type: ignore[union-attr]

    def stats(self) -> PoolStats:
        stats: PoolStats = self.pool.stats()
        return stats

    def close(self) -> None:
        self.pool.disconnect()


class NonBlockingRedis(Redis):
    """After several failures it is put off, and has no patience itself."""

    name = "ConnectionPool"
    kind = ConnectionPool

    def outlast_failures(self) -> None:
        eventually(self.is_answered)


class TlsOnly(TlsRedis):
    """Speaks TLS on its ``port``."""

    def command(self) -> list[str]:
        self._config += f"\nport 0\ntls-port {self.port}"
        return super().command()

    def exchange(self, request: bytes) -> bytes:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        with (
            socket.create_connection((self.host, self.port), 1) as plain,
            context.wrap_socket(plain, server_hostname=self.host) as sock,
        ):
            sock.sendall(request)
            return sock.recv(1024)


class RedisOverTls(Redis):
    name = "TLS"
    missing = servers.MISSING.get("redis tls")
    options: ClassVar[dict[str, Any]] = {
        "connection_class": redis.SSLConnection,
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
    }

    @staticmethod
    def start_server() -> Server:
        return TlsOnly()


class Pipeline(Redis):
    name = "pipeline"
    transaction = False

    def ask(self, word: str) -> str:
        with self.client.pipeline(transaction=self.transaction) as pipeline:
            for _ in range(3):
                pipeline.echo(word)
            first, second, third = pipeline.execute()
        assert first == second == third
        return str(first.decode())


class Transaction(Pipeline):
    name = "transaction"
    kind = ConnectionPool
    transaction = True


class Psycopg(Plain):
    name = "psycopg"
    unreachable = psycopg.OperationalError

    def open(self) -> None:
        self.pool = forksafe_psycopg.Pool(
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres sslmode=disable "
            "gssencmode=disable connect_timeout=2",
            max_size=SIZE,
            check_after=self.check_after,
            kwargs={"autocommit": True},
        )

    @staticmethod
    def start_server() -> Server:
        return Postgres()

    def ask(self, word: str) -> str:
        with self.pool.connection() as conn:
            row = conn.execute("SELECT %s::text", (word,)).fetchone()
        return str(row and row[0])


class DbApi(Plain):
    """`forksafe_dbapi`'s pool."""

    def open(self) -> None:
        self.pool = forksafe_dbapi.Pool(self.connect, max_size=SIZE, check_after=self.check_after)

    def connect(self) -> Any:
        raise NotImplementedError

    def ask(self, word: str) -> str:
        with self.pool.connection() as conn, conn.cursor() as cursor:
            cursor.execute("SELECT %s", (word,))
            row = cursor.fetchone()
        return str(row and row[0])


class PyMySql(DbApi):
    name = "PyMySQL"
    missing = mariadb.MISSING
    unreachable = pymysql.OperationalError

    def connect(self) -> Any:
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            connect_timeout=2,
            read_timeout=self.patience,
        )

    @staticmethod
    def start_server() -> Server:
        return MariaDB()


class MySqlClient(DbApi):
    name = "mysqlclient"
    missing = mariadb.MISSING or (
        None
        if importlib.util.find_spec("MySQLdb")
        else "no mysqlclient here: it is built from source"
    )
    if missing is None:
        unreachable = MySQLdb.OperationalError
        instead = (MySQLdb.ProgrammingError,)

    def connect(self) -> Any:
        # Whole seconds. 0: for ever.
        patience = 0 if self.patience is None else math.ceil(self.patience)
        return MySQLdb.connect(
            host="127.0.0.1",
            port=self.port,
            user="root",
            connect_timeout=2,
            read_timeout=patience,
        )

    start_server = staticmethod(PyMySql.start_server)


class Psycopg2(DbApi):
    name = "psycopg2"
    unreachable = psycopg2.OperationalError

    def connect(self) -> Any:
        return psycopg2.connect(
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres sslmode=disable "
            "gssencmode=disable connect_timeout=2"
        )

    start_server = staticmethod(Psycopg.start_server)


class SqlAlchemy(Client):
    """Its own check is all or nothing: ``pool_pre_ping``."""

    name = "SQLAlchemy"
    unreachable = sqlalchemy.exc.OperationalError
    instead = (sqlalchemy.exc.OperationalError,)

    def open(self) -> None:
        self.engine = sqlalchemy.create_engine(
            f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres",
            connect_args={"sslmode": "disable", "gssencmode": "disable", "connect_timeout": 2},
            poolclass=QueuePool,
            pool_size=SIZE,
            max_overflow=0,
            pool_pre_ping=self.check_after < NEVER,
        )

    start_server = staticmethod(Psycopg.start_server)

    def ask(self, word: str) -> str:
        with self.engine.connect() as connection:
            return str(connection.scalar(sqlalchemy.text("SELECT :word"), {"word": word}))

    def stats(self) -> PoolStats:
        # SQLAlchemy 2.0 leaves a connection that it could not roll back to the garbage collector.
        gc.collect()
        pool: Any = self.engine.pool
        stats: PoolStats = pool._pool.stats()
        return stats

    def close(self) -> None:
        self.engine.dispose()


CLIENTS: list[type[Client]] = [
    Socket,
    Memcache,
    Redis,
    NonBlockingRedis,
    RedisOverTls,
    Psycopg,
    Psycopg2,
    PyMySql,
    MySqlClient,
    SqlAlchemy,
]
#: Those that have a limit of their own to the time that a reply may take.
PATIENT: list[type[Client]] = [
    *(Socket, Memcache, Redis, NonBlockingRedis, RedisOverTls),
    *(PyMySql, MySqlClient),
]
#: Those whose callers wait in line for a connection.
WAITING: list[type[Client]] = [kind for kind in CLIENTS if kind is not NonBlockingRedis]
#: Those that wait for a reply in C: whatever is to strike meanwhile strikes when it is there.
DEAF: list[type[Client]] = [Psycopg2, MySqlClient]


def named(name: str) -> type[Client]:
    kinds: list[type[Client]] = [*CLIENTS, Pipeline, Transaction]
    return next(kind for kind in kinds if kind.name == name)
