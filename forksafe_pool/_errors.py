"""What the pool raises. A driver's own errors pass through untouched."""

from __future__ import annotations


class PoolError(Exception):
    """Base of every error that the pool itself raises."""


class PoolTimeout(PoolError, TimeoutError):
    """No connection became available in time.

    The message carries the pool's numbers; ``__cause__`` is the last error of ``connect``,
    if the pool has not connected since.
    """


class PoolBackOff(PoolTimeout):
    """Several connects have just failed, so a caller that does not wait (``timeout=0``) is refused.

    ``__cause__`` is the last of their errors. Half a second later, at most, a caller may connect
    again.
    """


class PoolClosed(PoolError):
    """The pool was closed, before or while the caller waited."""


class TooManyWaiting(PoolError):
    """``max_waiting`` callers are already waiting."""
