"""The pool's errors: subclasses of psycopg's ``OperationalError``, as in psycopg_pool."""

from __future__ import annotations

from psycopg import OperationalError

import forksafe_pool


# psycopg's comes first: its attributes (`diag`, `sqlstate`) are set by its own ``__init__``.
class PoolError(OperationalError, forksafe_pool.PoolError):
    """Base class of the pool's errors."""


class PoolTimeout(PoolError, forksafe_pool.PoolTimeout):
    """No connection became available in time."""


class PoolBackOff(PoolTimeout, forksafe_pool.PoolBackOff):
    """Both a `forksafe_pool.PoolBackOff` and psycopg's ``OperationalError``."""


class PoolClosed(PoolError, forksafe_pool.PoolClosed):
    """The pool was closed, before or while the caller waited."""


class TooManyWaiting(PoolError, forksafe_pool.TooManyWaiting):
    """``max_waiting`` callers are already waiting."""


ERROR_CLASSES: dict[type[forksafe_pool.PoolError], type[forksafe_pool.PoolError]] = {
    forksafe_pool.PoolError: PoolError,
    forksafe_pool.PoolTimeout: PoolTimeout,
    forksafe_pool.PoolBackOff: PoolBackOff,
    forksafe_pool.PoolClosed: PoolClosed,
    forksafe_pool.TooManyWaiting: TooManyWaiting,
}
