"""No connection is ever shared by two processes of Celery, without any signal of ours."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

from tests.support.celery import CeleryWorker
from tests.support.witness import Witness

# The parent imports it, uses the pool, and goes on with a connection in use and one idle.
TASKS = """
from tests.support import witness

client, kept = witness.used_client()

@app.task
def report():
    return witness.report(client)
"""


def audit(worker: CeleryWorker, witness: Witness, answers: dict[int, list[Any]]) -> set[int]:
    """Each child was served over connections of its own; the ports of the parent's."""
    used = {pid: {c for a in answers[pid] for c in a["clients"]} for pid in answers}
    clients = Counter(client for each in used.values() for client in each)
    assert set(clients.values()) == {1}, f"one client in two children: {used}"
    assert worker.head not in used
    owned = witness.audit(worker)
    assert all(owned[pid] for pid in answers if pid in worker.living()), owned
    return owned[worker.head]


def test_a_workers_life(tmp_path: Path, witness: Witness) -> None:
    with CeleryWorker(tmp_path, TASKS, witness) as worker:
        children = worker.children()
        parents = audit(worker, witness, worker.ask_each(children))
        assert len(parents) == 2

        victim = min(children)
        worker.signal(signal.SIGKILL, victim)
        children = worker.children(without={victim})
        assert audit(worker, witness, worker.ask_each(children)) == parents
        witness.assert_unwritten(parents)
    assert not witness.clients()
    assert "Traceback" not in worker.log


def test_children_that_are_replaced(tmp_path: Path, witness: Witness) -> None:
    with CeleryWorker(tmp_path, TASKS, witness, "--max-tasks-per-child=2") as worker:
        answers = worker.ask(8)
        assert len(answers) >= 4
        worker.children(without=[pid for pid in answers if len(answers[pid]) == 2])
        parents = audit(worker, witness, answers)
        assert len(parents) == 2
        witness.assert_unwritten(parents)
    assert "Traceback" not in worker.log
