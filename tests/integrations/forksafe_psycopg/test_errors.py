"""What the pool raises is psycopg's own error, too, as with psycopg_pool."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import forksafe_pool
import forksafe_psycopg
from forksafe_psycopg import Pool
from tests.forksafe_pool.threads import wait_in_line


def time_out(dsn: str) -> None:
    with Pool(dsn, max_size=1, timeout=0) as pool, pool.connection():
        pool.acquire()


def time_out_in_a_block(dsn: str) -> None:
    with Pool(dsn, max_size=1) as pool, pool.connection(), pool.connection(timeout=0):
        pass


def use_a_closed_one(dsn: str) -> None:
    pool = Pool(dsn)
    pool.close()
    with pool.connection():
        pass


def fill_a_closed_one(dsn: str) -> None:
    pool = Pool(dsn, min_size=1)
    pool.close()
    pool.fill()


def wait_while_it_is_closed(dsn: str) -> None:
    with Pool(dsn, max_size=1) as pool, pool.connection():
        waiting = wait_in_line(pool, pool.acquire)
        pool.close(timeout=0)
        waiting.result()


def wait_behind_others(dsn: str) -> None:
    with Pool(dsn, max_size=1, max_waiting=0) as pool, pool.connection():
        pool.acquire()


def connect_to_something_else(dsn: str) -> None:
    class Mine(psycopg.Connection[Any]):
        @classmethod
        def connect(cls, *args: Any, **kwargs: Any) -> Any:
            return object()

    Pool(dsn, connection_class=Mine).acquire()


@pytest.mark.parametrize(
    ("provoke", "name"),
    [
        (time_out, "PoolTimeout"),
        (time_out_in_a_block, "PoolTimeout"),
        (use_a_closed_one, "PoolClosed"),
        (fill_a_closed_one, "PoolClosed"),
        (wait_while_it_is_closed, "PoolClosed"),
        (wait_behind_others, "TooManyWaiting"),
        (connect_to_something_else, "PoolError"),
    ],
)
def test_the_pool_s_errors_are_psycopg_s_too(
    dsn: str, provoke: Callable[[str], None], name: str
) -> None:
    with pytest.raises(psycopg.OperationalError) as caught:
        provoke(dsn)
    error = caught.value
    assert type(error) is getattr(forksafe_psycopg, name)
    assert isinstance(error, getattr(forksafe_pool, name))
    assert isinstance(error, forksafe_psycopg.PoolError)
    assert error.diag.severity is None  # what handlers of psycopg's errors look at
    assert error.sqlstate is None
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - as multiprocessing hands it on
    assert (type(copy), str(copy)) == (type(error), str(error))


def test_a_timeout_is_a_timeout_error(dsn: str) -> None:
    with pytest.raises(TimeoutError):
        time_out(dsn)


def test_every_error_of_the_pool_is_exported() -> None:
    """One that the core gains later must not be forgotten here."""
    ours = {name for name, value in vars(forksafe_pool).items() if _is_error(value)}
    assert ours <= set(forksafe_psycopg.__all__)
    for name in ours:
        assert issubclass(getattr(forksafe_psycopg, name), psycopg.OperationalError)


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, forksafe_pool.PoolError)
