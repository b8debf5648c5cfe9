"""The beginning and the end of a worker, for what serves: gunicorn, uWSGI, Celery …

No pool needs either to be safe. Nothing that happens to a pool is raised here: servers die of a
hook that raises.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from forksafe_pool import _options
from forksafe_pool._clock import monotonic
from forksafe_pool._errors import PoolClosed
from forksafe_pool._pool import Pool
from forksafe_pool._registry import pools

logger = logging.getLogger("forksafe_pool")


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
    for pool in pools():
        try:
            pool.fill()
        except PoolClosed:
            pass  # closed on purpose, before the worker began
        except (SystemExit, KeyboardInterrupt):
            raise  # by a signal: the worker is to end
        except BaseException as error:  # gevent.Timeout is no Exception
            _say(
                warn,
                "%s could not be filled up to %s connections, and connects when it is used: %r",
                pool.name,
                pool.min_size,
                error,
            )


def close_pools(timeout: float = 1.0, warn: Callable[..., object] = logger.warning) -> None:
    """Close every pool of this process: for the end of a worker.

    What is idle is closed first; what is in use is waited for. It is ``pool.close()``: whoever
    acquires afterwards, in an ``atexit`` handler for example, gets `PoolClosed`.

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
    try:
        pool.close(timeout)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        _say(warn, "%s could not be closed: %r", pool.name, error)


def _say(warn: Callable[..., object], message: str, *args: object) -> None:
    with contextlib.suppress(Exception):
        warn(message, *args)
