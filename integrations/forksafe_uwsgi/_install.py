"""Join our hooks to those that are there already, and what the hooks do."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import forksafe_pool

Hook = Callable[[], object]

logger = logging.getLogger("forksafe_uwsgi")

# Seconds for all pools together: what forksafe_gunicorn takes as well.
_CLOSE_WITHIN = 1.0


def install() -> None:
    """Fill the pools of each worker when it starts, and close them when it ends.

    Hooks that are set already, ``uwsgi.post_fork_hook`` and ``uwsgi.atexit``, stay: ours run
    before them when a worker starts, and after them when it ends, even where they raise.

    A server that cannot be reached is a warning: the pool connects later, when it is used. How
    long an attempt may take is up to the pool's ``connect``. The end is ``pool.close(timeout)``:
    who acquires from a `forksafe_pool.Pool` afterwards, in an ``atexit`` handler for example, gets
    `PoolClosed`.

    Installing twice is the same as once. Where uWSGI does not run, a line at debug level says so.
    """
    uwsgi = _find_uwsgi()
    if uwsgi is None:
        logger.debug("this is not uWSGI: no hook to install")
        return
    uwsgi.post_fork_hook = _join(_post_fork, getattr(uwsgi, "post_fork_hook", None))
    uwsgi.atexit = _join(_atexit, getattr(uwsgi, "atexit", None))
    _post_fork()  # does nothing before the fork


def _post_fork() -> None:
    """In a worker, a mule or a spooler, right after the fork."""
    with _guard("post_fork_hook"):
        forksafe_pool.pools()  # each severs, at the latest now, what came through the fork
        uwsgi = _find_uwsgi()
        # Zero in a mule, in a spooler, and in whoever imports the application before the fork.
        if uwsgi is not None and uwsgi.worker_id() > 0:
            forksafe_pool.fill_pools(logger.warning)


def _atexit() -> None:
    """In a worker or a mule, at its end; uWSGI does not call it in the master."""
    with _guard("atexit"):
        forksafe_pool.close_pools(_CLOSE_WITHIN, logger.warning)


_FIRST: tuple[Hook, ...] = (_post_fork,)


def _find_uwsgi() -> Any:
    """The module that exists inside uWSGI alone; None elsewhere."""
    try:
        import uwsgi
    except ImportError:
        return None
    # A folder of that name, with uWSGI's configuration in it, can be imported as well.
    return uwsgi if hasattr(uwsgi, "worker_id") else None


def _join(ours: Hook, theirs: Hook | None) -> Hook:
    if theirs is None:
        return ours
    if inspect.unwrap(theirs) is ours:
        return theirs

    @functools.wraps(ours)  # marks the hook as joined
    def hook() -> None:
        if ours in _FIRST:
            ours()
            theirs()
        else:
            try:
                theirs()
            finally:
                ours()

    return hook


@contextlib.contextmanager
def _guard(hook: str) -> Iterator[None]:
    """Whatever goes wrong inside is logged and goes no further."""
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):
            logger.exception("the hook %s failed, the server goes on", hook)
