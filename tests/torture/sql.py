"""SQL: a transaction under way, on a table that only its session sees."""

from __future__ import annotations

import contextlib
from typing import Any

import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
import pymysql
import sqlalchemy
from dbutils.pooled_db import PooledDB

import forksafe_dbapi
import forksafe_pool
import forksafe_psycopg
import forksafe_sqlalchemy
from tests.torture.sockets import Ours
from tests.torture.subject import PATIENCE, SIZE, Driver, Pool, find_locks

with contextlib.suppress(ImportError):
    import MySQLdb


class Sql(Driver):
    whoami: str
    dialect: str

    def query(self, conn: Any, statement: str) -> Any:
        """The first value of the first row."""
        with conn.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone()[0] if cursor.description else None

    def ask(self, conn: Any, word: str) -> str:
        return str(self.query(conn, f"SELECT '{word}'"))

    def session(self, conn: Any) -> object:
        return self.query(conn, f"SELECT {self.whoami}")

    def begin(self, conn: Any) -> object:
        self.query(conn, "CREATE TEMPORARY TABLE held (number INTEGER)")
        self.query(conn, "INSERT INTO held VALUES (42)")
        return self.session(conn)

    def spoil(self, conn: Any, begun: Any) -> bool:
        self.query(conn, "DELETE FROM held")
        return bool(self.session(conn) == begun)

    def finish(self, conn: Any, begun: Any) -> bool:
        kept: bool = self.query(conn, "SELECT sum(number) FROM held") == 42
        conn.commit()
        return kept and self.session(conn) == begun


class Psycopg(Sql):
    name = "psycopg"
    server = "postgres"
    whoami = "pg_backend_pid()"
    dialect = "postgresql+psycopg"

    def connect(self) -> Any:
        return psycopg.connect(self.address)


class TlsPsycopg(Psycopg):
    name = "psycopg, TLS"
    server = "postgres tls"


class Psycopg2(Psycopg):
    name = "psycopg2"
    dialect = "postgresql+psycopg2"

    def connect(self) -> Any:
        return psycopg2.connect(self.address)


class TlsPsycopg2(Psycopg2):
    name = "psycopg2, TLS"
    server = "postgres tls"


class PyMySQL(Sql):
    name = "PyMySQL"
    server = "mariadb"
    whoami = "connection_id()"
    dialect = "mysql+pymysql"

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        return pymysql.connect(host=host, port=int(port), user="root", database="mysql")


class TlsPyMySQL(PyMySQL):
    name = "PyMySQL, TLS"
    server = "mariadb tls"

    def connect(self) -> Any:
        host, port, folder = self.address.split(":")
        return pymysql.connect(
            host=host, port=int(port), user="root", database="mysql", ssl={"ca": f"{folder}/ca.pem"}
        )


class MySQLClient(PyMySQL):
    name = "mysqlclient"
    dialect = "mysql+mysqldb"

    def connect(self) -> Any:
        host, port, _ = self.address.split(":")
        return MySQLdb.connect(host=host, port=int(port), user="root", database="mysql")


class _ViaSqlAlchemy(Sql):
    """The same driver below SQLAlchemy's connections."""

    def query(self, conn: Any, statement: str) -> Any:
        result = conn.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None


class SqlAlchemyPsycopg(_ViaSqlAlchemy, Psycopg):
    name = "SQLAlchemy, psycopg"


class TlsSqlAlchemyPsycopg(SqlAlchemyPsycopg, TlsPsycopg):
    name = "SQLAlchemy, psycopg, TLS"


class SqlAlchemyPsycopg2(_ViaSqlAlchemy, Psycopg2):
    name = "SQLAlchemy, psycopg2"


class SqlAlchemyPyMySQL(_ViaSqlAlchemy, PyMySQL):
    name = "SQLAlchemy, PyMySQL"


class SqlAlchemyMySQLClient(_ViaSqlAlchemy, MySQLClient):
    name = "SQLAlchemy, mysqlclient"


