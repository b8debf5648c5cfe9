from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from forksafe_psycopg import Pool
from tests.support.forks import c_fork, os_fork
from tests.support.postgres import Postgres
from tests.support.sql import Onlooker, connect


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    function: Callable[[], int] = request.param
    return function


@pytest.fixture
def dsn(postgres: Postgres) -> str:
    return postgres.dsn


@pytest.fixture
def pool(dsn: str) -> Iterator[Pool]:
    """One place, so that the next user has the same connection, or another one in its place."""
    with closing(Pool(dsn, max_size=1, timeout=0, check_after=0)) as pool:
        yield pool


@pytest.fixture
def onlooker(dsn: str) -> Iterator[Onlooker]:
    with closing(connect("psycopg", dsn)) as conn:
        yield Onlooker(conn)


@pytest.fixture
def table(dsn: str) -> Iterator[str]:
    """An empty table with a column ``n``, whose values differ: checked when it is committed."""
    with closing(connect("psycopg", dsn, autocommit=True)) as conn:
        conn.execute("CREATE TABLE numbers (n INTEGER UNIQUE DEFERRABLE INITIALLY DEFERRED)")
        yield "numbers"
        conn.execute("DROP TABLE numbers")
