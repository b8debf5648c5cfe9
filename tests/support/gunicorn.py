"""A real gunicorn server, on a loopback port that the kernel picks, in a process group of its own.

Every wait has a limit, and ends the test with the server's log where it is reached. Only processes
of the group that was made here are ever signalled.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")

LIMIT = 30.0
_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+) \((\d+)\)")
_BOOTING = re.compile(r"Booting worker with pid: (\d+)")


class _Process(NamedTuple):
    pid: int
    parent: int


class Gunicorn:
    """``with Gunicorn(tmp_path, app, "-k", "gthread") as server: server.get("/")``.

    Parameters:
        folder: where everything is written; the server's working directory.
        app: source of ``app.py``, which defines the WSGI application ``app``.
        arguments: further arguments for gunicorn.
        conf: source of ``gunicorn.conf.py``. None: there is none.
        workers: how many workers.
        env: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        *arguments: str,
        conf: str | None = None,
        workers: int = 2,
        env: dict[str, str] | None = None,
    ) -> None:
        self._log = folder / "gunicorn.log"
        self._workers = workers
        (folder / "app.py").write_text(app)
        if conf is not None:
            (folder / "gunicorn.conf.py").write_text(conf)
        # HOME: there gunicorn makes its control socket. The script, not "-m gunicorn": the path
        # of a module's __main__ is what USR2 would execute.
        unwanted = {"GUNICORN_CMD_ARGS", "XDG_RUNTIME_DIR"}
        inherited = {name: text for name, text in os.environ.items() if name not in unwanted}
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                [
                    sys.executable,
                    str(Path(sys.executable).with_name("gunicorn")),
                    "--bind=127.0.0.1:0",
                    f"--workers={workers}",
                    *arguments,
                    "app:app",
                ],
                cwd=folder,
                env={**inherited, "HOME": str(folder), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # -- what it is ---------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def port(self) -> int:
        return int(_LISTENING.findall(self.log)[0][0])

    @property
    def masters(self) -> list[int]:
        """The pids of the masters that live; after USR2 there are two, the elder first."""
        living = {process.pid for process in self._group()}
        started = dict.fromkeys(int(pid) for _, pid in _LISTENING.findall(self.log))
        return [pid for pid in started if pid in living]

    def workers(self, master: int | None = None) -> set[int]:
        """The pids of the workers that live, of one master or of all."""
        booted = {int(pid) for pid in _BOOTING.findall(self.log)}
        return {
            process.pid
            for process in self._group()
            if process.pid in booted and master in (None, process.parent)
        }

    def _group(self) -> list[_Process]:
        """The living processes of the group, zombies left out."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    stat = Path(f"/proc/{entry}/stat").read_text()
                    state, parent, group = stat.rpartition(")")[2].split()[:3]
                    if int(group) == self._popen.pid and state not in "ZX":
                        found.append(_Process(int(entry), int(parent)))
        return found

    def connections(self, port: int) -> dict[int, set[int]]:
        """For each process, masters too: the local ports of its TCP connections to ``port``.

        A connection that two processes have open is in both sets: fork copies descriptors, and
        each copy leads to the same socket.
        """
        local_ports = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[2].rpartition(":")[2], 16) == port:
                local_ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
        found: dict[int, set[int]] = {}
        for process in self._group():
            found[process.pid] = set()
            with contextlib.suppress(OSError):
                for descriptor in os.scandir(f"/proc/{process.pid}/fd"):
                    with contextlib.suppress(OSError):
                        target = os.readlink(descriptor.path)
                        if target in local_ports:
                            found[process.pid].add(local_ports[target])
        return found

    # -- what it does -------------------------------------------------------------------------

    def get(self, path: str = "/") -> str:
        """The body of the answer. Raises AssertionError where the status is not 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        assert response.status == 200, f"{response.status} {body}\n{self.log}"
        return body

    def ask_each(self, workers: Iterable[int], path: str = "/") -> dict[int, Any]:
        """Ask, several at a time, until each of these workers has answered.

        The application answers with a JSON object that has its worker's pid under "pid"; the
        last answer of each worker is returned.
        """
        wanted = set(workers)
        answers: dict[int, Any] = {}

        def ask(_: int) -> None:
            answer = json.loads(self.get(path))
            answers[answer["pid"]] = answer

        with ThreadPoolExecutor(8) as executor:

            def asked() -> bool:
                list(executor.map(ask, range(16)))
                return wanted <= answers.keys()

            self.wait_until(asked, f"answers of {wanted}")
        return answers

    def wait_until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until ``condition()`` is true, and return what it returned."""
        deadline = time.monotonic() + LIMIT
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {LIMIT} s for {what}\n{self.log}")
            time.sleep(0.02)
        return value

    def wait_ready(self) -> None:
        """Wait until it listens, all workers have been started, and one answers."""
        self.wait_until(
            lambda: self._popen.poll() is not None or _LISTENING.search(self.log), "the server"
        )
        assert self._popen.poll() is None, self.log
        self.wait_for_workers()
        self.get()

    def wait_for_workers(
        self, *, master: int | None = None, without: Iterable[int] = ()
    ) -> set[int]:
        """Wait until there are as many workers as asked for, none of them in ``without``."""
        gone = set(without)

        def complete() -> set[int] | None:
            workers = self.workers(master)
            return workers if len(workers) == self._workers and not workers & gone else None

        return self.wait_until(complete, f"{self._workers} workers, not {gone}")

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to the eldest master, or to one process of the group."""
        pid = self.masters[0] if pid is None else pid
        assert pid in {process.pid for process in self._group()}, pid
        os.kill(pid, number)

    def wait_exit(self) -> int:
        """Wait until the server has ended by itself; its exit status."""
        return self._popen.wait(LIMIT)

    def stop(self) -> None:
        """End every master in good order, kill what is left after the limit. Twice is harmless."""
        try:
            for pid in self.masters or [self._popen.pid]:
                if self._popen.poll() is None or pid != self._popen.pid:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGTERM)
            self.wait_until(lambda: not self._group(), "the end of every process")
        finally:
            for process in self._group():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self._popen.wait(LIMIT)

    def __enter__(self) -> Gunicorn:
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
