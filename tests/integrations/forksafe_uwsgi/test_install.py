"""The hooks in a real uWSGI: what they do, in what order, and that they never end a server."""

from __future__ import annotations

import re
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.support.server import free_port
from tests.support.uwsgi import Uwsgi
from tests.support.witness import Witness

# Nothing here uses the pool unless it is asked to.
APP = """
import atexit, json, os, sys
import forksafe_pool
import uwsgi
from tests.support import witness

pool = witness.polite_pool()

def tell(what):
    total = sum(pool.stats().total for pool in forksafe_pool.pools())
    sys.stderr.write(f"told by {os.getpid()}: {what} with {total} connections\\n")

atexit.register(tell, "atexit")

def application(environ, start_response):
    answer = witness.report_polite(pool)
    start_response("200 OK", [])
    return [json.dumps(answer).encode()]
"""

# What the user's own hooks see says who was first: filled already, not closed yet.
HOOKS = """
uwsgi.post_fork_hook = lambda: tell("post_fork")
uwsgi.atexit = lambda: tell("uwsgi.atexit")
"""

INSTALL = """
from forksafe_uwsgi import install
install()
"""

MODES = {
    "default": ("--master",),
    "threads": ("--master", "--enable-threads", "--threads=2"),
    "fork-hooks": ("--master", "--py-call-uwsgi-fork-hooks"),
    "fork-hooks-threads": ("--master", "--py-call-uwsgi-fork-hooks", "--enable-threads"),
    "lazy-apps": ("--master", "--lazy-apps"),
    "no-master": (),
}


def told(server: Uwsgi, what: str) -> dict[int, list[int]]:
    """For each pid: with how many connections it told ``what``, in order."""
    found: dict[int, list[int]] = {}
    for pid, total in re.findall(rf"told by (\d+): {what} with (\d+) connections", server.log):
        found.setdefault(int(pid), []).append(int(total))
    return found


def once(workers: set[int], total: int) -> dict[int, list[int]]:
    """What `told` finds where each of these workers told it once."""
    return {pid: [total] for pid in workers}


def wait_filled(server: Uwsgi, witness: Witness, pids: set[int]) -> None:
    """Two connections for each of these, none for anybody else."""

    def filled() -> bool:
        owned = {pid: len(ports) for pid, ports in server.connections(witness.port).items()}
        return owned == dict.fromkeys(server.living(), 0) | dict.fromkeys(pids, 2)

    server.wait_until(filled, f"two connections for each of {pids}")


@pytest.mark.parametrize("mode", list(MODES))
def test_pools_live_as_long_as_their_worker(tmp_path: Path, witness: Witness, mode: str) -> None:
    """Filled before the first request, closed at the end; installed twice, beside other hooks."""
    app = APP + HOOKS + 2 * INSTALL
    with Uwsgi(tmp_path, app, *MODES[mode], env=witness.env) as server:
        first = server.wait_for_workers()
        wait_filled(server, witness, first)
        witness.audit(server)
        server.ask_each(first)
        assert not witness.goodbyes()
        workers = first
        if mode == "default":
            server.command("w")
            second = server.wait_for_workers(without=first)
            wait_filled(server, witness, second)
            assert witness.goodbyes() == Counter(dict.fromkeys(first, 2))
            workers = first | second
    # With --lazy-apps the worker has been forked before the application exists.
    assert told(server, "post_fork") == ({} if mode == "lazy-apps" else once(workers, 2))
    assert told(server, "uwsgi.atexit") == once(workers, 2)
    assert told(server, "atexit") == once(workers, 0)
    assert witness.goodbyes() == Counter(dict.fromkeys(workers, 2))
    assert not witness.clients()
    assert "Traceback" not in server.log


def test_beside_uwsgidecorators(tmp_path: Path, witness: Witness) -> None:
    hooks = """
from uwsgidecorators import postfork

@postfork
def theirs():
    tell("postfork")
"""
    with Uwsgi(tmp_path, APP + hooks + INSTALL, "--master", env=witness.env) as server:
        workers = server.wait_for_workers()
        wait_filled(server, witness, workers)
    assert told(server, "postfork") == once(workers, 2)


