"""A server that only listens: the kernel accepts for it, so no thread stands by at a fork."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

LIMIT = 10.0


class Server:
    """``connect()`` is a pool's; what the clients sent can be read afterwards."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.settimeout(LIMIT)
        self.port: int = self._listener.getsockname()[1]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), LIMIT)

    def accept(self) -> socket.socket:
        """The server's end of the next connection, in the order of their making."""
        peer, _ = self._listener.accept()
        peer.settimeout(LIMIT)
        return peer

    def received(self) -> list[bytes]:
        """All that each client sent, to its end. For when every client has ended."""
        self._listener.setblocking(False)
        streams: list[bytes] = []
        while True:
            try:
                peer = self.accept()
            except BlockingIOError:
                return streams
            with peer, peer.makefile("rb") as stream:
                streams.append(stream.read())

    def close(self) -> None:
        self._listener.close()


def sockets_to(port: int) -> set[str]:
    """Those of this process that are connected to ``port``, idle ones as well."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target.startswith("socket:"):
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                        found.add(target)
    return found


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    try:
        yield server
    finally:
        server.close()
