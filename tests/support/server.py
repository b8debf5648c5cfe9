"""Real servers of the tests' own, on loopback ports that the kernel picks."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path

LIMIT = 30.0

# PostgreSQL will not run as root, nor MariaDB and memcached without being told to.
UNPRIVILEGED = "nobody" if os.geteuid() == 0 else None


def free_port() -> int:
    """A port that the kernel gives, and for a minute to nobody else: only who names it has it.

    For so long it remembers a connection there, by the side that closed it first. Servers set
    SO_REUSEADDR, and may take such a port.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0] as accepted:
            accepted.shutdown(socket.SHUT_WR)
        return int(address[1])


class Server(ABC):
    """A server process: started by the constructor, ended by `stop` and by nothing else.

    A finalizer that ends it would run in forked children too.
    """

    host = "127.0.0.1"

    def __init__(self, port: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self._log = self.folder / "log.txt"
        self.prepare()
        for _ in range(5):  # another process may take the port between the two
            self.port = port or free_port()
            if self._start():
                return
        said = self._log.read_text(errors="replace")
        self._folder.cleanup()
        raise RuntimeError(f"no {type(self).__name__} came up in {LIMIT} s:\n{said}")

    #: Whom it runs as, where not as the tests do.
    user: str | None = None

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Put into `folder` what must be there before the first start."""

    @abstractmethod
    def command(self) -> list[str]:
        """What starts it, on `port`."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves. May raise OSError where it does not yet."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait(LIMIT)

    def start_again(self) -> None:
        """After `kill`, on the same port; returns when it serves."""
        deadline = time.monotonic() + LIMIT
        while not self._start():  # what the dead one has left behind may take a while to go
            assert time.monotonic() < deadline, self._log.read_text(errors="replace")

    def _start(self) -> bool:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, user=self.user
            )
        if self._comes_up():
            return True
        self._end()
        return False

    def _comes_up(self) -> bool:
        deadline = time.monotonic() + LIMIT
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                if self.answers():
                    return True
            except OSError:
                pass
            time.sleep(0.02)
        return False

    def exchange(self, request: bytes) -> bytes:
        """What the server says to ``request``, for protocols made of lines."""
        with socket.create_connection((self.host, self.port), 1) as sock:
            sock.sendall(request)
            return sock.recv(1024)

    def stop(self) -> None:
        self._end()
        self._folder.cleanup()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(LIMIT)
