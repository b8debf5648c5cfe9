"""A real RQ worker, and a queue to send it jobs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import redis
from rq import Queue
from rq.job import Job

from tests.support.family import LIMIT, Family
from tests.support.witness import Witness

# What a job does to be looked at: `RqWorker.wait_for_one` and `let_go` are the other side.
_BE_WATCHED = """
import os
import redis

def be_watched():
    with redis.Redis.from_url(os.environ["REDIS_URL"]) as admin:
        admin.rpush("watched:" + os.environ["CLIENT"], os.getpid())
        assert admin.blpop("go:" + os.environ["CLIENT"], timeout=30)
"""


class RqWorker(Family):
    """``with RqWorker(tmp_path, jobs, witness) as worker: worker.enqueue("jobs.report")``.

    The worker itself imports the jobs, before it forks.

    Parameters:
        folder: where everything is written; the worker's working directory.
        jobs: source of ``jobs.py``; ``be_watched()`` is there already.
        worker_class: the name of the worker's class.
    """

    def __init__(
        self, folder: Path, jobs: str, witness: Witness, worker_class: str = "rq.Worker"
    ) -> None:
        (folder / "jobs.py").write_text(_BE_WATCHED + jobs)
        self._witness = witness
        self._redis = redis.Redis.from_url(witness.url)
        self._queue = Queue(witness.name, connection=self._redis)
        super().__init__(
            folder,
            [
                *(sys.executable, "-m", "rq.cli", "worker", f"--url={witness.url}"),
                # The file of settings may be any module: here it is a way to import the jobs.
                *("--config=jobs", f"--worker-class={worker_class}", witness.name),
            ],
            env=witness.env,
        )

    def wait_ready(self) -> None:
        ready = "Listening on"
        self.wait_until(lambda: self._popen.poll() is not None or ready in self.log, "the worker")
        assert self._popen.poll() is None, self.log

    def ask_to_end(self) -> None:
        """Ask it to end in good order, once it waits for a job.

        RQ raises an exception in whatever the signal has interrupted. Just after a job that is
        often redis-py's recording of metrics, which swallows every exception: the worker goes on.
        Nothing does where it waits for the server's reply (RQ 3.0, redis-py 8.1).
        """
        self.wait_until(self._waits_for_a_job, "the worker to wait for a job")
        super().ask_to_end()

    def _waits_for_a_job(self) -> bool:
        if self._popen.poll() is not None:
            return True
        clients: Any = self._redis.client_list(_type="normal")
        blocked = {
            int(client["addr"].rpartition(":")[2]) for client in clients if "b" in client["flags"]
        }
        return not blocked.isdisjoint(self.connections(self._witness.port)[self.head])

    def enqueue(self, function: str) -> Job:
        return self._queue.enqueue(function)

    def result(self, job: Job) -> Any:
        """What the job has returned, "failed" if it has failed."""

        def ended() -> bool:
            return str(job.get_status(refresh=True)).rpartition(".")[2].lower() in {
                "finished",
                "failed",
            }

        self.wait_until(ended, f"the end of {job.func_name}")
        return "failed" if job.is_failed else job.return_value(refresh=True)

    def wait_for_one(self) -> int:
        """Wait for a job that wants to be watched; the pid of its work horse."""
        watched: Any = self._redis.blpop([f"watched:{self._witness.name}"], timeout=LIMIT)
        assert watched, self.log
        return int(watched[1])

    def let_go(self) -> None:
        """Let the job that is watched go on."""
        self._redis.rpush(f"go:{self._witness.name}", os.getpid())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            super().__exit__(kind, error, traceback)
        finally:
            self._redis.close()
