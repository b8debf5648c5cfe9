"""A pool of psycopg 3 connections that survives ``fork()``.

::

    from forksafe_psycopg import Pool

    pool = Pool("dbname=shop", max_size=5)  # at import: workers find it safe to use

    with pool.connection() as conn:  # commits at the end, or rolls back
        conn.execute("UPDATE …")

The pool's errors are subclasses of ``psycopg.OperationalError``.
"""

from forksafe_psycopg._errors import (
    PoolBackOff,
    PoolClosed,
    PoolError,
    PoolTimeout,
    TooManyWaiting,
)
from forksafe_psycopg._pool import Pool

__all__ = ["Pool", "PoolBackOff", "PoolClosed", "PoolError", "PoolTimeout", "TooManyWaiting"]
