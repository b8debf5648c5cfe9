"""However a child ends, its parent's sessions go on, and it says nothing: real exits."""

from __future__ import annotations

import pytest

from tests.forks.ends import ENDS, FORKS
from tests.integrations.forksafe_dbapi.conftest import Database
from tests.support.sql_forks import run_to_an_end


@pytest.mark.parametrize("database", ["psycopg2", "pymysql", "mysqlclient"], indirect=True)
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fork", FORKS)
def test_the_parent_goes_on(database: Database, fork: str, end: str) -> None:
    run_to_an_end(database.driver, database.address, fork, end)
