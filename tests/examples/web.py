"""A small web server that answers one request after the other as it is told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WORKER = 7
LIMIT = 10.0


class FakeServer(ThreadingHTTPServer):
    """Each request takes the next of ``ways``, the name of a method of `_Handler`."""

    daemon_threads = False  # server_close() waits for them

    def __init__(self, *ways: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ways = list(ways)
        self.asked = 0
        self.over = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are part of it."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = LIMIT  # where a visitor forgot to leave
    server: FakeServer

    def do_GET(self) -> None:
        self.server.asked += 1
        getattr(self, self.server.ways.pop(0))(self.path.rpartition("/")[2])

    def log_message(self, *_: object) -> None: ...

    def _answer(self, body: str, status: int = 200, worker: str | None = str(WORKER)) -> None:
        self.send_response(status)
        if worker is not None:
            self.send_header("X-Worker", worker)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def own(self, token: str) -> None:
        self._answer(token)

    def anothers(self, token: str) -> None:
        self._answer("visit-0123456789abcdef")

    def nonsense(self, token: str) -> None:
        self._answer("None")

    def failure(self, token: str) -> None:
        self._answer("Internal Server Error", 500)

    def unsigned(self, token: str) -> None:
        """As gunicorn itself answers, where no worker can."""
        self._answer(token, worker=None)

    def close(self, token: str) -> None:
        self.close_connection = True

    def half(self, token: str) -> None:
        self.close_connection = True
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Worker: 7\r\nContent-Length: 22\r\n\r\nvisit-")

    def babble(self, token: str) -> None:
        self.close_connection = True
        self.wfile.write(b"I am no web server\r\n\r\n")

    def hang(self, token: str) -> None:
        self.close_connection = True
        self.server.over.wait(LIMIT)


@contextmanager
def serving(*ways: str) -> Iterator[FakeServer]:
    server = FakeServer(*ways)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        thread.join(LIMIT)
        server.server_close()
