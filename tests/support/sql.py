"""What tests do with a database, whichever it is and whatever the driver.

The functions serve the programs that tests start as well: a pool is named by its driver and by an
address, which is text.
"""

from __future__ import annotations

import importlib
import select
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import forksafe_dbapi
from forksafe_pool import Pool
from forksafe_pool._fork.descriptor import find_descriptor
from tests.forksafe_pool.threads import eventually

LIMIT = 15.0

#: The fixture of each driver's server.
SERVERS = {
    "psycopg": "postgres",
    "psycopg2": "postgres",
    "pymysql": "mariadb",
    "mysqlclient": "mariadb",
}


class _Dialect(NamedTuple):
    session: str
    living: str
    kill: str
    hold: str
    let_go: str
    blocked: str


_POSTGRES = _Dialect(
    session="SELECT pg_backend_pid()",
    living="SELECT count(*) FROM pg_stat_activity WHERE pid = {}",
    kill="SELECT pg_terminate_backend({})",
    hold="SELECT pg_advisory_lock(1)",
    let_go="SELECT pg_advisory_unlock(1)",
    blocked="SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND wait_event_type = 'Lock'",
)
_MARIADB = _Dialect(
    session="SELECT connection_id()",
    living="SELECT count(*) FROM information_schema.processlist WHERE id = {}",
    kill="KILL CONNECTION {}",
    hold=f"SELECT get_lock('held', {LIMIT})",
    let_go="SELECT release_lock('held')",
    blocked=(
        "SELECT count(*) FROM information_schema.processlist WHERE id = {} AND state = 'User lock'"
    ),
)


def _dialect(conn: Any) -> _Dialect:
    conn = getattr(conn, "driver_connection", conn)  # SQLAlchemy's stands before the driver's
    return _POSTGRES if type(conn).__module__.startswith("psycopg") else _MARIADB


def module_of(driver: str) -> Any:
    """Only what is asked for: mysqlclient is not everywhere, and programs start the sooner."""
    return importlib.import_module({"mysqlclient": "MySQLdb"}.get(driver, driver))


def connect(driver: str, address: str, **arguments: Any) -> Any:
    """A connection of ``driver``. The address is libpq's text, or MariaDB's port."""
    module = module_of(driver)
    if SERVERS[driver] == "postgres":
        return module.connect(address, **arguments)
    arguments = {"user": "root", "database": "mysql", **arguments}
    return module.connect(host="127.0.0.1", port=int(address), **arguments)


def readdressed(driver: str, address: str, port: int) -> str:
    """``address`` with another port."""
    return f"{address} port={port}" if SERVERS[driver] == "postgres" else str(port)


def make_pool(driver: str, address: str, **options: Any) -> Pool[Any]:
    """`forksafe_psycopg`'s pool, or `forksafe_dbapi`'s of the other drivers' connections."""
    if driver == "psycopg":
        from forksafe_psycopg import Pool as PsycopgPool

        return PsycopgPool(address, **options)
    return forksafe_dbapi.Pool(lambda: connect(driver, address), **options)


def run(conn: Any, statement: str) -> None:
    with closing(conn.cursor()) as cursor:
        cursor.execute(statement)


def ask(conn: Any, query: str) -> Any:
    """The first column of the first row."""
    with closing(conn.cursor()) as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]


def session_id(conn: Any) -> int:
    """The server's number of this session."""
    return int(ask(conn, _dialect(conn).session))


def new_session(pool: Pool[Any]) -> int:
    """The session that the pool lends to the next user."""
    with pool.connection() as conn:
        return session_id(conn)


def wait_for_the_end(conn: Any) -> None:
    """Wait until the server has closed ``conn``, which is idle."""
    assert select.select([find_descriptor(conn)], [], [], LIMIT)[0]


class Onlooker:
    """A session of the test's own: what the server says of the others."""

    def __init__(self, conn: Any) -> None:
        self._conn = conn
        self._dialect = _dialect(conn)
        # What the server says of the others would stay as it was for the length of a transaction.
        conn.autocommit(True) if callable(conn.autocommit) else setattr(conn, "autocommit", True)

    def lives(self, session: int) -> bool:
        return bool(ask(self._conn, self._dialect.living.format(session)))

    def kill(self, session: int) -> None:
        """Returns when it is gone."""
        assert self.lives(session)
        run(self._conn, self._dialect.kill.format(session))
        eventually(lambda: not self.lives(session))

    @contextmanager
    def holding_up(self, session: int) -> Iterator[Callable[[], None]]:
        """``wait_in_line`` of a thread that uses ``session`` lasts as long as this block.

        Gives a function that returns when it waits.
        """

        def wait_for_it() -> None:
            blocked = self._dialect.blocked.format(session)
            eventually(lambda: bool(ask(self._conn, blocked)))

        run(self._conn, self._dialect.hold)
        try:
            yield wait_for_it
        finally:
            run(self._conn, self._dialect.let_go)


def wait_in_line(conn: Any) -> None:
    """A query that the server answers when an `Onlooker` lets it."""
    run(conn, _dialect(conn).hold)
    run(conn, _dialect(conn).let_go)


class Work:
    """A session with a temporary table and a row in it that is not committed, and an idle one."""

    def __init__(self, pool: Pool[Any]) -> None:
        self.conn = pool.acquire()
        self.session = session_id(self.conn)
        self.sessions = {self.session, new_session(pool)}
        assert len(self.sessions) == 2
        run(self.conn, "CREATE TEMPORARY TABLE mine (n INTEGER)")
        self.conn.commit()
        run(self.conn, "INSERT INTO mine VALUES (1)")

    def go_on(self) -> None:
        """Raises AssertionError, or the driver's error, where anybody disturbed it."""
        assert session_id(self.conn) == self.session
        assert ask(self.conn, "SELECT count(*) FROM mine") == 1

    def finish(self, pool: Pool[Any]) -> None:
        self.go_on()
        run(self.conn, "INSERT INTO mine VALUES (2)")
        self.conn.commit()
        assert ask(self.conn, "SELECT count(*) FROM mine") == 2
        assert {self.session, new_session(pool)} == self.sessions
        pool.release(self.conn)
        stats = pool.stats()
        assert (stats.in_use, stats.available, stats.foreign_releases) == (0, 2, 0)
