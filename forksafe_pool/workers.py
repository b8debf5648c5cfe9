"""What the hooks of a server do when a worker starts and when it stops.

The hooks of gunicorn, uWSGI, Celery and RQ in this project consist of these functions. For another
server, call `worker_started` and `worker_stopping` from its hooks. In a ``gunicorn.conf.py``, do
not import this module as ``workers``: gunicorn takes it for the setting of that name.

No pool needs them to be safe: a fork is detected without them. A hook that raises may kill the
server, so errors are logged instead. `SystemExit` and `KeyboardInterrupt` pass: signals end a
worker by these.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from forksafe_pool import _options
from forksafe_pool._clock import monotonic
from forksafe_pool._errors import PoolClosed
from forksafe_pool._pool import Pool, pools

logger = logging.getLogger("forksafe_pool")

Hook = Callable[..., object]

# Seconds for all pools together. Where a worker has timed out, gunicorn kills it about a second
# after it has asked it to end: Arbiter.murder_workers.
CLOSE_WITHIN = 1.0


class Log(Protocol):
    """The methods of `logging.Logger` that are used here."""

    def warning(self, message: str, /, *args: object) -> object: ...

    def error(self, message: str, /, *, exc_info: BaseException) -> object: ...


def worker_started(
    log: Log = logger,
    failure: str = "the pools could not be filled, the worker goes on",
    *,
    fill: bool = True,
) -> None:
    """Sever what was inherited, then call `fill_pools`. Never raises, see `guard`.

    Parameters:
        log, failure: as for `guard`.
        fill: False for a process that may never need its pools.
    """
    with guard(log, failure):
        pools()  # each severs, at the latest now, what came through the fork
        if fill:
            fill_pools(log.warning)


def worker_stopping(
    log: Log = logger,
    failure: str = "the pools could not be closed, the worker goes on",
    *,
    timeout: float = CLOSE_WITHIN,
) -> None:
    """`close_pools`. Never raises, see `guard`.

    Parameters:
        log, failure: as for `guard`.
        timeout: seconds to wait for connections in use, for all pools together.
    """
    with guard(log, failure):
        close_pools(timeout, log.warning)


def guard(log: Log, failure: str) -> contextlib.AbstractContextManager[None]:
    """Log an error of the block and go on after it, except `SystemExit` and `KeyboardInterrupt`.

    Parameters:
        log: a `logging.Logger`, or the server's own log.
        failure: the message, which is logged with the traceback.
    """
    return _swallow(lambda error: log.error(failure, exc_info=error))


@contextlib.contextmanager
def _swallow(report: Callable[[BaseException], object]) -> Iterator[None]:
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        raise  # by a signal: the worker is to end
    except BaseException as error:  # gevent.Timeout is not an Exception
        with contextlib.suppress(Exception):
            report(error)


def join_hooks(ours: Hook, theirs: Hook | None, *, ours_last: bool = False) -> Hook:
    """Combine our hook with the user's. An already combined hook is returned unchanged.

    Parameters:
        ours: a hook that does not raise. It runs even if the user's raises.
        theirs: the hook that the user has set, if any. Its exceptions propagate.
        ours_last: whether ours runs after theirs, as at the end of a worker, or before.
    """
    if theirs is None:
        return ours
    if inspect.unwrap(theirs) is ours:
        return theirs

    # wraps() shows the parameters of ours, which gunicorn counts, and marks the hook as joined.
    @functools.wraps(ours)
    def hook(*args: Any) -> None:
        if not ours_last:
            ours(*args)
        try:
            theirs(*args)
        finally:
            if ours_last:
                ours(*args)

    return hook


def fill_pools(warn: Callable[..., object] = logger.warning) -> None:
    """Fill every pool of this process up to its ``min_size``: for the start of a worker.

    A server that cannot be reached is a warning: the pool connects later, when it is used. How
    long an attempt may take is up to the pool's ``connect``.

    Parameters:
        warn: called as ``logging.Logger.warning`` is.

    Raises:
        TypeError: ``warn`` cannot be called so.
    """
    _options.function("warn", warn, "message", "pool", "min_size", "error")
    message = "%s could not be filled up to %s connections, and connects when it is used: %r"
    for pool in pools():
        warning = functools.partial(warn, message, pool.name, pool.min_size)
        # A pool may have been closed on purpose, before the worker began.
        with _swallow(warning), contextlib.suppress(PoolClosed):
            pool.fill()


def close_pools(
    timeout: float = CLOSE_WITHIN, warn: Callable[..., object] = logger.warning
) -> None:
    """Close every pool of this process: for the end of a worker.

    What is idle is closed first; what is in use is waited for. It is ``pool.close()``: whoever
    acquires afterwards, in an ``atexit`` handler for example, gets `PoolClosed`. redis-py's and
    SQLAlchemy's pools cannot be closed for good: they connect anew when they are used again.

    Parameters:
        timeout: seconds to wait for connections in use, for all pools together.
        warn: called as ``logging.Logger.warning`` is.

    Raises:
        TypeError, ValueError: an argument is wrong; the message names it.
    """
    timeout = _options.seconds("timeout", timeout)
    _options.function("warn", warn, "message", "pool", "error")
    found = pools()
    for pool in found:
        _close(pool, 0.0, warn)
    deadline = monotonic() + timeout
    for pool in found:
        _close(pool, max(0.0, deadline - monotonic()), warn)


def _close(pool: Pool[Any], timeout: float, warn: Callable[..., object]) -> None:
    with _swallow(functools.partial(warn, "%s could not be closed: %r", pool.name)):
        pool.close(timeout)
