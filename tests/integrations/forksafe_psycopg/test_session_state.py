"""``reset="DISCARD ALL"``: the next user finds the session as it was made."""

from __future__ import annotations

from contextlib import closing, suppress
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from forksafe_pool import Pool as AnyPool
from forksafe_psycopg import Pool
from tests.support.sql import Onlooker, ask, connect, new_session, run, session_id

Connection = psycopg.Connection[Any]

DISCARD: dict[str, Any] = {"reset": "DISCARD ALL", "max_size": 1, "timeout": 0}


@pytest.mark.parametrize("autocommit", [False, True])
def test_what_a_session_has_is_gone(dsn: str, onlooker: Onlooker, autocommit: bool) -> None:
    with (
        Pool(dsn, kwargs={"autocommit": autocommit}, **DISCARD) as pool,
        closing(connect("psycopg", dsn, autocommit=True)) as other,
    ):
        with pool.connection() as conn:
            session = session_id(conn)
            for statement in (
                "SET search_path TO elsewhere",
                "SET application_name TO 'mine'",
                "CREATE TEMPORARY TABLE mine (n INTEGER)",
                "LISTEN news",
                "PREPARE mine AS SELECT 1",
                "SELECT pg_advisory_lock(7)",
            ):
                run(conn, statement)
        assert ask(other, "SELECT pg_try_advisory_lock(7)")
        with pool.connection() as conn:
            assert session_id(conn) == session
            assert conn.autocommit is autocommit
            assert ask(conn, "SHOW search_path") != "elsewhere"
            assert ask(conn, "SHOW application_name") == ""
            assert ask(conn, "SELECT to_regclass('pg_temp.mine')") is None
            assert ask(conn, "SELECT count(*) FROM pg_listening_channels()") == 0
            assert ask(conn, "SELECT count(*) FROM pg_prepared_statements") == 0


def test_a_block_that_raised_leaves_nothing_either(dsn: str) -> None:
    def fail(pool: AnyPool[Connection]) -> None:
        with pool.connection() as conn:
            run(conn, "SET search_path TO elsewhere")
            conn.commit()
            run(conn, "SELECT 1 / 0")

    with Pool(dsn, **DISCARD) as pool:
        session = new_session(pool)
        with pytest.raises(psycopg.errors.DivisionByZero):
            fail(pool)
        with pool.connection() as conn:
            assert ask(conn, "SHOW search_path") != "elsewhere"
            assert session_id(conn) == session


def test_psycopg_forgets_its_prepared_statements(dsn: str) -> None:
    """It would go on using names that the server has forgotten."""
    with Pool(dsn, kwargs={"prepare_threshold": 1}, **DISCARD) as pool:
        session = new_session(pool)
        for users in range(8):
            with pool.connection() as conn:
                for number in range(users):  # the first of them prepare nothing
                    assert conn.execute("SELECT %s::int", [number]).fetchone() == (number,)
        with pool.connection() as conn:
            assert conn.execute("SELECT %s::int", [1], prepare=True).fetchone() == (1,)
            assert session_id(conn) == session
        assert pool.stats().opened == 1


def test_a_commit_in_mid_block_does_not_matter(dsn: str) -> None:
    with Pool(dsn, kwargs={"prepare_threshold": 0}, **DISCARD) as pool:
        for _ in range(4):
            with pool.connection() as conn:
                conn.execute("SELECT %s::int", [1])
                conn.commit()
                conn.execute("SELECT %s::int", [1])
        assert pool.stats().opened == 1


