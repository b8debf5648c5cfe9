"""No connection is ever shared with gunicorn's dirty arbiter or one of its workers.

gunicorn forks them without ``post_fork``; the master imports their application before, with and
without ``--preload``.
"""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.support.gunicorn import Gunicorn
from tests.support.programs import ROOT
from tests.support.witness import Witness

pytest.importorskip("gunicorn.dirty", reason="this gunicorn has no dirty workers")

# Whoever imports it uses the pool, and goes on with a connection in use and one idle.
APP = """
import json
from gunicorn.dirty import DirtyApp, get_dirty_client
from tests.support import witness

client, kept = witness.used_client()

class Dirty(DirtyApp):
    def report(self):
        return witness.report(client)

def app(environ, start_response):
    if environ["PATH_INFO"] == "/dirty":
        answer = get_dirty_client().execute("app:Dirty", "report")
    else:
        answer = witness.report(client)
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
"""


def dirty_workers(server: Gunicorn, *, without: int = 0) -> set[int]:
    """The pids of the two dirty workers that live, when none of them is ``without``."""

    def complete() -> set[int] | None:
        spawned = {int(pid) for pid in re.findall(r"dirty worker \(pid: (\d+)\)", server.log)}
        living = spawned & server.connections(0).keys()
        return living if len(living) == 2 and without not in living else None

    return server.wait_until(complete, "two dirty workers")


@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "no-preload"])
def test_dirty_workers_share_nothing(tmp_path: Path, redis_url: str, preload: list[str]) -> None:
    witness = Witness(redis_url)
    path = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    with Gunicorn(
        tmp_path,
        APP,
        *preload,
        "--dirty-app=app:Dirty",
        "--dirty-workers=2",
        # With Python 3.12 and later, gunicorn 27 kills its dirty arbiter after that time.
        "--graceful-timeout=1",
        # gunicorn ends a dirty arbiter of the same name that it takes for a stray one.
        f"--name={witness.name}",
        env={**witness.env, "PYTHONPATH": path},
    ) as server:
        (master,) = server.masters
        workers = server.wait_for_workers()

        def audit(dirty: set[int]) -> set[int]:
            """Everybody answers, over connections of its own; the ports of the master's."""
            answers = server.ask_each(workers) | server.ask_each(dirty, "/dirty")
            used = [client for answer in answers.values() for client in set(answer["clients"])]
            assert len(used) == len(set(used)), f"one client in two processes: {answers}"
            owned = witness.audit(server)
            assert all(owned[pid] for pid in workers | dirty), owned
            return owned[master]

        first = dirty_workers(server)
        masters = audit(first)
        assert len(masters) == 2

        victim = min(first)
        server.signal(signal.SIGKILL, victim)
        assert audit(dirty_workers(server, without=victim)) == masters
        witness.assert_unwritten(masters)
