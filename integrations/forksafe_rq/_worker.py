"""The worker whose work horses close their pools."""

from __future__ import annotations

import logging
from typing import Any

import rq

from forksafe_pool import workers

logger = logging.getLogger("forksafe_rq")


class Worker(rq.Worker):
    """``rq.Worker``, whose work horses close their pools when their job is done.

    RQ has stored the job's result and called its callbacks by then. A connection that a thread of
    the job still has in use is waited for, a second for all pools together.
    """

    # RQ 3 passes a parameter more than RQ 2.
    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Do the job, then close the pools; called in the work horse."""
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            # A worker that does its jobs itself goes on with its pools.
            if self.is_horse:
                workers.worker_stopping(logger)
