"""Drivers, each as it comes: how to connect, to ask, and to have something under way.

They serve the tests as well as the programs that these start, and import what they drive when
they use it: a program that forks often is to be small.
"""

from __future__ import annotations

import contextlib
import importlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from forksafe_pool import Pool

TIMEOUT = 15.0
SIZE = 4


class Address(NamedTuple):
    host: str
    port: int
    #: The server's own, with its certificate and its UNIX socket.
    folder: Path


class Driver:
    """One driver. A reply that is not the caller's own, or an error, is for the test to see."""

    name: ClassVar[str]
    #: The fixture of its server.
    server: ClassVar[str]
    #: The name of the method that closes a connection.
    closer: ClassVar[str] = "close"
    over_tcp: ClassVar[bool] = True
    #: Whether its pool's connections find out about a C-level fork by themselves.
    asks: ClassVar[bool] = False

    def __init__(self, address: Address) -> None:
        self.address = address

    def connect(self) -> Any:
        raise NotImplementedError

    def close(self, conn: Any) -> None:
        getattr(conn, self.closer)()

    def make_pool(self) -> Pool[Any]:
        """The generic one, which is told how to connect and, where it must be, how to close."""
        close = None if self.closer == "close" else self.close
        return Pool(self.connect, max_size=SIZE, timeout=TIMEOUT, close=close)

    def ask(self, conn: Any, word: str) -> str:
        """The server's reply, which is the word."""
        raise NotImplementedError

    def session(self, conn: Any) -> object:
        """The server's, or the kernel's, name for this connection."""
        raise NotImplementedError

    def begin(self, conn: Any) -> None:
        """Have something under way that only this session knows of."""

    def finish(self, conn: Any) -> None:
        """End it. Raises AssertionError, or the driver's error, where somebody disturbed it."""

    def misuses(self, conn: Any) -> Iterator[Callable[[], object]]:
        """What may be done with a connection that is not one's own; any of it may raise."""
        yield lambda: self.ask(conn, "mine?")
        yield lambda: self.finish(conn)
        yield lambda: self.close(conn)


class Socket(Driver):
    name = "socket"
    server = "echo"

    def connect(self) -> Any:
        return socket.create_connection((self.address.host, self.address.port), TIMEOUT)

    def hear(self, conn: Any, word: str) -> list[str]:
        """The session, the number of the request in it, and the word."""
        conn.sendall(word.encode() + b"\n")
        heard = b""
        while not heard.endswith(b"\n"):
            chunk = conn.recv(1024)
            assert chunk, "end of file"
            heard += chunk
        return heard.decode().split()

    def ask(self, conn: Any, word: str) -> str:
        return self.hear(conn, word)[2]

    def session(self, conn: Any) -> object:
        return self.hear(conn, "who")[0]

    def misuses(self, conn: Any) -> Iterator[Callable[[], object]]:
        yield lambda: conn.sendall(b"mine?\n")
        yield lambda: conn.recv(100)
        yield lambda: conn.setblocking(False)
        yield lambda: conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield lambda: conn.shutdown(socket.SHUT_RDWR)
        yield conn.close


class TlsSocket(Socket):
    name = "socket, TLS"
    server = "echo_tls"

    def connect(self) -> Any:
        context = ssl.create_default_context(cafile=str(self.address.folder / "ca.pem"))
        return context.wrap_socket(super().connect(), server_hostname="127.0.0.1")

    def misuses(self, conn: Any) -> Iterator[Callable[[], object]]:
        yield conn.unwrap
        yield from super().misuses(conn)


class Http(Socket):
    name = "http.client"
    server = "http"
    module: ClassVar[str] = "http.client"

    def connect(self) -> Any:
        module: Any = importlib.import_module(self.module)
        return module.HTTPConnection(self.address.host, self.address.port, timeout=TIMEOUT)

    def hear(self, conn: Any, word: str) -> list[str]:
        conn.request("GET", "/" + word)
        return cast("bytes", conn.getresponse().read()).decode().split()

    def misuses(self, conn: Any) -> Iterator[Callable[[], object]]:
        return Driver.misuses(self, conn)


class Urllib3(Http):
    name = "urllib3"
    module = "urllib3.connection"

    def hear(self, conn: Any, word: str) -> list[str]:
        conn.request("GET", "/" + word, preload_content=True)
        return cast("bytes", conn.getresponse().data).decode().split()


