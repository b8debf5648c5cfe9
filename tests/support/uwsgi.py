"""A real uWSGI, from the ``pyuwsgi`` wheel, on a loopback port that the kernel picks."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import sys
import sysconfig
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.family import LIMIT, Family

_LISTENING = re.compile(r"bound to TCP address 127\.0\.0\.1:(\d+)")
_WORKER = re.compile(r"pawned uWSGI worker \d+ \((?:new )?pid: (\d+)")


# A worker that answers has run its hooks, and listens to signals.
_ANSWER = """
def application(environ, start_response, application=application):
    if environ["PATH_INFO"] != "/pid":
        return application(environ, start_response)
    import json, os
    start_response("200 OK", [])
    return [json.dumps({"pid": os.getpid()}).encode()]
"""


class Uwsgi(Family):
    """``with Uwsgi(tmp_path, app, "--master") as server: server.get("/")``.

    Parameters:
        folder: where everything is written; the server's working directory.
        app: source of ``app.py``, which defines the WSGI application ``application``.
        arguments: further arguments for uwsgi.
        workers: how many workers.
        env: further environment variables.
    """

    def __init__(
        self,
        folder: Path,
        app: str,
        *arguments: str,
        workers: int = 2,
        env: dict[str, str] | None = None,
    ) -> None:
        (folder / "app.py").write_text(app + _ANSWER)
        self._workers = workers
        self._has_master = "--master" in arguments
        self._fifo = folder / "fifo"
        super().__init__(
            folder,
            [
                str(Path(sys.executable).with_name("uwsgi")),
                "--http-socket=127.0.0.1:0",
                f"--processes={workers}",
                "--module=app",
                "--need-app",
                "--die-on-term",
                "--disable-logging",
                # It would start a master by itself.
                *([f"--master-fifo={self._fifo}"] if self._has_master else []),
                *arguments,
            ],
            env,
            # A HUP lets the wheel's uWSGI execute the interpreter anew, without its venv.
            [sysconfig.get_path("platlib")],
        )

    @property
    def port(self) -> int:
        return int(_LISTENING.findall(self.log)[-1])

    def workers(self) -> set[int]:
        """The pids of the workers that live."""
        return {int(pid) for pid in _WORKER.findall(self.log)} & self.living()

    def wait_ready(self) -> None:
        """Wait until all workers answer."""
        self.wait_until(
            lambda: self._popen.poll() is not None or len(self.workers()) == self._workers,
            "the server",
        )
        assert self._popen.poll() is None, self.log
        self.wait_for_workers()

    def wait_for_workers(self, *, without: Iterable[int] = ()) -> set[int]:
        """Wait until as many workers as asked for answer, none of them in ``without``."""
        gone = set(without)

        def complete() -> set[int] | None:
            workers = self.workers()
            return workers if len(workers) == self._workers and not workers & gone else None

        workers = self.wait_until(complete, f"{self._workers} workers, not {gone}")
        self.ask_each(workers, "/pid")
        return workers

    def command(self, letter: str) -> None:
        """Write to the master's FIFO: "w" replaces the workers, for example."""
        descriptor = os.open(self._fifo, os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(descriptor, letter.encode())
        finally:
            os.close(descriptor)

    def ask_to_end(self) -> None:
        """Gracefully: else uWSGI skips the end of a worker that has just sent its answer."""
        if self._has_master:
            try:
                self.command("q")
            except OSError:  # it does not read yet, or no more
                super().ask_to_end()
        else:
            for pid in self.workers():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)

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

    def ask_each(self, workers: Iterable[int], path: str = "/") -> dict[int, list[Any]]:
        """Ask, several at a time, until each of these workers has answered.

        The application answers with a JSON object that has its worker's pid under "pid"; all
        answers are returned, by worker.
        """
        wanted = set(workers)
        answers: dict[int, list[Any]] = {}

        def ask(_: int) -> Any:
            return json.loads(self.get(path))

        with ThreadPoolExecutor(8) as executor:

            def asked() -> bool:
                for answer in executor.map(ask, range(16)):
                    answers.setdefault(answer["pid"], []).append(answer)
                return wanted <= answers.keys()

            self.wait_until(asked, f"answers of {wanted}")
        return answers
