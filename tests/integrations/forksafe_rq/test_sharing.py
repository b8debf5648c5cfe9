"""No connection is ever shared by two processes of RQ, with RQ's own worker and with ours."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.support.rq import RqWorker
from tests.support.witness import Witness

# The worker imports it, uses the pool, and goes on with a connection in use and one idle.
JOBS = """
from tests.support import witness

client, kept = witness.used_client()

def report():
    return witness.report(client)

def report_watched():
    answer = report()
    be_watched()
    return answer
"""


@pytest.mark.parametrize("worker_class", ["rq.Worker", "forksafe_rq.Worker"])
def test_a_workers_life(tmp_path: Path, witness: Witness, worker_class: str) -> None:
    with RqWorker(tmp_path, JOBS, witness, worker_class) as worker:
        parents = witness.audit(worker)[worker.head]
        assert len(parents) == 2

        watched = worker.enqueue("jobs.report_watched")
        horse = worker.wait_for_one()
        owned = witness.audit(worker)
        assert owned[worker.head] == parents
        assert owned[horse]
        worker.let_go()

        killed = worker.enqueue("jobs.report_watched")
        worker.signal(signal.SIGKILL, worker.wait_for_one())
        assert worker.result(killed) == "failed"

        jobs = [watched, *(worker.enqueue("jobs.report") for _ in range(3))]
        answers = [worker.result(job) for job in jobs]
        pids = {answer["pid"] for answer in answers}
        assert len(pids - {worker.head}) == len(answers)
        # Each horse is alone with its connection, and the next one makes another.
        assert len({client for answer in answers for client in answer["clients"]}) == len(answers)
        assert witness.audit(worker)[worker.head] == parents
        witness.assert_unwritten(parents)
    assert worker.wait_exit() == 0
    assert not witness.clients()
    assert "Traceback" not in worker.log
