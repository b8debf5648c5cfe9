"""Flask on gunicorn: requests per second, with a GET in each."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import redis

from bench.rounds import Claim, Effort, Table, interleave
from tests.support.programs import ROOT
from tests.support.server import free_port
from tests.support.valkey import Valkey

OURS = "forksafe_flask"
KINDS = (OURS, "redis-py ConnectionPool", "Flask-Redis")
_CLIENTS = 8
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
_BODY = b"value" * 20
_LIMIT = 30.0


def measure(effort: Effort) -> list[Table]:
    seconds = 0.1 if effort.is_smoke else 1.0
    cores = os.sched_getaffinity(0)
    with ExitStack() as stack:
        # The workers have a core of their own, which the clients and Valkey keep busy from the
        # other: what a request takes of it decides, not who happens to run where.
        stack.callback(os.sched_setaffinity, 0, cores)
        os.sched_setaffinity(0, {min(cores)})
        server = Valkey()
        stack.callback(server.stop)
        with redis.Redis.from_url(server.url) as client:
            client.set("key", _BODY)
        os.sched_setaffinity(0, {max(cores)})
        ports = {kind: stack.enter_context(gunicorn(kind, server.url)) for kind in KINDS}
        os.sched_setaffinity(0, {min(cores)})

        def contender(port: int) -> Callable[[], float]:
            return lambda: drive(port, seconds)

        contenders = {kind: contender(port) for kind, port in ports.items()}
        figures = interleave("flask on gunicorn", contenders, effort)
    return [
        Table(
            "flask",
            "Flask on gunicorn, a GET for each request",
            "per second",
            "`gunicorn --preload --workers 2 --worker-class gthread --threads 4` on one core, and "
            "eight clients with persistent connections on the other.",
            figures,
            [Claim(f"{kind}'s", OURS, kind, 1.0) for kind in KINDS[1:]],
            ours=OURS,
            more_is_better=True,
        )
    ]


@contextmanager
def gunicorn(kind: str, url: str) -> Iterator[int]:
    """A server with this kind of pool; its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        path = os.pathsep.join((str(ROOT), str(ROOT / "integrations")))
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", f"--bind=127.0.0.1:{port}", "--preload"),
                *("--workers=2", "--worker-class=gthread", "--threads=4", "--keep-alive=60"),
                *("--log-level=warning", "bench.web_app:app"),
            ],
            env={
                **os.environ,
                "HOME": home,
                "PYTHONPATH": path,
                "BENCH_POOL": kind,
                "BENCH_URL": url,
            },
        )
        try:
            wait_for(port, server)
            yield port
        finally:
            server.terminate()
            server.wait(_LIMIT)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _LIMIT
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LIMIT)
        try:
            connection.request("GET", "/")
            assert connection.getresponse().read() == _BODY
            return
        except OSError:
            assert server.poll() is None, "gunicorn has ended"
            assert time.monotonic() < deadline, "gunicorn does not answer"
            time.sleep(0.05)
        finally:
            connection.close()


def drive(port: int, seconds: float) -> float:
    """Requests per second."""
    counts = [0] * _CLIENTS
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        with socket.create_connection(("127.0.0.1", port), _LIMIT) as sock:
            while time.perf_counter() < end:
                sock.sendall(_REQUEST)
                heard = b""
                while not heard.endswith(_BODY):
                    chunk = sock.recv(4096)
                    assert chunk, "the server has hung up"
                    heard += chunk
                counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(_CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - start)
