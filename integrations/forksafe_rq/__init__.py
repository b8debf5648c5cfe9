"""RQ's worker for `forksafe_pool`: each job's process closes its pools when the job is done.

By its own name, instead of ``rq.Worker``::

    rq worker -w forksafe_rq.Worker

or combined with another of RQ's forking workers::

    class Worker(forksafe_rq.Worker, rq.worker.HerokuWorker): ...

RQ forks a process for every job, the work horse, which exits by ``os._exit``, without ``atexit``.
Its pools are not filled: a job may not need all the connections.

Pools are fork-safe with ``rq.Worker`` too.
"""

from forksafe_rq._worker import Worker

__all__ = ["Worker"]
