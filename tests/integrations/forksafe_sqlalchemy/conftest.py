from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine

from forksafe_sqlalchemy import QueuePool
from tests.support.forks import c_fork, os_fork

SERVERS = {
    "psycopg": "postgres",
    "psycopg2": "postgres",
    "pymysql": "mariadb",
    "mysqldb": "mariadb",
}


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    function: Callable[[], int] = request.param
    return function


@pytest.fixture(params=list(SERVERS))
def url(request: pytest.FixtureRequest) -> str:
    """Of a real server, once for each driver."""
    driver: str = request.param
    if driver == "mysqldb":
        pytest.importorskip("MySQLdb", reason="no mysqlclient here: it is built from source")
    address: str = request.getfixturevalue(SERVERS[driver]).url(driver)
    return address


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    engine = create_engine(url, poolclass=QueuePool, pool_size=2, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'database'}",
        poolclass=QueuePool,
        pool_size=2,
        max_overflow=1,
        pool_timeout=0,
        connect_args={"check_same_thread": False},
    )
    yield engine
    engine.dispose()
