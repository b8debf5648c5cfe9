"""The receivers in a real Celery worker: what they do, and that they never end one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.support.celery import CeleryWorker
from tests.support.server import free_port
from tests.support.witness import Witness

TASKS = """
from tests.support import witness

pool = witness.polite_pool()

@app.task
def report():
    return witness.report_polite(pool)
"""

INSTALL = """
from forksafe_celery import install
install()
"""

# Celery calls receivers in the order in which they were connected.
RECEIVERS = """
import os, sys
from celery import signals

def tell(signal):
    def receiver(**_):
        sys.__stderr__.write(f"told by {os.getpid()}: {signal} with {pool.stats().total}\\n")
    getattr(signals, signal).connect(receiver, weak=False)
"""
TELL_INIT = "tell('worker_process_init')\n"
TELL_SHUTDOWN = "tell('worker_process_shutdown')\n"


def wait_filled(worker: CeleryWorker, witness: Witness, children: set[int]) -> None:
    """Two connections for each of the children, none for the parent."""
    wanted = {worker.head: 0} | dict.fromkeys(children, 2)

    def filled() -> bool:
        owned = {pid: len(ports) for pid, ports in witness.audit(worker).items()}
        return owned == wanted

    worker.wait_until(filled, f"two connections for each of {children}")


def test_pools_live_as_long_as_their_child(tmp_path: Path, witness: Witness) -> None:
    """Filled before the first task, closed at the end; installed twice."""
    tasks = TASKS + RECEIVERS + TELL_SHUTDOWN + 2 * INSTALL + TELL_INIT
    with CeleryWorker(tmp_path, tasks, witness) as worker:
        children = worker.children()
        wait_filled(worker, witness, children)
        worker.ask_each(children)
        assert not witness.goodbyes()
    assert witness.goodbyes() == Counter(dict.fromkeys(children, 2))
    for pid in children:
        assert worker.log.count(f"told by {pid}: worker_process_init with 2\n") == 1
        assert worker.log.count(f"told by {pid}: worker_process_shutdown with 2\n") == 1
    assert "Traceback" not in worker.log


def test_children_that_are_replaced(tmp_path: Path, witness: Witness) -> None:
    arguments = ("--max-tasks-per-child=2",)
    with CeleryWorker(tmp_path, TASKS + INSTALL, witness, *arguments) as worker:
        answers = worker.ask(8)
        ended = {pid for pid in answers if len(answers[pid]) == 2}
        wait_filled(worker, witness, worker.children(without=ended))
        said = witness.goodbyes()
        assert {pid: said[pid] for pid in ended} == dict.fromkeys(ended, 2)
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_pools_without_children(tmp_path: Path, witness: Witness, pool: str) -> None:
    """Celery's solo pool says that a child begins; nothing says that one ends."""
    with CeleryWorker(tmp_path, TASKS + INSTALL, witness, f"--pool={pool}") as worker:
        owned = witness.audit(worker)
        assert {pid: len(ports) for pid, ports in owned.items()} == {
            worker.head: 2 if pool == "solo" else 0
        }
        assert worker.ask(8).keys() == {worker.head}
    assert worker.wait_exit() == 0
    assert "Traceback" not in worker.log


def test_a_server_that_cannot_be_reached_is_a_warning(tmp_path: Path, witness: Witness) -> None:
    env = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    tasks = "@app.task\ndef report():\n    return {'pid': os.getpid()}\n"
    tasks = "import os\nfrom tests.support import witness\npool = witness.polite_pool()\n" + tasks
    with CeleryWorker(tmp_path, tasks + INSTALL, witness, env=env) as worker:
        worker.ask_each(worker.children())
    warning = "could not be filled up to 2 connections"
    assert worker.log.count(warning) == 2


def test_receivers_that_fail_do_not_end_the_worker(tmp_path: Path, witness: Witness) -> None:
    """And each fails once, however often it was installed."""
    fail = """
from forksafe_pool import workers
def fail():
    raise RuntimeError("no pools today")
workers.pools = fail
"""
    with CeleryWorker(tmp_path, TASKS + 2 * INSTALL + fail, witness) as worker:
        worker.ask_each(worker.children())
    assert worker.wait_exit() == 0
    for receiver in ("worker_process_init", "worker_process_shutdown"):
        assert worker.log.count(f"the receiver of {receiver} failed") == 2
