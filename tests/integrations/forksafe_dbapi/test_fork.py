"""A pool that was used before the fork: real forks, real drivers, real servers."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool.conformance.children import Fork
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.forks import in_child, open_sockets
from tests.support.sql import new_session

# More than a socket's buffers hold.
MANY = "SELECT seq, repeat('x', 1000) FROM seq_1_to_20000"


def drop_the_cursor(pool: Pool[Any], conn: Any, cursors: list[Any]) -> None:
    """The driver reads, to throw them away, what rows it can get."""
    pool.stats()  # after a C-level fork the first use severs
    sys.unraisablehook = lambda args: None  # PyMySQL's finalizer says that it got none
    cursors.clear()
    gc.collect()


def release(pool: Pool[Any], conn: Any, cursors: list[Any]) -> None:
    pool.release(conn)


@pytest.mark.parametrize("database", ["pymysql", "mysqlclient"], indirect=True)
@pytest.mark.parametrize("action", [drop_the_cursor, release], ids=lambda action: action.__name__)
def test_rows_on_their_way_are_the_parent_s(
    database: Database,
    inherited: Pool[Any],
    fork: Fork,
    action: Callable[[Pool[Any], Any, list[Any]], None],
) -> None:
    before = open_sockets()
    with inherited.connection() as conn:
        ours = open_sockets() - before
        cursors = [conn.cursor(database.cursors().SSCursor)]
        cursors[0].execute(MANY)
        received = [cursors[0].fetchone()[0] for _ in range(10)]

        def child() -> set[str]:
            action(inherited, conn, cursors)
            new_session(inherited)
            return open_sockets() & ours

        assert in_child(child, fork) == set()
        received += [row[0] for row in cursors[0].fetchall()]
        cursors[0].close()
    assert received == list(range(1, 20001))
