"""The worker whose work horses close their pools: that they do, and that nothing else changes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.rq import RqWorker
from tests.support.witness import Witness

JOBS = """
import forksafe_rq, rq, rq.worker
from tests.support import witness

pool = witness.polite_pool()

def report():
    return witness.report_polite(pool)

def fail():
    be_watched()
    report()
    raise RuntimeError("no luck today")

def idle():
    return {"pid": os.getpid()}

class HerokuWorker(forksafe_rq.Worker, rq.worker.HerokuWorker):
    pass

class SimpleWorker(rq.SimpleWorker, forksafe_rq.Worker):
    pass
"""


@pytest.mark.parametrize("worker_class", ["forksafe_rq.Worker", "jobs.HerokuWorker"])
def test_each_work_horse_closes_its_pools(
    tmp_path: Path, witness: Witness, worker_class: str
) -> None:
    """What the job has opened, and no more; where the job fails, too."""
    with RqWorker(tmp_path, JOBS, witness, worker_class) as worker:
        failing = worker.enqueue("jobs.fail")
        horses = [worker.wait_for_one()]
        worker.let_go()
        assert worker.result(failing) == "failed"
        horses += [worker.result(worker.enqueue("jobs.report"))["pid"] for _ in range(2)]
        worker.result(worker.enqueue("jobs.idle"))
    assert witness.goodbyes() == Counter(dict.fromkeys(horses, 1))
    assert worker.log.count("Traceback") == 1
    assert worker.wait_exit() == 0


def test_rqs_own_worker_says_no_goodbye(tmp_path: Path, witness: Witness) -> None:
    """What this package is for: RQ's work horse ends in the middle of everything."""
    with RqWorker(tmp_path, JOBS, witness) as worker:
        worker.result(worker.enqueue("jobs.report"))
    assert not witness.goodbyes()


def test_a_worker_that_does_not_fork_keeps_its_pools(tmp_path: Path, witness: Witness) -> None:
    with RqWorker(tmp_path, JOBS, witness, "jobs.SimpleWorker") as worker:
        answers = [worker.result(worker.enqueue("jobs.report")) for _ in range(2)]
        assert answers[0]["pid"] == worker.head
        assert answers[0] == answers[1]


def test_a_close_that_fails_does_not_fail_the_job(tmp_path: Path, witness: Witness) -> None:
    fail = """
from forksafe_pool import workers
def no_pools():
    raise RuntimeError("no pools today")
workers.pools = no_pools
"""
    with RqWorker(tmp_path, JOBS + fail, witness, "forksafe_rq.Worker") as worker:
        assert worker.result(worker.enqueue("jobs.idle"))["pid"] != worker.head
    assert worker.wait_exit() == 0
    assert worker.log.count("the pools could not be closed, the worker goes on") == 1
    assert worker.log.count("RuntimeError: no pools today") == 1
