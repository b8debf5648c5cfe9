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
from collections.abc import Iterator
from typing import Any, Protocol

import forksafe_pool

logger = logging.getLogger("forksafe_gunicorn")

# Seconds for all pools together. Where a worker has timed out, gunicorn kills it about a second
# after it has asked it to end: Arbiter.murder_workers.
_CLOSE_WITHIN = 1.0


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
    with _guard(worker, "post_fork"):
        forksafe_pool.pools()


def post_worker_init(worker: Worker) -> None:
    """In the worker, when its application is loaded: fill the pools up to their ``min_size``.

    A server that cannot be reached is a warning in gunicorn's log: the pool connects later, when
    it is used. How long an attempt may take is up to the pool's ``connect``.

    Another warning, once for each worker and pool, says where a request may wait for a connection
    for as long as gunicorn's ``timeout``, or longer: a sync worker is killed before the pool's own
    error can be seen. A pool that never waits is fine, and so is a ``timeout`` of 0, which is
    gunicorn's word for none.
    """
    with _guard(worker, "post_worker_init"):
        for pool in forksafe_pool.pools():
            _compare_timeouts(worker, pool)
        forksafe_pool.fill_pools(functools.partial(_log, worker, "warning"))


def worker_exit(server: object, worker: Worker) -> None:
    """In the worker, at its end: close its pools, within a second for all together.

    What is idle is closed first; what is in use is waited for as long as that second lasts. It is
    ``pool.close(timeout)``: whoever acquires from a `forksafe_pool.Pool` afterwards, in an
    ``atexit`` handler for example, gets `PoolClosed`.

    gunicorn calls this in the arbiter too, for a worker that has vanished: then nothing happens,
    since the arbiter's pools are not the worker's.
    """
    with _guard(worker, "worker_exit"):
        if worker.pid == os.getpid():
            forksafe_pool.close_pools(_CLOSE_WITHIN, functools.partial(_log, worker, "warning"))


def child_exit(server: object, worker: Worker) -> None:
    """In the arbiter, when a worker has ended, killed or not: a line at debug level.

    There is nothing to clean up. Processes share no connection and no count, and the kernel has
    closed those of the worker; the arbiter's own pools stay as they are.
    """
    with _guard(worker, "child_exit"):
        _log(worker, "debug", "worker %s has ended, and its connections with it", worker.pid)


def _compare_timeouts(worker: Worker, pool: forksafe_pool.Pool[Any]) -> None:
    limit = worker.cfg.timeout
    if limit and (pool.timeout is None or pool.timeout >= limit):
        wait = "for ever" if pool.timeout is None else f"for {pool.timeout:g} s"
        _log(
            worker,
            "warning",
            "a request may wait %s for a connection from %s, and gunicorn's timeout is %s s: "
            "a sync worker is killed before PoolTimeout can say why; set a shorter timeout",
            wait,
            pool.name,
            limit,
        )


@contextlib.contextmanager
def _guard(worker: Worker, hook: str) -> Iterator[None]:
    """Whatever goes wrong inside is logged and goes no further."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt):
        raise  # gunicorn ends a worker so, wherever it is
    except BaseException:
        _log(worker, "error", "the hook %s failed, the server goes on", hook, exc_info=True)


def _log(worker: Worker, level: str, message: str, *args: object, exc_info: bool = False) -> None:
    """To gunicorn's log; to Python's own where that is broken."""
    message = "forksafe_pool: " + message
    try:
        getattr(worker.log, level)(message, *args, exc_info=exc_info)
    except Exception:
        with contextlib.suppress(Exception):
            getattr(logger, level)(message, *args, exc_info=exc_info)
