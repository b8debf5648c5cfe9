"""The receivers of Celery's signals, and how they are connected."""

from __future__ import annotations

import logging

from celery import signals

from forksafe_pool import workers

logger = logging.getLogger("forksafe_celery")


def install() -> None:
    """Fill the pools of each child when it starts, and close them when it stops.

    If a server cannot be reached, a warning is logged and the pool connects on first use. Only the
    pool's ``connect`` limits an attempt. Celery kills a child that has not started within
    ``worker_proc_alive_timeout``, 4 seconds, so give ``connect`` a shorter time limit.

    When a child stops, ``pool.close(timeout)`` is called: acquire on a `forksafe_pool.Pool` raises
    `PoolClosed` afterwards, for example in a receiver of ``worker_process_shutdown`` that was
    connected later.

    Installing twice has no effect.
    """
    for signal, receiver in (
        (signals.worker_process_init, _worker_process_init),
        (signals.worker_process_shutdown, _worker_process_shutdown),
    ):
        signal.connect(receiver, dispatch_uid=f"forksafe_celery.{receiver.__name__}")


def _worker_process_init(**_: object) -> None:
    failure = "the receiver of worker_process_init failed, the worker goes on"
    workers.worker_started(logger, failure)


def _worker_process_shutdown(**_: object) -> None:
    failure = "the receiver of worker_process_shutdown failed, the worker goes on"
    workers.worker_stopping(logger, failure)
