"""A pool of psycopg 3's connections that survives ``fork()``.

::

    from forksafe_psycopg import Pool

    pool = Pool("dbname=shop", max_size=5)  # at import: workers find it safe to use

    with pool.connection() as conn:  # commits at the end, or rolls back
        conn.execute("UPDATE …")

What the pool raises is psycopg's own error, too: ``except psycopg.OperationalError`` catches all.
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