class OurPsycopg(Ours):
    name = "forksafe_psycopg.Pool"

    def make(self, driver: Driver) -> forksafe_pool.Pool[Any]:
        return forksafe_psycopg.Pool(driver.address, max_size=SIZE, timeout=PATIENCE)


class OurDbapi(Ours):
    name = "forksafe_dbapi.Pool"

    def make(self, driver: Driver) -> forksafe_pool.Pool[Any]:
        return forksafe_dbapi.Pool(driver.connect, max_size=SIZE, timeout=PATIENCE)


class PsycopgPool(Pool):
    name = "psycopg_pool.ConnectionPool"

    def __init__(self, driver: Driver) -> None:
        self.pool: Any = psycopg_pool.ConnectionPool(
            driver.address, min_size=1, max_size=SIZE, timeout=PATIENCE, open=True
        )
        self.pool.wait()  # who asks before has it make more than are needed

    def acquire(self) -> Any:
        return self.pool.getconn()

    def release(self, conn: Any) -> None:
        self.pool.putconn(conn)

    def close(self) -> None:
        self.pool.close(timeout=1)

    def locks(self) -> dict[str, Any]:
        return find_locks(pool=self.pool, scheduler=self.pool._sched)


class Psycopg2Pool(Pool):
    name = "psycopg2.pool.ThreadedConnectionPool"

    def __init__(self, driver: Driver) -> None:
        self.pool: Any = psycopg2.pool.ThreadedConnectionPool(1, SIZE, driver.address)

    def acquire(self) -> Any:
        return self.pool.getconn()

    def release(self, conn: Any) -> None:
        self.pool.putconn(conn)

    def close(self) -> None:
        self.pool.closeall()

    def locks(self) -> dict[str, Any]:
        return find_locks(pool=self.pool)


class DBUtils(Pool):
    name = "DBUtils PooledDB"

    def __init__(self, driver: Driver) -> None:
        self.pool: Any = PooledDB(
            creator(driver), maxcached=SIZE, maxconnections=SIZE, blocking=False
        )

    def acquire(self) -> Any:
        return self.pool.connection(shareable=False)

    def release(self, conn: Any) -> None:
        conn.close()

    def close(self) -> None:
        self.pool.close()

    def locks(self) -> dict[str, Any]:
        return find_locks(pool=self.pool)


def creator(driver: Driver) -> Any:
    """What PooledDB calls: it looks up the driver's exceptions there."""

    def connect() -> Any:
        return driver.connect()

    connect.dbapi = MySQLdb if isinstance(driver, MySQLClient) else pymysql  # type: ignore[attr-defined]
    return connect


class SqlAlchemy(Pool):
    name = "sqlalchemy.pool.QueuePool"
    kind: Any = sqlalchemy.pool.QueuePool

    def __init__(self, driver: Sql) -> None:
        self.engine = sqlalchemy.create_engine(
            f"{driver.dialect}://",
            creator=driver.connect,
            poolclass=self.kind,
            pool_size=SIZE,
            max_overflow=0,
            pool_timeout=PATIENCE,
        )

    def acquire(self) -> Any:
        return self.engine.connect()

    def release(self, conn: Any) -> None:
        conn.close()

    def close(self) -> None:
        self.engine.dispose()

    def locks(self) -> dict[str, Any]:
        pool: Any = self.engine.pool
        return find_locks(pool=pool, queue=pool._pool)


class OurSqlAlchemy(SqlAlchemy):
    name = "forksafe_sqlalchemy.QueuePool"
    ours = True
    kind = forksafe_sqlalchemy.QueuePool

    def locks(self) -> dict[str, Any]:
        """Those that are taken: SQLAlchemy's own for what runs once, where it has made any."""
        pool: Any = self.engine.pool
        locks = {"first_connects": pool._first_connects.get().lock}
        for name in ("connect", "first_connect"):
            mutex = getattr(getattr(pool.dispatch, name), "_exec_once_mutex", None)
            if mutex is not None:
                locks[f"{name}._exec_once_mutex"] = mutex
        return locks
