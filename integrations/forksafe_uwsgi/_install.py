"""Join our hooks to those that are there already, and what the hooks do."""

from __future__ import annotations

import logging
from typing import Any

from forksafe_pool import workers

logger = logging.getLogger("forksafe_uwsgi")


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
    theirs = getattr(uwsgi, "post_fork_hook", None)
    uwsgi.post_fork_hook = workers.join_hooks(_post_fork, theirs)
    uwsgi.atexit = workers.join_hooks(_atexit, getattr(uwsgi, "atexit", None), ours_last=True)
    _post_fork()  # does nothing before the fork


def _post_fork() -> None:
    """In a worker, a mule or a spooler, right after the fork."""
    uwsgi = _find_uwsgi()
    # Zero in a mule, in a spooler, and in whoever imports the application before the fork.
    fill = uwsgi is not None and uwsgi.worker_id() > 0
    failure = "the hook post_fork_hook failed, the server goes on"
    workers.worker_started(logger, failure, fill=fill)


def _atexit() -> None:
    """In a worker or a mule, at its end; uWSGI does not call it in the master."""
    workers.worker_stopping(logger, "the hook atexit failed, the server goes on")


def _find_uwsgi() -> Any:
    """The module that exists inside uWSGI alone; None elsewhere."""
    try:
        import uwsgi
    except ImportError:
        return None
    # A folder of that name, with uWSGI's configuration in it, can be imported as well.
    return uwsgi if hasattr(uwsgi, "worker_id") else None
