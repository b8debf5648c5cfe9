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
    """A caller that does not wait was refused, since several connects have just failed.

    ``__cause__`` is the last of their errors. It is tried again half a second later at most.
    """


class PoolClosed(PoolError):
    """The pool was closed, before or while the caller waited."""


class TooManyWaiting(PoolError):
    """``max_waiting`` callers are waiting already."""
