"""A parent's work that a child may not disturb."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, text

from tests.support.forks import open_sockets


def session_id(connection: Connection) -> int:
    """The server's number of the session that ``connection`` is."""
    postgres = connection.dialect.name == "postgresql"
    query = "SELECT pg_backend_pid()" if postgres else "SELECT connection_id()"
    return int(connection.scalar(text(query)) or 0)


def new_session(engine: Engine) -> int:
    with engine.connect() as connection:
        return session_id(connection)


class Work:
    """A session with a temporary table and a row in it that is not committed, one that is idle,
    and what the two have open."""

    def __init__(self, engine: Engine) -> None:
        before = open_sockets()
        self.connection = engine.connect()
        self.sessions = {session_id(self.connection), new_session(engine)}
        self.sockets = open_sockets() - before
        assert len(self.sessions) == len(self.sockets) == 2
        self.session = session_id(self.connection)
        self.connection.execute(text("CREATE TEMPORARY TABLE mine (n INTEGER)"))
        self.connection.commit()
        self.connection.execute(text("INSERT INTO mine VALUES (1)"))

    def finish(self, engine: Engine) -> None:
        """Raises AssertionError where anybody disturbed it."""
        assert session_id(self.connection) == self.session
        assert self.connection.scalar(text("SELECT count(*) FROM mine")) == 1
        self.connection.commit()
        assert {self.session, new_session(engine)} == self.sessions
        self.connection.close()
