"""The worker whose work horses close their pools."""

from __future__ import annotations

import logging
from typing import Any

import rq

from forksafe_pool import workers

logger = logging.getLogger("forksafe_rq")


class Worker(rq.Worker):
    """An ``rq.Worker`` whose work horses close their pools when their job is done.

    By then RQ has stored the job's result and called its callbacks. If a thread of the job still
    uses a connection, the close waits for it, at most one second for all pools together.
    """

    # RQ 3 passes one more parameter than RQ 2.
    def perform_job(self, *args: Any, **kwargs: Any) -> bool:
        """Do the job, then close the pools; called in the work horse."""
        try:
            return super().perform_job(*args, **kwargs)
        finally:
            # A worker that runs jobs in its own process keeps its pools open.
            if self.is_horse:
                workers.worker_stopping(logger)
