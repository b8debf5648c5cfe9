"""A TCP relay between clients and a server, which can hold back the server's replies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

LIMIT = 20.0


class Relay:
    """Forwards each client connection to the server on ``port``.

    Its threads end when the connections are closed.

    Parameters:
        port: the server's port, on this host.
        hold_first: whether the first client gets no reply before `let_go`.
    """

    def __init__(self, port: int, *, hold_first: bool = True) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._hold_first = hold_first
        self._first = threading.Event()
        self._has_held = threading.Event()
        #: One for each client: replies are forwarded while it is set.
        self._gates: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._start(self._accept)

    def wait_for_the_first(self) -> None:
        """Wait until a client has connected."""
        assert self._first.wait(LIMIT)

    def hold(self) -> None:
        """Hold back the replies to the current clients until `let_go`; not those to later ones."""
        for gate in self._gates:
            gate.clear()

    def wait_until_holding(self) -> None:
        """Wait until a reply is held back."""
        assert self._has_held.wait(LIMIT)

    def let_go(self) -> None:
        for gate in self._gates:
            gate.set()

    def stop(self) -> None:
        """Call it when every client has ended."""
        self.let_go()
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
            gate, always = threading.Event(), threading.Event()
            always.set()
            if self._first.is_set() or not self._hold_first:
                gate.set()
            self._gates.append(gate)
            self._start(self._pass_on, client, server, always)
            self._start(self._pass_on, server, client, gate)
            self._first.set()

    def _pass_on(self, source: socket.socket, target: socket.socket, gate: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if not gate.is_set():
                    self._has_held.set()
                    gate.wait(LIMIT)
                target.sendall(chunk)
        for sock in (source, target):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
