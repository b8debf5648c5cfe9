"""The conformance suite with any database, through any driver: real servers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any, ClassVar

import pytest

from forksafe_pool.conformance import DriverConformance
from tests.support import sql
from tests.support.sql import SERVERS, Onlooker, ask, connect, readdressed, run, wait_for_the_end


class SqlConformance(DriverConformance):
    """What is left unfinished is a row of a temporary table, in an open transaction."""

    driver: ClassVar[str]
    #: The fixture of the server, where it is not the driver's usual one.
    server: ClassVar[str] = ""
    address: str

    @pytest.fixture(autouse=True)
    def connect_to(self, request: pytest.FixtureRequest) -> None:
        if self.driver == "mysqlclient":
            pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")
        server = request.getfixturevalue(self.server or SERVERS[self.driver])
        self.port = server.port
        self.address = server.dsn if SERVERS[self.driver] == "postgres" else str(server.port)
        self.connect_error = sql.module_of(self.driver).OperationalError

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        return sql.make_pool(self.driver, self.address_at(port), **options)

    def address_at(self, port: int | None) -> str:
        return self.address if port is None else readdressed(self.driver, self.address, port)

    def echo(self, conn: Any, text: str) -> str:
        return str(ask(conn, f"SELECT '{text}'"))

    def session_id(self, conn: Any) -> Any:
        return sql.session_id(conn)

    def begin(self, conn: Any) -> None:
        run(conn, "CREATE TEMPORARY TABLE IF NOT EXISTS unfinished (n INTEGER)")
        conn.commit()
        run(conn, "INSERT INTO unfinished VALUES (1)")

    def finish(self, conn: Any) -> bool:
        try:
            return bool(ask(conn, "SELECT count(*) FROM unfinished") == 1)
        except Exception as error:
            if "unfinished" in str(error):  # there is no such table
                return False
            raise
        finally:
            conn.rollback()

    def killer(self, conn: Any) -> Callable[[], object]:
        session = self.session_id(conn)
        driver_s = getattr(conn, "driver_connection", conn)

        def kill() -> None:
            with closing(connect(self.driver, self.address)) as admin:
                Onlooker(admin).kill(session)
            wait_for_the_end(driver_s)

        return kill

    def lives(self, session: Any) -> bool:
        with closing(connect(self.driver, self.address)) as admin:
            return Onlooker(admin).lives(session)
