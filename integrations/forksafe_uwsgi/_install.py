"""The hooks, and how they are combined with existing ones."""

from __future__ import annotations

import logging
from typing import Any

from forksafe_pool import workers

logger = logging.getLogger("forksafe_uwsgi")


def install() -> None:
    """Fill the pools of each worker when it starts, and close them when it stops.

    Existing hooks, ``uwsgi.post_fork_hook`` and ``uwsgi.atexit``, are kept: ours run before them
    when a worker starts, and after them when it stops, even if they raise.

    If a server cannot be reached, a warning is logged and the pool connects on first use. Only the
    pool's ``connect`` limits an attempt: it should have a time limit. When a worker stops,
    ``pool.close(timeout)`` is called: acquire on a `forksafe_pool.Pool` raises `PoolClosed`
    afterwards, for example in an ``atexit`` handler.

    Installing twice has no effect. Outside uWSGI, a line is logged at debug level.
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
    # Zero in a mule, in a spooler, and in a process that imports the application before the fork.
    fill = uwsgi is not None and uwsgi.worker_id() > 0
    failure = "the hook post_fork_hook failed, the server goes on"
    workers.worker_started(logger, failure, fill=fill)


def _atexit() -> None:
    """In a worker or a mule, when it stops; uWSGI does not call it in the master."""
    workers.worker_stopping(logger, "the hook atexit failed, the server goes on")


def _find_uwsgi() -> Any:
    """The module that exists only inside uWSGI; None elsewhere."""
    try:
        import uwsgi
    except ImportError:
        return None
    # A directory of that name, with uWSGI's configuration in it, can be imported too.
    return uwsgi if hasattr(uwsgi, "worker_id") else None
