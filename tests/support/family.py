"""A program and all the processes that it starts, watched from outside through ``/proc``.

Every wait has a limit, and ends the test with the program's log where it is reached. Only processes
of the family that was started here are ever signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from tests.support.programs import ROOT

T = TypeVar("T")

LIMIT = 30.0


class Family:
    """``with Family(folder, [program, …]) as family: family.wait_until(…)``.

    Parameters:
        folder: its working directory, where its log is written; importable for Python programs.
        command: what to start.
        env: further environment variables.
        paths: further folders to import from.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        env: dict[str, str] | None = None,
        paths: Sequence[str] = (),
    ) -> None:
        self._log = folder / "program.log"
        path = [str(ROOT), str(ROOT / "integrations"), str(folder), *paths]
        with self._log.open("wb") as log:
            self._popen = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Its children may have process groups of their own: RQ's have.
                start_new_session=True,
            )

    # -- what it is ---------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def head(self) -> int:
        """The pid of the process that was started here."""
        return self._popen.pid

    def living(self) -> set[int]:
        """The pids of the family, zombies left out."""
        found = set()
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    stat = Path(f"/proc/{entry}/stat").read_text()
                    state, _, _, session = stat.rpartition(")")[2].split()[:4]
                    if int(session) == self.head and state not in "ZX":  # a zombie has ended
                        found.add(int(entry))
        return found

    def connections(self, port: int) -> dict[int, set[int]]:
        """For each process: the local ports of its TCP connections to ``port``.

        A connection that two processes have open is in both sets: fork copies descriptors, and
        each copy leads to the same socket.
        """
        local_ports = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[2].rpartition(":")[2], 16) == port:
                local_ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
        found: dict[int, set[int]] = {}
        for pid in self.living():
            found[pid] = set()
            with contextlib.suppress(OSError):
                for descriptor in os.scandir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        target = os.readlink(descriptor.path)
                        if target in local_ports:
                            found[pid].add(local_ports[target])
        return found

    # -- what it does -------------------------------------------------------------------------

    def wait_until(self, condition: Callable[[], T | None], what: str) -> T:
        """Wait until ``condition()`` is true, and return what it returned."""
        deadline = time.monotonic() + LIMIT
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {LIMIT} s for {what}\n{self.log}")
            time.sleep(0.02)
        return value

    def signal(self, number: signal.Signals, pid: int | None = None) -> None:
        """Send a signal to one process of the family, its head by default."""
        pid = self.head if pid is None else pid
        assert pid in self.living(), f"{pid} has ended\n{self.log}"
        os.kill(pid, number)

    def wait_exit(self) -> int:
        """Wait until the head has ended by itself; its exit status."""
        return self._popen.wait(LIMIT)

    def ask_to_end(self) -> None:
        """Ask it to end in good order."""
        if self._popen.poll() is None:
            self._popen.terminate()

    def stop(self) -> None:
        """End it in good order, kill what is left after the limit. Twice is harmless."""
        try:
            self.ask_to_end()
            self.wait_until(lambda: not self.living(), "the end of every process")
        finally:
            for pid in self.living():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._popen.wait(LIMIT)

    def wait_ready(self) -> None:
        """Wait until it serves."""

    def __enter__(self: T) -> T:
        assert isinstance(self, Family)
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
