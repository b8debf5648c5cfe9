"""Connect to Celery's signals, and what the receivers do."""

from __future__ import annotations

import logging

from celery import signals

from forksafe_pool import workers

logger = logging.getLogger("forksafe_celery")


def install() -> None:
    """Fill the pools of each child when it starts, and close them when it ends.

    A server that cannot be reached is a warning: the pool connects later, when it is used. How
    long an attempt may take is up to the pool's ``connect``; Celery kills a child that has not
    started within ``worker_proc_alive_timeout``, 4 seconds, so make it give up earlier.

    The end is ``pool.close(timeout)``: who acquires from a `forksafe_pool.Pool` afterwards, in a
    receiver of ``worker_process_shutdown`` that was connected later for example, gets `PoolClosed`.

    Installing twice is the same as once.
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