class Memcache(Driver):
    name = "pymemcache"
    server = "memcached"

    def connect(self) -> Any:
        from pymemcache.client.base import Client

        address = (self.address.host, self.address.port)
        return Client(address, timeout=TIMEOUT, connect_timeout=TIMEOUT)

    def ask(self, conn: Any, word: str) -> str:
        conn.set(word, word, noreply=False)
        return cast("bytes", conn.get(word)).decode()

    def session(self, conn: Any) -> object:
        if conn.sock is None:  # it connects with its first command
            conn.version()
        return conn.sock.getsockname()


class Redis(Driver):
    name = "redis-py"
    server = "valkey"
    closer = "disconnect"

    def connect(self) -> Any:
        import redis

        conn = redis.Connection(host=self.address.host, port=self.address.port)
        conn.connect()
        return conn

    def command(self, conn: Any, *words: Any) -> Any:
        conn.send_command(*words)
        return conn.read_response()

    def ask(self, conn: Any, word: str) -> str:
        return cast("bytes", self.command(conn, "ECHO", word)).decode()

    def session(self, conn: Any) -> object:
        return self.command(conn, "CLIENT", "ID")

    def begin(self, conn: Any) -> None:
        assert self.command(conn, "MULTI") == b"OK"
        assert self.command(conn, "ECHO", "under way") == b"QUEUED"

    def finish(self, conn: Any) -> None:
        assert self.command(conn, "EXEC") == [b"under way"]


class ForkSafeRedis(Redis):
    name = "forksafe_redis"
    asks = True

    def make_pool(self) -> Any:
        import forksafe_redis

        return _LikePool(
            forksafe_redis.ConnectionPool(
                host=self.address.host, port=self.address.port, max_connections=SIZE
            )
        )


class _LikePool:
    """redis-py's names for what a pool does."""

    def __init__(self, pool: Any) -> None:
        self.acquire = pool.get_connection
        self.release = pool.release
        self.discard = pool.discard
        self.close = pool.disconnect
        self.stats = pool.stats

    @contextmanager
    def connection(self) -> Iterator[Any]:
        conn = self.acquire()
        yield conn
        self.release(conn)


class Sql(Driver):
    whoami: ClassVar[str]

    def query(self, conn: Any, statement: str) -> Any:
        """The first column of the first row, if there are rows."""
        with contextlib.closing(conn.cursor()) as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def ask(self, conn: Any, word: str) -> str:
        return str(self.query(conn, f"SELECT '{word}'"))

    def session(self, conn: Any) -> object:
        return self.query(conn, f"SELECT {self.whoami}")

    def begin(self, conn: Any) -> None:
        self.query(conn, "CREATE TEMPORARY TABLE under_way (number INTEGER)")
        conn.commit()
        self.query(conn, "INSERT INTO under_way VALUES (42)")

    def finish(self, conn: Any) -> None:
        assert self.query(conn, "SELECT sum(number) FROM under_way") == 42
        conn.commit()
        self.query(conn, "INSERT INTO under_way VALUES (42)")
        conn.rollback()
        assert self.query(conn, "SELECT sum(number) FROM under_way") == 42

    def misuses(self, conn: Any) -> Iterator[Callable[[], object]]:
        yield conn.rollback
        yield from super().misuses(conn)


class Psycopg(Sql):
    name = "psycopg"
    server = "postgres"
    whoami = "pg_backend_pid()"
    mode: ClassVar[str] = "disable"
    module: ClassVar[str] = "psycopg"

    @property
    def host(self) -> str:
        return self.address.host

    def arguments(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.address.port,
            "user": "postgres",
            "dbname": "postgres",
            "sslmode": self.mode,
            "gssencmode": "disable",
            "connect_timeout": int(TIMEOUT),
        }

    def connect(self) -> Any:
        module: Any = importlib.import_module(self.module)
        return module.connect(**self.arguments())


class PsycopgTls(Psycopg):
    name = "psycopg, TLS"
    server = "postgres_tls"
    mode = "require"


class ForkSafePsycopg(Psycopg):
    name = "forksafe_psycopg"
    asks = True

    def make_pool(self) -> Any:
        import forksafe_psycopg

        return forksafe_psycopg.Pool(kwargs=self.arguments(), max_size=SIZE, timeout=TIMEOUT)


class ForkSafePsycopgTls(ForkSafePsycopg, PsycopgTls):
    name = "forksafe_psycopg, TLS"


class PsycopgUnix(Psycopg):
    name = "psycopg, UNIX socket"
    over_tcp = False

    @property
    def host(self) -> str:
        return str(self.address.folder)


class Psycopg2(Psycopg):
    name = "psycopg2"
    module = "psycopg2"


class Psycopg2Tls(PsycopgTls):
    name = "psycopg2, TLS"
    module = "psycopg2"


