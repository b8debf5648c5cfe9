"""A pool that its program forgets to close."""

from __future__ import annotations

from tests.support.postgres import Postgres
from tests.support.programs import run_program

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
