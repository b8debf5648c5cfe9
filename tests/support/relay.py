"""What stands between a client and a server, and lets the first client wait."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

LIMIT = 20.0


class Relay:
    """Passes on what clients say to ``port`` and what they hear, each on its own connection.

    The first client hears nothing before `let_go`. The threads end with the connections.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._first = threading.Event()
        self._proceed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def wait_for_the_first(self) -> None:
        assert self._first.wait(LIMIT)

    def let_go(self) -> None:
        self._proceed.set()

    def stop(self) -> None:
        """For when every client has ended."""
        self._proceed.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server_port), LIMIT)
            server.settimeout(None)
            self._sockets += (client, server)
            holds = not self._first.is_set()
            self._start(self._pass_on, client, server, False)
            self._start(self._pass_on, server, client, holds)
            self._first.set()

    def _pass_on(self, source: socket.socket, target: socket.socket, holds: bool) -> None:
        if holds:
            self._proceed.wait(LIMIT)
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
