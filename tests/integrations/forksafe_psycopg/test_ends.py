"""However a child ends, its parent's sessions go on, and it says nothing: real exits."""

from __future__ import annotations

import pytest

from tests.forks.ends import ENDS, FORKS
from tests.support.postgres import Postgres
from tests.support.programs import run_program
from tests.support.sql_forks import run_to_an_end


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("fork", FORKS)
def test_the_parent_goes_on(postgres: Postgres, fork: str, end: str) -> None:
    run_to_an_end("psycopg", postgres.dsn, fork, end)


@pytest.mark.parametrize("end", ["sys.exit", "used", "dropped"])
@pytest.mark.parametrize("fork", FORKS)
def test_the_parent_goes_on_over_tls(postgres_tls: Postgres, fork: str, end: str) -> None:
    run_to_an_end("psycopg", postgres_tls.dsn, fork, end)


FORGETS_ITS_POOL = r"""
import sys, warnings
from forksafe_psycopg import Pool

warnings.simplefilter("error")
pool = Pool(sys.argv[1])
held, idle = pool.acquire(), pool.acquire()
pool.release(idle)
"""


def test_a_program_that_ends_without_closing_its_pool_is_not_told_off(postgres: Postgres) -> None:
    assert run_program(FORGETS_ITS_POOL, postgres.dsn) == ""
