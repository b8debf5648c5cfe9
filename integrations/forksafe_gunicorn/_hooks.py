"""The hooks. An exception in a hook kills gunicorn's master, so none of these raises.

gunicorn's source shows which process runs a hook, and when: ``Arbiter.spawn_worker``,
``reap_workers`` and ``kill_worker`` in ``gunicorn/arbiter.py``, and ``Worker.init_process`` in
``gunicorn/workers/base.py``.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from typing import Any, Protocol

import forksafe_pool
from forksafe_pool import workers

logger = logging.getLogger("forksafe_gunicorn")

_FAILURE = "the hook {} failed, the server goes on"


class Worker(Protocol):
    """The attributes of gunicorn's worker that the hooks use."""

    pid: Any
    cfg: Any
    log: Any


def post_fork(server: object, worker: Worker) -> None:
    """In the worker, right after the fork: every pool of the master starts empty.

    The at-fork hook of `forksafe_pool` has already done this if it runs; otherwise each pool would
    do it when it is first used.
    """
    workers.worker_started(_Log(worker), _FAILURE.format("post_fork"), fill=False)


def post_worker_init(worker: Worker) -> None:
    """In the worker, when its application is loaded: fill the pools up to their ``min_size``.

    If a server cannot be reached, a warning is written to gunicorn's log and the pool connects on
    first use. Only the pool's ``connect`` limits an attempt: it should have a time limit.

    Another warning is logged, once per worker and pool, if a pool's timeout is not shorter than
    gunicorn's ``timeout``: a sync worker is killed before the pool's own error is raised. There is
    no warning for a pool that never waits, nor for a ``timeout`` of 0, which disables gunicorn's.
    """
    log = _Log(worker)
    with workers.guard(log, _FAILURE.format("post_worker_init")):
        for pool in forksafe_pool.pools():
            _compare_timeouts(worker.cfg.timeout, pool, log)
        forksafe_pool.fill_pools(log.warning)


def worker_exit(server: object, worker: Worker) -> None:
    """In the worker, when it stops: close its pools, within one second for all together.

    Closes idle connections, then waits for those in use until the second is over. Calls
    ``pool.close(timeout)``: acquire on a `forksafe_pool.Pool` raises `PoolClosed` afterwards, for
    example in an ``atexit`` handler.

    gunicorn also calls this in the arbiter for a worker that has died; then it does nothing,
    because the arbiter's pools are not the worker's.
    """
    if getattr(worker, "pid", None) == os.getpid():
        workers.worker_stopping(_Log(worker), _FAILURE.format("worker_exit"))


def child_exit(server: object, worker: Worker) -> None:
    """In the arbiter, when a worker has exited, killed or not: log a line at debug level.

    There is nothing to clean up. Processes share no connections and no statistics, and the kernel
    has closed the worker's connections; the arbiter's own pools are not affected.
    """
    log = _Log(worker)
    with workers.guard(log, _FAILURE.format("child_exit")):
        log.debug("worker %s has ended, and its connections with it", worker.pid)


def _compare_timeouts(limit: float, pool: forksafe_pool.Pool[Any], log: workers.Log) -> None:
    if limit and (pool.timeout is None or pool.timeout >= limit):
        wait = "for ever" if pool.timeout is None else f"for {pool.timeout:g} s"
        log.warning(
            "a request may wait %s for a connection from %s, and gunicorn's timeout is %s s: "
            "a sync worker is killed before PoolTimeout can say why; set a shorter timeout",
            wait,
            pool.name,
            limit,
        )


class _Log:
    """gunicorn's log, or Python's logging if that fails."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def _write(self, level: str, message: str, *args: object, exc_info: Any = None) -> None:
        message = "forksafe_pool: " + message
        try:
            getattr(self._worker.log, level)(message, *args, exc_info=exc_info)
        except Exception:
            with contextlib.suppress(Exception):
                getattr(logger, level)(message, *args, exc_info=exc_info)

    debug = functools.partialmethod(_write, "debug")
    warning = functools.partialmethod(_write, "warning")
    error = functools.partialmethod(_write, "error")
