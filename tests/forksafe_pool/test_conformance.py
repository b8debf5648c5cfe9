"""The conformance suite with the simplest driver there is: a socket, and a server that echoes."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from forksafe_pool import Pool
from forksafe_pool.conformance import DriverConformance
from tests.torture.echo import Echo

LIMIT = 20.0


@pytest.fixture(scope="module")
def echo_server() -> Iterator[Echo]:
    server = Echo("raw")
    yield server
    server.stop()


class TestSocket(DriverConformance):
    warns_when_dropped = True

    @pytest.fixture(autouse=True)
    def connect_to(self, echo_server: Echo) -> None:
        self.port = echo_server.port

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        address = "127.0.0.1", port or self.port or 0

        def reset(conn: socket.socket) -> bool:
            """Whether every reply has been read."""
            return not self.finish(conn)

        return Pool(lambda: socket.create_connection(address, LIMIT), reset=reset, **options)

    def echo(self, conn: Any, text: str) -> str:
        send(conn, text)
        return read(conn).text

    def session_id(self, conn: Any) -> Any:
        send(conn, "who")
        return read(conn).session

    def begin(self, conn: Any) -> None:
        send(conn, "unread")

    def finish(self, conn: Any) -> bool:
        send(conn, "end")
        was_there = False
        while (text := read(conn).text) != "end":
            assert text == "unread"
            was_there = True
        return was_there

    def killer(self, conn: Any) -> Callable[[], object]:
        def kill() -> None:
            send(conn, "quit")
            assert select.select([conn], [], [], LIMIT)[0]

        return kill


class Reply(NamedTuple):
    session: int
    #: Which of the session's.
    number: int
    text: str


def send(conn: socket.socket, text: str) -> None:
    conn.sendall(text.encode() + b"\n")


def read(conn: socket.socket) -> Reply:
    heard = b""
    while not heard.endswith(b"\n"):
        byte = conn.recv(1)
        assert byte, "end of file"
        heard += byte
    session, number, text = heard.decode().split()
    return Reply(int(session), int(number), text)
