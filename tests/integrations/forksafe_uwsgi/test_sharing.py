"""No connection is ever shared by two processes of uWSGI, without any hook of ours.

uWSGI forks in C, by default without telling Python. ``/proc/PID/fd`` says which sockets each
process has open, and ``CLIENT LIST`` which connections there are.
"""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.uwsgi import Uwsgi
from tests.support.witness import Witness

# Whoever imports it uses the pool, and goes on with a connection in use and one idle.
APP = """
import json
from tests.support import witness

client, kept = witness.used_client()

def application(environ, start_response):
    answer = witness.report(client)
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
"""

MODES = {
    "default": ("--master",),
    "threads": ("--master", "--enable-threads", "--threads=2"),
    "fork-hooks": ("--master", "--py-call-uwsgi-fork-hooks"),
    "fork-hooks-threads": ("--master", "--py-call-uwsgi-fork-hooks", "--enable-threads"),
    "lazy-apps": ("--master", "--lazy-apps"),
    "no-master": (),
}


class Audited:
    """A server, and the Valkey server that it uses."""

    def __init__(self, server: Uwsgi, witness: Witness) -> None:
        self.server = server
        self.witness = witness

    def audit(self, workers: set[int]) -> dict[int, set[int]]:
        """Each of these workers answers, over connections of its own; none is shared."""
        answers = self.server.ask_each(workers)
        used = {
            pid: {client for answer in answers[pid] for client in answer["clients"]}
            for pid in workers
        }
        clients = Counter(client for clients in used.values() for client in clients)
        assert set(clients.values()) == {1}, f"one client in two workers: {used}"
        owned = self.witness.audit(self.server)
        assert all(owned[pid] for pid in workers), f"a worker without a connection: {owned}"
        return owned


@pytest.mark.parametrize("mode", list(MODES))
def test_a_servers_life(tmp_path: Path, witness: Witness, mode: str) -> None:
    with Uwsgi(tmp_path, APP, *MODES[mode], env=witness.env) as server:
        audited = Audited(server, witness)
        workers = server.wait_for_workers()
        if "--master" not in MODES[mode]:
            # Worker 1 is the process that has imported the application; nothing replaces worker 2.
            assert server.head in workers
            audited.audit(workers)
            server.signal(signal.SIGKILL, max(workers - {server.head}))
            audited.audit({server.head})
        else:
            masters = audited.audit(workers)[server.head]
            assert len(masters) == (0 if mode == "lazy-apps" else 2)

            victim = min(workers)
            server.signal(signal.SIGKILL, victim)
            replaced = server.wait_for_workers(without={victim})
            audited.audit(replaced)

            server.command("w")
            owned = audited.audit(server.wait_for_workers(without=replaced))
            assert owned[server.head] == masters
            witness.assert_unwritten(masters)

        server.stop()
        server.wait_until(lambda: not witness.clients(), "the end of every connection")
        assert "Traceback" not in server.log


def test_a_hup_starts_anew(tmp_path: Path, witness: Witness) -> None:
    """The master executes itself: its own connections end with the old image."""
    with Uwsgi(tmp_path, APP, "--master", env=witness.env) as server:
        audited = Audited(server, witness)
        workers = server.wait_for_workers()
        before = audited.audit(workers)[server.head]
        server.signal(signal.SIGHUP)
        after = audited.audit(server.wait_for_workers(without=workers))[server.head]
        assert len(before) == len(after) == 2
        assert not before & after
    assert "Traceback" not in server.log


def test_the_witnesses_see_what_is_shared(tmp_path: Path, witness: Witness) -> None:
    app = """
import json, os, socket
shared = socket.create_connection(("127.0.0.1", int(os.environ["PORT"])))
def application(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid()}).encode()]
"""
    with Uwsgi(tmp_path, app, "--master", env={"PORT": str(witness.port)}) as server:
        owned = server.connections(witness.port)
        assert len(set.intersection(*owned.values())) == 1
        assert owned.keys() == {server.head, *server.workers()}