class _Dbapi(Sql):
    def make_pool(self) -> Any:
        import forksafe_dbapi

        return forksafe_dbapi.Pool(self.connect, max_size=SIZE, timeout=TIMEOUT)


class DbapiPsycopg2(_Dbapi, Psycopg2):
    name = "forksafe_dbapi, psycopg2"


class _SqlAlchemy(Sql):
    asks = True
    dialect: ClassVar[str]

    def make_pool(self) -> Any:
        import sqlalchemy

        import forksafe_sqlalchemy

        engine = sqlalchemy.create_engine(
            f"{self.dialect}://",
            creator=self.connect,
            poolclass=forksafe_sqlalchemy.QueuePool,
            pool_size=SIZE,
            max_overflow=0,
            pool_timeout=TIMEOUT,
        )
        return _EnginesPool(engine)


class _EnginesPool:
    """What an engine's users do with its pool, by the names of ours."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine  # who drops it drops the pool
        self.acquire = engine.raw_connection
        self.close = engine.dispose
        self.stats = engine.pool._pool.stats

    def release(self, conn: Any) -> None:
        conn.close()

    def discard(self, conn: Any) -> None:
        conn.invalidate()

    @contextmanager
    def connection(self) -> Iterator[Any]:
        with contextlib.closing(self.acquire()) as conn:
            yield conn


class SqlAlchemyPsycopg(_SqlAlchemy, Psycopg):
    name = "forksafe_sqlalchemy, psycopg"
    dialect = "postgresql+psycopg"


class SqlAlchemyPsycopgTls(_SqlAlchemy, PsycopgTls):
    name = "forksafe_sqlalchemy, psycopg, TLS"
    dialect = "postgresql+psycopg"


class SqlAlchemyPsycopg2(_SqlAlchemy, Psycopg2):
    name = "forksafe_sqlalchemy, psycopg2"
    dialect = "postgresql+psycopg2"


class PyMySQL(Sql):
    name = "PyMySQL"
    server = "mariadb"
    whoami = "connection_id()"
    options: ClassVar[dict[str, Any]] = {}

    def arguments(self) -> dict[str, Any]:
        return {"host": self.address.host, "port": self.address.port}

    module: ClassVar[str] = "pymysql"

    def connect(self) -> Any:
        module: Any = importlib.import_module(self.module)
        return module.connect(user="root", database="mysql", **self.arguments())


class PyMySQLTls(PyMySQL):
    name = "PyMySQL, TLS"
    server = "mariadb_tls"

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "ssl": {"ca": str(self.address.folder / "ca.pem")}}


class PyMySQLUnix(PyMySQL):
    name = "PyMySQL, UNIX socket"
    over_tcp = False

    def arguments(self) -> dict[str, Any]:
        return {"unix_socket": str(self.address.folder / "socket")}


class MySQLClient(PyMySQL):
    name = "mysqlclient"
    module = "MySQLdb"  # built from source: it is not everywhere


class MySQLClientTls(MySQLClient, PyMySQLTls):
    name = "mysqlclient, TLS"


class DbapiPyMySQL(_Dbapi, PyMySQL):
    name = "forksafe_dbapi, PyMySQL"


class DbapiMySQLClient(_Dbapi, MySQLClient):
    name = "forksafe_dbapi, mysqlclient"


class SqlAlchemyPyMySQL(_SqlAlchemy, PyMySQL):
    name = "forksafe_sqlalchemy, PyMySQL"
    dialect = "mysql+pymysql"


class SqlAlchemyMySQLClient(_SqlAlchemy, MySQLClient):
    name = "forksafe_sqlalchemy, mysqlclient"
    dialect = "mysql+mysqldb"


DRIVERS: dict[str, type[Driver]] = {
    driver.name: driver
    for driver in (
        Socket,
        TlsSocket,
        Http,
        Urllib3,
        Memcache,
        Redis,
        ForkSafeRedis,
        Psycopg,
        PsycopgTls,
        PsycopgUnix,
        Psycopg2,
        Psycopg2Tls,
        PyMySQL,
        PyMySQLTls,
        PyMySQLUnix,
        MySQLClient,
        MySQLClientTls,
        ForkSafePsycopg,
        ForkSafePsycopgTls,
        DbapiPsycopg2,
        DbapiPyMySQL,
        DbapiMySQLClient,
        SqlAlchemyPsycopg,
        SqlAlchemyPsycopgTls,
        SqlAlchemyPsycopg2,
        SqlAlchemyPyMySQL,
        SqlAlchemyMySQLClient,
    )
}
