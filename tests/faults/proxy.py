"""What stands between a client and its server, and breaks as networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

LIMIT = 20.0


class FaultyProxy:
    """Passes everything on, until it is told otherwise. Of threads, which end with `close`."""

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._lock = threading.Lock()
        self._passes = threading.Event()
        self._passes.set()
        #: Set when a client has sent something that is held back, or cut off.
        self.struck = threading.Event()
        self._cut: tuple[int, bool] | None = None
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Take connections, as at first."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Take no more connections, and reset those that there are."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.reset()

    def reset(self) -> None:
        """End every connection at once, as a router that has forgotten them does."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.reset()

    def drop(self) -> None:
        """Pass on nothing, in neither direction."""
        self.struck.clear()
        self._passes.clear()

    def pass_on(self) -> None:
        """And also what was held back."""
        self._passes.set()

    def cut_next_reply(self, length: int, *, silently: bool) -> None:
        """Pass on so many bytes of the next reply; then hang up, or say nothing more for ever."""
        self.struck.clear()
        self._cut = (length, silently)

    def close(self) -> None:
        self.pass_on()
        self.refuse()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port), LIMIT)
            except OSError:
                return
            server.settimeout(None)
            with self._lock:
                self._links.append(_Link(client, server, self._pump))

    def _pump(self, source: socket.socket, target: socket.socket, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if not self._passes.is_set():
                    self.struck.set()
                    self._passes.wait(LIMIT)
                if is_reply and self._cut is not None:
                    (length, silently), self._cut = self._cut, None
                    target.sendall(chunk[:length])
                    self.struck.set()
                    if silently:
                        continue
                    break
                target.sendall(chunk)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class _Link:
    """A client's connection, the server's, and a thread for each direction."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        pump: Callable[[socket.socket, socket.socket, bool], None],
    ) -> None:
        self._sockets = (client, server)
        self._threads = [
            threading.Thread(target=pump, args=arguments, daemon=True)
            for arguments in ((client, server, False), (server, client, True))
        ]
        for thread in self._threads:
            thread.start()

    def reset(self) -> None:
        """Returns when both ends have heard of it."""
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)  # wakes the thread that reads it
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        for sock in self._sockets:
            sock.close()
