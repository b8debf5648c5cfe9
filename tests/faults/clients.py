"""What asks a server through one of our pools: each question has an answer that is only its own."""

from __future__ import annotations

import secrets
import socket
from typing import Any, ClassVar

import redis
import sqlalchemy

import forksafe_psycopg
from forksafe_pool import Pool, PoolStats
from forksafe_redis import BlockingConnectionPool, ConnectionPool
from forksafe_sqlalchemy import QueuePool
from tests.support.postgres import Postgres
from tests.support.server import Server
from tests.support.valkey import Valkey
from tests.torture.echo import Echo

SIZE = 3
#: Seconds that a client waits for a reply.
PATIENCE = 1.0


class Client:
    """``port`` is the server's own, or that of what stands before it."""

    name: ClassVar[str]

    def __init__(self, port: int) -> None:
        self.port = port

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

    def stats(self) -> PoolStats:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def assert_whole(self) -> None:
        """Nothing is in use, and nothing is lost."""
        stats = self.stats()
        assert (stats.in_use, stats.available) == (0, stats.total)
        assert stats.total <= SIZE


class Socket(Client):
    """The generic pool, with nothing but a connect."""

    name = "socket"

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.pool = Pool(
            lambda: socket.create_connection(("127.0.0.1", port), PATIENCE),
            max_size=SIZE,
            check_after=0,
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
        return heard.split()[2].decode()

    def stats(self) -> PoolStats:
        return self.pool.stats()

    def close(self) -> None:
        assert self.pool.close()


class Redis(Client):
    name = "BlockingConnectionPool"
    kind: ClassVar[Any] = BlockingConnectionPool

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.pool: Any = self.kind(
            host="127.0.0.1",
            port=port,
            max_connections=SIZE,
            socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE,
            check_after=0,
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
    name = "ConnectionPool"
    kind = ConnectionPool


class Psycopg(Client):
    name = "psycopg"

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.pool = forksafe_psycopg.Pool(
            f"host=127.0.0.1 port={port} user=postgres dbname=postgres sslmode=disable "
            f"gssencmode=disable connect_timeout=2",
            max_size=SIZE,
            check_after=0,
            kwargs={"autocommit": True},
        )

    @staticmethod
    def start_server() -> Server:
        return Postgres()

    def ask(self, word: str) -> str:
        with self.pool.connection() as conn:
            row = conn.execute("SELECT %s::text", (word,)).fetchone()
        return str(row and row[0])

    def stats(self) -> PoolStats:
        return self.pool.stats()

    def close(self) -> None:
        assert self.pool.close()


class SqlAlchemy(Psycopg):
    name = "SQLAlchemy"

    def __init__(self, port: int) -> None:
        Client.__init__(self, port)
        self.engine = sqlalchemy.create_engine(
            f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres",
            connect_args={"sslmode": "disable", "gssencmode": "disable", "connect_timeout": 2},
            poolclass=QueuePool,
            pool_size=SIZE,
            max_overflow=0,
            pool_pre_ping=True,
        )

    def ask(self, word: str) -> str:
        with self.engine.connect() as connection:
            return str(connection.scalar(sqlalchemy.text("SELECT :word"), {"word": word}))

    def stats(self) -> PoolStats:
        pool: Any = self.engine.pool
        stats: PoolStats = pool._pool.stats()
        return stats

    def close(self) -> None:
        self.engine.dispose()


CLIENTS: list[type[Client]] = [Socket, Redis, NonBlockingRedis, Psycopg, SqlAlchemy]
#: Those that have a limit of their own to the time that a reply may take.
PATIENT: list[type[Client]] = [Socket, Redis, NonBlockingRedis]
