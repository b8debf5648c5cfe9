"""RQ's worker for `forksafe_pool`: each job's process closes its pools when the job is done.

Under its own name, in the slot of ``rq.Worker``::

    rq worker -w forksafe_rq.Worker

or, together with another of RQ's workers that fork::

    class Worker(forksafe_rq.Worker, rq.worker.HerokuWorker): ...

RQ forks a process for every job, the work horse, which ends by ``os._exit``, without ``atexit``.
Nothing is filled there: one job would pay for connections that it may not need.

No pool needs this to be safe: a fork is noticed with ``rq.Worker`` too.
"""

from forksafe_rq._worker import Worker

__all__ = ["Worker"]