def test_mules_and_spoolers_connect_when_they_use_a_pool(tmp_path: Path, witness: Witness) -> None:
    """uWSGI runs the hooks there too; a mule closes what it has opened."""
    (tmp_path / "mule.py").write_text(
        "import app, uwsgi\napp.tell('mule')\nuwsgi.mule_get_msg()\n"
        "with app.pool.connection(): app.tell('mule')\n"
        "while True: uwsgi.mule_get_msg()\n"
    )
    (tmp_path / "spool").mkdir()
    app = """
def spooler(task):
    tell("spooler")
    with pool.connection():
        tell("spooler")
    return uwsgi.SPOOL_OK

uwsgi.spooler = spooler
answer = application

def application(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        uwsgi.mule_msg(b"work")
        uwsgi.spool({b"work": b"work"})
    return answer(environ, start_response)
"""
    arguments = ("--master", "--mule=mule.py", "--spooler=spool")
    with Uwsgi(tmp_path, APP + HOOKS + app + INSTALL, *arguments, env=witness.env) as server:
        workers = server.wait_for_workers()
        server.wait_until(lambda: len(told(server, "post_fork")) == 4, "four processes")
        wait_filled(server, witness, workers)
        server.wait_until(lambda: told(server, "mule"), "the mule")
        server.get("/work")
        server.wait_until(lambda: [*told(server, "mule").values()] == [[0, 1]], "the mule")
        server.wait_until(lambda: [*told(server, "spooler").values()] == [[0, 1]], "the spooler")
        (mule,) = told(server, "mule")
        (spooler,) = told(server, "spooler")
        owned = witness.audit(server)
        assert {pid: len(ports) for pid, ports in owned.items()} == {
            **dict.fromkeys(workers, 2),
            server.head: 0,
            mule: 1,
            spooler: 1,
        }
    said = witness.goodbyes()
    assert {pid: said[pid] for pid in (*workers, mule)} == {**dict.fromkeys(workers, 2), mule: 1}
    assert "Traceback" not in server.log


def test_nobody_reaches_the_master_s_server_with_what_it_has_in_use(
    tmp_path: Path, witness: Witness
) -> None:
    """Whatever uWSGI forks: the hook severs it, before anybody asks the pool for anything."""
    app = """
import redis
held = pool.acquire()

def misuse():
    try:
        held.send_command("PING")
    except redis.ConnectionError:
        sys.stderr.write(f"cut off: {os.getpid()}\\n")
    else:
        sys.stderr.write(f"sent: {os.getpid()}\\n")

uwsgi.post_fork_hook = misuse
"""
    (tmp_path / "mule.py").write_text("import app, uwsgi\nwhile True: uwsgi.mule_get_msg()\n")
    (tmp_path / "spool").mkdir()
    arguments = ("--master", "--mule=mule.py", "--spooler=spool")
    with Uwsgi(tmp_path, APP + app + INSTALL, *arguments, env=witness.env) as server:
        workers = server.wait_for_workers()
        said = re.compile(r"(cut off|sent): (\d+)")
        server.wait_until(lambda: len(said.findall(server.log)) == 4, "four processes")
        assert {what for what, _ in said.findall(server.log)} == {"cut off"}, server.log
        owned = {pid: len(ports) for pid, ports in witness.audit(server).items()}
        assert owned == {
            **dict.fromkeys(server.living(), 0),
            **dict.fromkeys(workers, 2),
            server.head: 1,
        }


def test_a_server_that_cannot_be_reached_is_a_warning(tmp_path: Path, witness: Witness) -> None:
    env = {**witness.env, "REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with Uwsgi(tmp_path, APP + INSTALL, "--master", env=env) as server:
        workers = server.wait_for_workers()
        warning = "could not be filled up to 2 connections"
        server.wait_until(lambda: server.log.count(warning) == len(workers), "the warnings")


def test_hooks_that_fail_do_not_end_the_server(tmp_path: Path, witness: Witness) -> None:
    """And each fails once, however often it was installed."""
    fail = """
from forksafe_pool import workers
def fail():
    raise RuntimeError("no pools today")
workers.pools = fail
"""
    with Uwsgi(tmp_path, APP + HOOKS + 2 * INSTALL + fail, "--master", env=witness.env) as server:
        workers = server.wait_for_workers()
        server.ask_each(workers)
    assert server.wait_exit() == 0
    assert server.log.count("RuntimeError: no pools today") == 2 * len(workers)
    for hook in ("post_fork_hook", "atexit"):
        assert server.log.count(f"the hook {hook} failed") == len(workers)
    assert told(server, "post_fork").keys() == told(server, "uwsgi.atexit").keys() == workers


def test_hooks_of_others_that_fail(tmp_path: Path, witness: Witness) -> None:
    """Ours do their work all the same, and theirs fail as they would without us."""
    hooks = """
def fail():
    raise RuntimeError("theirs")
uwsgi.post_fork_hook = uwsgi.atexit = fail
"""
    with Uwsgi(tmp_path, APP + hooks + INSTALL, "--master", env=witness.env) as server:
        workers = server.wait_for_workers()
        wait_filled(server, witness, workers)
    assert server.log.count("RuntimeError: theirs") == 2 * len(workers)
    assert told(server, "atexit") == once(workers, 0)


def test_a_killed_worker_says_nothing(tmp_path: Path, witness: Witness) -> None:
    """Neither does anybody in its place; the one that replaces it is filled."""
    with Uwsgi(tmp_path, APP + INSTALL, "--master", env=witness.env) as server:
        workers = server.wait_for_workers()
        wait_filled(server, witness, workers)
        victim = min(workers)
        server.signal(signal.SIGKILL, victim)
        wait_filled(server, witness, server.wait_for_workers(without={victim}))
        assert not witness.goodbyes()
