"""A server that takes no writes any more, as a primary that was demoted: one error, no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import psycopg2.errors
import pymysql
import pytest
from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session

from forksafe_sqlalchemy import QueuePool
from forksafe_sqlalchemy._server import is_read_only
from tests.integrations.forksafe_sqlalchemy.work import session_id
from tests.support.mariadb import MariaDB

READ_ONLY = {
    "postgresql": "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
}


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = make(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS written (n INTEGER)"))
    yield engine
    engine.dispose()


def make(url: str, **options: Any) -> Engine:
    options = {"pool_size": 3, "max_overflow": 0, "pool_timeout": 5, **options}
    return create_engine(url, poolclass=QueuePool, **options)


def write(connection: Connection) -> None:
    connection.execute(text("INSERT INTO written VALUES (1)"))


def sessions(engine: Engine, use: Callable[[Connection], object]) -> set[int]:
    """Those of three connections at a time, each of which is used so."""
    with ExitStack() as stack:
        connections = [stack.enter_context(engine.begin()) for _ in range(3)]
        for connection in connections:
            use(connection)
        return {session_id(connection) for connection in connections}


def demote(connection: Connection) -> None:
    """The session is one of a server that takes no writes; a new one will not be."""
    connection.execute(text(READ_ONLY[connection.dialect.name]))


def test_every_session_of_the_old_primary_is_replaced(engine: Engine) -> None:
    old = sessions(engine, demote)
    with pytest.raises(exc.DBAPIError) as told, engine.begin() as connection:
        write(connection)
    assert told.value.connection_invalidated
    new = sessions(engine, write)
    assert len(new) == 3
    assert not old & new


def test_what_was_in_use_is_replaced_when_it_comes_back(engine: Engine) -> None:
    old = sessions(engine, demote)
    with engine.connect() as held:
        assert session_id(held) in old
        with pytest.raises(exc.DBAPIError), engine.begin() as connection:
            write(connection)
        assert session_id(held) in old
    assert not old & sessions(engine, write)


def test_the_user_of_the_error_may_go_on(engine: Engine) -> None:
    old = sessions(engine, demote)
    with Session(engine) as session:
        with pytest.raises(exc.DBAPIError):
            session.execute(text("INSERT INTO written VALUES (1)"))
        session.rollback()
        write(session.connection())
        assert session_id(session.connection()) not in old
        session.commit()


def test_a_server_that_is_told_to_take_no_writes(mariadb: MariaDB) -> None:
    """Error 1290, which concerns every session. An administrator's may write all the same."""
    with ExitStack() as stack:
        admin = create_engine(mariadb.url("pymysql"), isolation_level="AUTOCOMMIT")
        stack.callback(admin.dispose)
        connection = stack.enter_context(admin.connect())
        connection.execute(text("CREATE USER IF NOT EXISTS app"))
        connection.execute(text("GRANT CREATE, INSERT ON mysql.* TO app"))
        engine = make(mariadb.url("pymysql").replace("//root@", "//app@"))
        stack.callback(engine.dispose)
        with engine.begin() as first:
            first.execute(text("CREATE TABLE IF NOT EXISTS written (n INTEGER)"))
        old = sessions(engine, write)
        connection.execute(text("SET GLOBAL read_only = 1"))
        stack.callback(connection.execute, text("SET GLOBAL read_only = 0"))
        with pytest.raises(exc.DBAPIError) as told, engine.begin() as writer:
            write(writer)
        assert "1290" in str(told.value)
        assert not old & sessions(engine, session_id)


def test_any_other_error_costs_nothing(engine: Engine) -> None:
    old = sessions(engine, session_id)
    with pytest.raises(exc.DBAPIError) as told, engine.begin() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (1)"))
    assert not told.value.connection_invalidated
    assert sessions(engine, session_id) == old


def test_a_listener_may_spare_the_others(engine: Engine) -> None:
    @event.listens_for(engine, "handle_error")
    def spare(context: ExceptionContext) -> None:
        context.invalidate_pool_on_disconnect = False

    old = sessions(engine, demote)
    with pytest.raises(exc.DBAPIError), engine.begin() as connection:
        write(connection)
    assert len(sessions(engine, session_id) & old) == 2


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (pymysql.err.OperationalError(1290, "running with the --read-only option so"), True),
        (pymysql.err.OperationalError(1290, "running with the --super_read_only option so"), True),
        (pymysql.err.OperationalError(1290, "running with the --secure-file-priv option"), False),
        (pymysql.err.InternalError(1792, "Cannot execute statement in a READ ONLY tr."), True),
        (pymysql.err.OperationalError(1836, "Running in read-only mode"), True),
        (pymysql.err.OperationalError(2006, "MySQL server has gone away"), False),
        (pymysql.err.OperationalError(), False),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg2.errors.ReadOnlySqlTransaction(), False),  # not a server's: it has no code
        (OSError(1290, "?"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_says_that_a_server_takes_no_writes(error: BaseException, expected: bool) -> None:
    assert is_read_only(error) is expected
