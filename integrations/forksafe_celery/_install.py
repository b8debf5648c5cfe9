"""Connect to Celery's signals, and what the receivers do."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from celery import signals

import forksafe_pool

logger = logging.getLogger("forksafe_celery")

# Seconds for all pools together: what forksafe_gunicorn takes as well.
_CLOSE_WITHIN = 1.0


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
    with _guard("worker_process_init"):
        forksafe_pool.fill_pools(logger.warning)


def _worker_process_shutdown(**_: object) -> None:
    with _guard("worker_process_shutdown"):
        forksafe_pool.close_pools(_CLOSE_WITHIN, logger.warning)


@contextlib.contextmanager
def _guard(signal: str) -> Iterator[None]:
    """Whatever goes wrong inside is logged and goes no further."""
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):
            logger.exception("the receiver of %s failed, the worker goes on", signal)
