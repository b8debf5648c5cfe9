"""What stands between a client and its server, and breaks as networks do."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

LIMIT = 20.0


class FaultyProxy:
    """Passes everything on, until it is told otherwise. Of threads, which end with `close`.

    Not `tests.support.proxy`, which serves one program and counts, nor `tests.support.relay`,
    whose clients end by themselves: those two stay as simple as they are.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._lock = threading.Lock()
        self._changed = threading.Condition()
        self._holds_requests = False
        #: How many bytes of replies may still pass. None: any number.
        self._allowance: int | None = None
        self._cut: tuple[int, bool] | None = None
        #: Set when a client has sent, or is owed, something that is held back, or cut off.
        self.struck = threading.Event()
        self._links: list[_Link] = []
        self._listener: socket.socket | None = None
        self._acceptor: threading.Thread | None = None
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Take connections, as at first."""
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def refuse(self) -> None:
        """Take no more connections, and reset those that there are."""
        if self._listener is not None and self._acceptor is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(LIMIT)
            assert not self._acceptor.is_alive()
            self._listener.close()
            self._listener = None
        self.reset()

    def reset(self) -> None:
        """End every connection at once, as a router that has forgotten them does."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.abandoned.set()
        with self._changed:
            self._changed.notify_all()
        for link in links:
            link.reset()

    def drop(self) -> None:
        """Pass on nothing, in neither direction."""
        self.struck.clear()
        with self._changed:
            self._holds_requests = True
            self._allowance = 0

    def hold_replies(self, after: int = 0) -> None:
        """Pass on requests, and so many bytes of replies."""
        self.struck.clear()
        with self._changed:
            self._allowance = after

    def let_through(self, length: int) -> None:
        """So many bytes more of what is held back."""
        with self._changed:
            assert self._allowance == 0
            self._allowance = length
            self._changed.notify_all()

    def pass_on(self) -> None:
        """Everything again, and also what was held back."""
        with self._changed:
            self._holds_requests = False
            self._allowance = None
            self._changed.notify_all()

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
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._server_port), LIMIT)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._links.append(_Link(client, server, self._pump))

    def _pump(self, source: socket.socket, target: socket.socket, link: _Link) -> None:
        is_reply = source is link.server
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if not is_reply:
                    self._wait_until(lambda: not self._holds_requests, link)
                    target.sendall(chunk)
                elif self._cut is None:
                    self._pass_reply(chunk, target, link)
                else:
                    (length, silently), self._cut = self._cut, None
                    target.sendall(chunk[:length])
                    self.struck.set()
                    while silently and source.recv(65536):
                        pass
                    break
        if link.abandoned.is_set():
            return  # with a goodbye it would be no reset
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _pass_reply(self, chunk: bytes, target: socket.socket, link: _Link) -> None:
        while chunk:
            with self._changed:
                self._wait_until(lambda: self._allowance != 0, link)
                passing = chunk
                if self._allowance is not None:
                    passing = chunk[: self._allowance]
                    self._allowance -= len(passing)
            target.sendall(passing)
            chunk = chunk[len(passing) :]

    def _wait_until(self, may_pass: Callable[[], bool], link: _Link) -> None:
        with self._changed:
            if not may_pass():
                self.struck.set()
                self._changed.wait_for(lambda: may_pass() or link.abandoned.is_set(), LIMIT)
                if not may_pass():
                    raise ConnectionResetError


class _Link:
    """A client's connection, the server's, and a thread for each direction."""

    def __init__(
        self,
        client: socket.socket,
        server: socket.socket,
        pump: Callable[[socket.socket, socket.socket, _Link], None],
    ) -> None:
        self.server = server
        self.abandoned = threading.Event()
        self._sockets = (client, server)
        self._threads = [
            threading.Thread(target=pump, args=(*ends, self), daemon=True)
            for ends in ((client, server), (server, client))
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
