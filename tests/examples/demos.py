"""Run the demo, and find every process that it has started, wherever that has gone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tests.support.programs import ROOT

T = TypeVar("T")

LIMIT = 60.0


class Demo:
    """``python -m examples.demo``, in a session of its own.

    Its processes are known by a mark in their environment, which every child inherits, and by
    their working directory: Valkey writes over its environment.

    Parameters:
        folder: for its files and all that it prints.
        arguments: of the demo.
        program: what to run instead: the arguments of the interpreter.
    """

    def __init__(self, folder: Path, *arguments: str, program: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._mark = f"DEMO_MARK={uuid.uuid4().hex}"
        self._out, self._err = folder / "stdout", folder / "stderr"
        name, _, value = self._mark.partition("=")
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._popen = subprocess.Popen(
                [sys.executable, *(program or ("-m", "examples.demo")), *arguments],
                cwd=ROOT,
                env={**os.environ, name: value, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    def processes(self) -> set[int]:
        """The pids of what lives."""
        found = set()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    marked = self._mark.encode() in (entry / "environ").read_bytes().split(b"\0")
                    here = (entry / "cwd").readlink().is_relative_to(self._folder)
                    state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                    if (marked or here) and state not in "ZX":
                        found.add(int(entry.name))
        return found

    def wait_until(self, condition: Callable[[], T | None], what: str) -> T:
        deadline = time.monotonic() + LIMIT
        while not (value := condition()):
            if time.monotonic() > deadline or self._popen.poll() is not None:
                raise AssertionError(f"waited for {what}\n{self.out}\n{self.err}")
            time.sleep(0.02)
        return value

    def signal(self, number: signal.Signals) -> None:
        """To the demo and its process group, as a terminal does it: Valkey is in it."""
        os.killpg(self._popen.pid, number)

    def wait(self) -> int:
        """Wait until it ends; the exit status."""
        return self._popen.wait(LIMIT)

    def stop(self) -> None:
        """End what is left, the demo first."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait(LIMIT)
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def demo(*arguments: str, program: tuple[str, ...] = ()) -> Iterator[Demo]:
    # Not pytest's folder: gunicorn makes a Unix socket in it, whose path must be short.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = Demo(Path(folder), *arguments, program=program)
        try:
            yield running
        finally:
            running.stop()
