"""The hooks in a real gunicorn: what they do, in what order, and that they never end a server."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.gunicorn import Gunicorn
from tests.support.server import free_port

# Nothing here uses the pool unless it is asked to.
APP = """
import json, os
import redis
from forksafe_redis import BlockingConnectionPool

pool = BlockingConnectionPool.from_url(
    os.environ["REDIS_URL"], max_connections=4, min_size=2, timeout=30
)
client = redis.Redis(connection_pool=pool)

def app(environ, start_response):
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid()}).encode()]
"""

# What the user's own hooks see says who was first: filled already, not closed yet.
HOOKS = """
import atexit

import forksafe_pool as _forksafe_pool

def _tell(server, worker, what):
    total = sum(pool.stats().total for pool in _forksafe_pool.pools())
    server.log.info("told by %s: %s with %s connections", worker.pid, what, total)

def post_fork(server, worker):
    _tell(server, worker, "post_fork")

def post_worker_init(worker):
    _tell(worker, worker, "post_worker_init")
    atexit.register(_tell, worker, worker, "atexit")

def worker_exit(server, worker):
    _tell(server, worker, "worker_exit")

def child_exit(server, worker):
    _tell(server, worker, "child_exit")
"""

INSTALL = """
from forksafe_gunicorn import install
install(globals())
"""

WORKERS = {"sync": ("-ksync",), "gthread": ("-kgthread", "--threads=4"), "gevent": ("-kgevent",)}

each_worker_class = pytest.mark.parametrize("arguments", list(WORKERS.values()), ids=list(WORKERS))


def told(server: Gunicorn, what: str) -> dict[int, list[int]]:
    """For each pid: with how many connections it told ``what``, in order."""
    found: dict[int, list[int]] = {}
    for pid, total in re.findall(rf"told by (\d+): {what} with (\d+) connections", server.log):
        found.setdefault(int(pid), []).append(int(total))
    return found


def once(workers: set[int], total: int) -> dict[int, list[int]]:
    """What `told` finds where each of these workers told it once."""
    return {pid: [total] for pid in workers}


@each_worker_class
@pytest.mark.parametrize("preload", [["--preload"], []], ids=["preload", "no-preload"])
def test_without_a_configuration(
    tmp_path: Path,
    redis_url: str,
    arguments: tuple[str, ...],
    preload: list[str],
) -> None:
    """Each worker is filled before its first request, the master not at all."""
    with Gunicorn(
        tmp_path,
        APP,
        *arguments,
        *preload,
        "--config=python:forksafe_gunicorn",
        env={"REDIS_URL": redis_url},
    ) as server:

        def filled() -> bool:
            owned = server.connections(urlsplit(redis_url).port or 0)
            workers = server.wait_for_workers()
            return {pid: len(ports) for pid, ports in owned.items()} == dict.fromkeys(
                server.masters, 0
            ) | dict.fromkeys(workers, 2)

        server.wait_until(filled, "two connections for each worker")
        server.ask_each(server.workers())


@each_worker_class
def test_the_order_and_a_reload(tmp_path: Path, redis_url: str, arguments: tuple[str, ...]) -> None:
    server = Gunicorn(
        tmp_path,
        APP,
        *arguments,
        "--preload",
        "--timeout=30",
        conf=HOOKS + INSTALL + INSTALL,
        env={"REDIS_URL": redis_url},
    )
    with server:
        generations = [server.wait_for_workers()]
        for _ in range(2):
            server.ask_each(generations[-1])
            server.signal(signal.SIGHUP)
            generations.append(server.wait_for_workers(without=generations[-1]))
        server.ask_each(generations[-1])
    workers = set.union(*generations)
    assert told(server, "post_fork") == once(workers, 0)
    assert told(server, "post_worker_init") == once(workers, 2)
    assert told(server, "worker_exit") == once(workers, 2)
    assert told(server, "atexit") == once(workers, 0)
    # The last ones may die unseen: gunicorn does not wait for its reaper when it ends itself.
    assert told(server, "child_exit").keys() >= set.union(*generations[:-1])
    assert all(totals == [0] for totals in told(server, "child_exit").values())
    # The warning comes once for each worker: reloads wrap nothing twice.
    warned = re.findall(r"\[(\d+)\] \[WARNING\] forksafe_pool: a request may wait", server.log)
    assert sorted(map(int, warned)) == sorted(workers)


def test_hooks_given_by_name(tmp_path: Path, redis_url: str) -> None:
    (tmp_path / "their_hooks.py").write_text(HOOKS)
    conf = "".join(
        f"{name} = 'their_hooks.{name}'\n"
        for name in ("post_fork", "post_worker_init", "worker_exit", "child_exit")
    )
    with Gunicorn(tmp_path, APP, conf=conf + INSTALL, env={"REDIS_URL": redis_url}) as server:
        workers = server.wait_for_workers()
        server.ask_each(workers)
    assert told(server, "post_worker_init") == once(workers, 2)
    assert told(server, "worker_exit") == once(workers, 2)
    assert told(server, "atexit") == once(workers, 0)


def test_an_unreachable_server_is_a_warning(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with Gunicorn(tmp_path, APP, conf=INSTALL, env={"REDIS_URL": url}) as server:
        workers = server.wait_for_workers()
        server.ask_each(workers)
    assert server.log.count("could not be filled up to 2 connections") == len(workers)


def test_a_killed_worker_leaves_the_arbiter_as_it_was(tmp_path: Path, redis_url: str) -> None:
    """And worker_exit does nothing there, where gunicorn calls it for a vanished worker."""
    conf = """
