"""The pool's errors as SQLAlchemy's, so that ``except SQLAlchemyError`` catches them."""

from __future__ import annotations

from sqlalchemy import exc

import forksafe_pool


class PoolError(exc.InvalidRequestError, forksafe_pool.PoolError):
    """Any other of the pool's errors."""


class PoolTimeout(exc.TimeoutError, forksafe_pool.PoolTimeout):
    """No connection became available in time."""


class PoolClosed(exc.ResourceClosedError, forksafe_pool.PoolClosed):
    """The pool was closed, before or while the caller waited."""


class TooManyWaiting(exc.TimeoutError, forksafe_pool.TooManyWaiting):
    """``max_waiting`` callers are waiting already."""


_OURS: dict[type[forksafe_pool.PoolError], type[forksafe_pool.PoolError]] = {
    forksafe_pool.PoolClosed: PoolClosed,
    forksafe_pool.TooManyWaiting: TooManyWaiting,
}


def translate(error: forksafe_pool.PoolError) -> forksafe_pool.PoolError:
    """Any but a timeout, whose message is SQLAlchemy's own."""
    return _OURS.get(type(error), PoolError)(*error.args)
