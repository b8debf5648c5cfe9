"""The hooks. gunicorn's master dies of a hook that raises, so none of these does.

Which process runs a hook, and when, is gunicorn's to say: ``gunicorn/arbiter.py``, where
``Arbiter.spawn_worker``, ``reap_workers`` and ``kill_worker`` call them, and
``Worker.init_process`` in ``gunicorn/workers/base.py``.
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
    """What the hooks use of gunicorn's worker."""

    pid: Any
    cfg: Any
    log: Any


def post_fork(server: object, worker: Worker) -> None:
    """In the worker, right after the fork: every pool of the master starts anew.

    The at-fork hook of `forksafe_pool` has done so already wherever it runs; elsewhere each pool
    would do so when it is first used.
    """
    workers.worker_started(_Log(worker), _FAILURE.format("post_fork"), fill=False)


def post_worker_init(worker: Worker) -> None:
    """In the worker, when its application is loaded: fill the pools up to their ``min_size``.

    A server that cannot be reached is a warning in gunicorn's log: the pool connects later, when
    it is used. How long an attempt may take is up to the pool's ``connect``.

    Another warning, once for each worker and pool, says where a request may wait for a connection
    for as long as gunicorn's ``timeout``, or longer: a sync worker is killed before the pool's own
    error can be seen. A pool that never waits is fine, and so is a ``timeout`` of 0, which is
    gunicorn's word for none.
    """
    log = _Log(worker)
    with workers.guard(log, _FAILURE.format("post_worker_init")):
        for pool in forksafe_pool.pools():
            _compare_timeouts(worker.cfg.timeout, pool, log)
        forksafe_pool.fill_pools(log.warning)


def worker_exit(server: object, worker: Worker) -> None:
    """In the worker, at its end: close its pools, within a second for all together.

    What is idle is closed first; what is in use is waited for as long as that second lasts. It is
    ``pool.close(timeout)``: whoever acquires from a `forksafe_pool.Pool` afterwards, in an
    ``atexit`` handler for example, gets `PoolClosed`.

    gunicorn calls this in the arbiter too, for a worker that has vanished: then nothing happens,
    since the arbiter's pools are not the worker's.
    """
    if getattr(worker, "pid", None) == os.getpid():
        workers.worker_stopping(_Log(worker), _FAILURE.format("worker_exit"))


def child_exit(server: object, worker: Worker) -> None:
    """In the arbiter, when a worker has ended, killed or not: a line at debug level.

    There is nothing to clean up. Processes share no connection and no count, and the kernel has
    closed those of the worker; the arbiter's own pools stay as they are.
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
    """gunicorn's log; Python's own where that is broken."""

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