import sys

def _tell(server):
    server.log.info("the arbiter is client %s", sys.modules["app"].client.client_id())

when_ready = _tell

def child_exit(server, worker):
    server.cfg.worker_exit(server, worker)  # what Arbiter.kill_worker does where it gets ESRCH
    _tell(server)
"""
    with Gunicorn(
        tmp_path,
        APP,
        "--preload",
        "--log-level=debug",
        conf=conf + INSTALL,
        env={"REDIS_URL": redis_url},
    ) as server:
        workers = server.wait_for_workers()
        victim = min(workers)
        server.signal(signal.SIGKILL, victim)
        server.ask_each(server.wait_for_workers(without={victim}))
        line = f"worker {victim} has ended, and its connections with it"
        server.wait_until(lambda: line in server.log, "the line of child_exit")
    clients = re.findall(r"the arbiter is client (\d+)", server.log)
    assert len(clients) > 1
    assert len(set(clients)) == 1


# -- nothing ends the server that would not without us --------------------------------------------


@each_worker_class
def test_hooks_that_fail_do_not_end_the_server(
    tmp_path: Path, redis_url: str, arguments: tuple[str, ...]
) -> None:
    conf = """
import forksafe_pool as _forksafe_pool
from forksafe_pool import workers as _workers

def _fail():
    raise RuntimeError("no pools today")

_forksafe_pool.pools = _workers.pools = _fail
"""
    server = Gunicorn(tmp_path, APP, *arguments, conf=conf + INSTALL, env={"REDIS_URL": redis_url})
    with server:
        workers = server.wait_for_workers()
        server.ask_each(workers)
        victim = min(workers)
        server.signal(signal.SIGKILL, victim)
        server.ask_each(server.wait_for_workers(without={victim}))
    assert server.wait_exit() == 0
    for hook in ("post_fork", "post_worker_init", "worker_exit"):
        assert f"forksafe_pool: the hook {hook} failed" in server.log
    assert "RuntimeError: no pools today" in server.log


RAISING = {
    "post_fork": "def post_fork(server, worker): raise RuntimeError('theirs')\n",
    "post_worker_init": "def post_worker_init(worker): raise RuntimeError('theirs')\n",
    "one parameter too few": "def post_fork(server): pass\n",
    "no such module": "post_fork = 'no_such_module.post_fork'\n",
}


@pytest.mark.parametrize("fault", list(RAISING))
def test_what_ends_the_server_without_us_does_so_with_us(
    tmp_path: Path, redis_url: str, fault: str
) -> None:
    """gunicorn gives up where a worker cannot boot, and where a hook is none."""
    ends = []
    for install in ("", INSTALL):
        folder = tmp_path / f"install-{bool(install)}"
        folder.mkdir()
        server = Gunicorn(
            folder, APP, conf=RAISING[fault] + install, env={"REDIS_URL": redis_url}, workers=1
        )
        try:
            status = server.wait_exit()
        finally:
            server.stop()
        errors = re.findall(r"^(?:RuntimeError|Invalid value|Error).*$", server.log, re.M)
        ends.append((status, re.sub(r"0x\w+", "0x", "\n".join(errors))))
    assert ends[0] == ends[1]
    assert ends[0][0] != 0
    assert ends[0][1]


def test_a_worker_exit_that_raises_does_not_keep_the_pools_open(
    tmp_path: Path, redis_url: str
) -> None:
    conf = """
def worker_exit(server, worker):
    _tell(server, worker, "worker_exit")
    raise RuntimeError("theirs")
"""
    with Gunicorn(
        tmp_path, APP, conf=HOOKS + conf + INSTALL, env={"REDIS_URL": redis_url}
    ) as server:
        workers = server.wait_for_workers()
        server.ask_each(workers)
    assert server.log.count("Exception during worker exit") == len(workers)
    assert told(server, "worker_exit") == once(workers, 2)
    assert told(server, "atexit") == once(workers, 0)
