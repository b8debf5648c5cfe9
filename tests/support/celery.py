"""A real Celery worker, and a client that sends it tasks."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from celery import Celery

from tests.support.family import LIMIT, Family
from tests.support.witness import Witness

# Celery looks after its children every five seconds: a test need not wait that long.
_APP = """
import celery.concurrency.asynpool
from celery import Celery

celery.concurrency.asynpool.AsynPool.timers = property(lambda self: {{self.maintain_pool: 0.1}})
app = Celery("tasks", broker={url!r}, backend={url!r})
app.conf.worker_proc_alive_timeout = 60  # seconds that a child may take to come up; 4 if unsaid
"""


class CeleryWorker(Family):
    """``with CeleryWorker(tmp_path, tasks, witness, "--pool=prefork") as worker: …``.

    Its broker is the Valkey server of ``witness``, its queue bears the name of ``witness``.

    Parameters:
        folder: where everything is written; the worker's working directory.
        tasks: source of ``tasks.py``, which defines the task ``report``; ``app`` is there already.
        arguments: further arguments for ``celery worker``.
        env: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        tasks: str,
        witness: Witness,
        *arguments: str,
        env: dict[str, str] | None = None,
    ) -> None:
        (folder / "tasks.py").write_text(_APP.format(url=witness.url) + tasks)
        self._witness = witness
        super().__init__(
            folder,
            [
                *(sys.executable, "-m", "celery", "--app=tasks", "worker", "--loglevel=INFO"),
                *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                *("--concurrency=2", f"--queues={witness.name}", *arguments),
            ],
            env={**witness.env, **(env or {})},
        )

    def wait_ready(self) -> None:
        ready = " ready."
        self.wait_until(lambda: self._popen.poll() is not None or ready in self.log, "the worker")
        assert self._popen.poll() is None, self.log

    def children(self, *, without: Iterable[int] = ()) -> set[int]:
        """The pids of the two children, when there are two and none of them is in ``without``."""
        gone = set(without)

        def complete() -> set[int] | None:
            children = self.living() - {self.head}
            return children if len(children) == 2 and not children & gone else None

        return self.wait_until(complete, f"two children, not {gone}")

    def ask(self, times: int) -> dict[int, list[Any]]:
        """What so many tasks ``report``, by the pid that each says under "pid"."""
        answers: dict[int, list[Any]] = {}
        with Celery(broker=self._witness.url, backend=self._witness.url) as app:
            sent = [app.send_task("tasks.report", queue=self._witness.name) for _ in range(times)]
            for result in sent:
                answer = result.get(timeout=LIMIT)
                answers.setdefault(answer["pid"], []).append(answer)
        return answers

    def ask_each(self, children: Iterable[int]) -> dict[int, list[Any]]:
        """Ask until each of these has answered."""
        wanted = set(children)
        answers: dict[int, list[Any]] = {}

        def asked() -> bool:
            for pid, said in self.ask(8).items():
                answers.setdefault(pid, []).extend(said)
            return wanted <= answers.keys()

        self.wait_until(asked, f"answers of {wanted}")
        return answers
