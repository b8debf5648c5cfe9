"""What stands between a program and its server, and counts what each connection has said."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess

LIMIT = 30.0

#: What a program prints to be told, by one line of JSON on its standard input, what was heard.
QUESTION = "heard?"


class Proxy:
    """Serves one program from one thread: nothing of it stands by at a fork.

    What a client sends is in the proxy's buffers when the client's call returns, so what was said
    before a question was asked is in the answer.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((host, 0), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]
        self._other: dict[socket.socket, socket.socket] = {}
        self._clients: dict[socket.socket, int] = {}
        #: By the client's port: how many bytes it has sent, and whether it has ended.
        self.heard: dict[int, list[int]] = {}

    def serve(self, program: subprocess.Popen[bytes]) -> str:
        """Serve ``program`` until it closes its output. Returns what it printed but questions."""
        assert program.stdout is not None
        assert program.stdin is not None
        os.set_blocking(program.stdout.fileno(), False)
        self._selector.register(program.stdout, selectors.EVENT_READ)
        said = b""
        while True:
            assert self._pump(LIMIT, program.stdout), f"the program was silent for {LIMIT} s"
            chunk = program.stdout.read()
            if chunk == b"":
                return said.decode()
            said += chunk or b""
            question = QUESTION.encode() + b"\n"
            if said.endswith(question):
                said = said.removesuffix(question)
                while self._pump(0, program.stdout):
                    pass
                program.stdin.write(json.dumps(self.heard).encode() + b"\n")
                program.stdin.flush()

    def _pump(self, timeout: float, others: object) -> bool:
        """Pass on what there is. Whether there was any, or what ``others`` said."""
        ready = [key.fileobj for key, _ in self._selector.select(timeout)]
        for source in ready:
            if source is self._listener:
                self._accept()
            elif isinstance(source, socket.socket):
                self._pass_on(source)
        return bool(ready) if timeout else any(source is not others for source in ready)

    def _accept(self) -> None:
        client, address = self._listener.accept()
        server = socket.create_connection(self._server, LIMIT)
        client.settimeout(LIMIT)
        self.heard[address[1]] = [0, 0]
        self._clients[client] = address[1]
        for source, target in ((client, server), (server, client)):
            self._other[source] = target
            self._selector.register(source, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        try:
            chunk = source.recv(65536)
        except OSError:
            chunk = b""
        if source in self._clients:
            heard = self.heard[self._clients[source]]
            heard[0] += len(chunk)
            heard[1] |= not chunk
        with contextlib.suppress(OSError):
            if chunk:
                self._other[source].sendall(chunk)
            else:
                self._selector.unregister(source)
                self._other[source].shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._selector.close()
        self._listener.close()
        for sock in self._other:
            sock.close()
