"""The pool's errors as SQLAlchemy's, so that ``except SQLAlchemyError`` catches them."""

from __future__ import annotations

from sqlalchemy import exc

import forksafe_pool


class PoolError(exc.InvalidRequestError, forksafe_pool.PoolError):
    """Any other error of the pool itself."""


class PoolTimeout(exc.TimeoutError, forksafe_pool.PoolTimeout):
    """No connection became available in time."""


class PoolClosed(exc.ResourceClosedError, forksafe_pool.PoolClosed):
    """The pool was closed, before or while the caller waited."""


class TooManyWaiting(exc.TimeoutError, forksafe_pool.TooManyWaiting):
    """``max_waiting`` callers are already waiting."""


ERROR_CLASSES: dict[type[forksafe_pool.PoolError], type[forksafe_pool.PoolError]] = {
    forksafe_pool.PoolError: PoolError,
    forksafe_pool.PoolTimeout: PoolTimeout,
    forksafe_pool.PoolClosed: PoolClosed,
    forksafe_pool.TooManyWaiting: TooManyWaiting,
}