def test_what_the_user_set_on_the_connection_is_set_back(dsn: str) -> None:
    with Pool(dsn, kwargs={"row_factory": dict_row, "prepare_threshold": 3}, **DISCARD) as pool:
        with pool.connection() as conn:
            conn.autocommit = True
            conn.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            conn.read_only = True
            conn.deferrable = True
            conn.row_factory = psycopg.rows.tuple_row
            conn.cursor_factory = psycopg.ClientCursor
            conn.prepare_threshold = None
            conn.prepared_max = 1
        with pool.connection() as again:
            assert again is conn
            assert (again.autocommit, again.isolation_level) == (False, None)
            assert (again.read_only, again.deferrable) == (None, None)
            assert (again.row_factory, again.cursor_factory) == (dict_row, psycopg.Cursor)
            assert (again.prepare_threshold, again.prepared_max) == (3, 100)


def test_the_statement_runs_whatever_the_user_made_of_the_cursors(dsn: str) -> None:
    with Pool(dsn, **DISCARD) as pool:
        for _ in range(2):
            with pool.connection() as conn:
                conn.row_factory = None  # type: ignore[assignment]
                conn.cursor_factory = None  # type: ignore[assignment]
        assert pool.stats().opened == 1


def test_a_connection_is_configured_again(dsn: str) -> None:
    """DISCARD ALL takes what `configure` has SET, too."""

    def configure(conn: Connection) -> None:
        conn.execute("SET search_path TO shop")
        conn.commit()
        conn.row_factory = dict_row

    with Pool(dsn, configure=configure, **DISCARD) as pool:
        for _ in range(3):
            with pool.connection() as conn:
                assert conn.execute("SHOW search_path").fetchone() == {"search_path": "shop"}
                conn.execute("SET search_path TO elsewhere")
        assert pool.stats().opened == 1


def test_several_statements(dsn: str) -> None:
    """In one text they are one transaction, as PostgreSQL has it."""
    with Pool(dsn, reset="RESET ALL; UNLISTEN *", max_size=1) as pool:
        with pool.connection() as conn:
            run(conn, "SET search_path TO elsewhere")
            run(conn, "LISTEN news")
            session = session_id(conn)
        with pool.connection() as conn:
            assert ask(conn, "SHOW search_path") != "elsewhere"
            assert ask(conn, "SELECT count(*) FROM pg_listening_channels()") == 0
            assert session_id(conn) == session


def test_a_statement_that_fails(dsn: str, caplog: pytest.LogCaptureFixture) -> None:
    with Pool(dsn, reset="DISCARD ALLES", name="shop", max_size=1, timeout=0) as pool:
        session = new_session(pool)
        assert pool.stats().total == 0
        assert "shop: reset failed, the connection is closed" in caplog.text
        assert new_session(pool) != session


@pytest.mark.parametrize("reset", ["", " ", b"DISCARD ALL", ["DISCARD ALL"], 5])
def test_what_is_no_statement(reset: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="reset must be a function or a statement"):
        Pool(reset=reset)


# -- a function -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "state"), [("RESET ALL", "INTRANS"), ("SELECT 1 / 0", "INERROR")]
)
def test_a_reset_that_leaves_its_work_uncommitted_is_told(
    dsn: str, caplog: pytest.LogCaptureFixture, statement: str, state: str
) -> None:
    """It would be rolled back, and so have done nothing."""

    def reset(conn: Connection) -> None:
        with suppress(psycopg.errors.DivisionByZero):
            conn.execute(statement)

    with Pool(dsn, reset=reset, name="shop", max_size=1, timeout=0) as pool:
        session = new_session(pool)
        assert pool.stats().total == 0
        assert f"reset of shop left the connection in the state {state}" in caplog.text
        assert 'reset="DISCARD ALL"' in caplog.text
        assert new_session(pool) != session


def test_a_reset_that_commits(dsn: str) -> None:
    def reset(conn: Connection) -> None:
        conn.execute("RESET ALL")
        conn.commit()

    with Pool(dsn, reset=reset, max_size=1) as pool:
        with pool.connection() as conn:
            run(conn, "SET search_path TO elsewhere")
            session = session_id(conn)
        with pool.connection() as conn:
            assert ask(conn, "SHOW search_path") != "elsewhere"
            assert session_id(conn) == session
