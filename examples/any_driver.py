"""A pool of anything: plain sockets here, to a tiny server that says which connection it is.

python examples/any_driver.py
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
from collections.abc import Callable

from forksafe_pool import Pool

listener = socket.create_server(("127.0.0.1", 0))
pool = Pool(lambda: socket.create_connection(listener.getsockname(), timeout=5), max_size=2)


def serve() -> None:
    """Answer every message with the number of the connection that it came over."""

    def answer(number: int, conn: socket.socket) -> None:
        with conn:
            while message := conn.recv(1024):
                conn.sendall(b"%s, over connection %d" % (message, number))

    for number in itertools.count(1):
        conn, _ = listener.accept()
        threading.Thread(target=answer, args=(number, conn), daemon=True).start()


def fork(function: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            function()
            status = 0
        finally:
            os._exit(status)
    return pid


def hello(name: str) -> None:
    with pool.connection() as conn:
        conn.sendall(f"hello from {name}".encode())
        print(conn.recv(1024).decode(), flush=True)


def main() -> None:
    server = fork(serve)
    try:
        hello("the parent")
        for _ in range(3):
            os.waitpid(fork(lambda: hello(f"child {os.getpid()}")), 0)
        hello("the parent")
    finally:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)
        pool.close()
        listener.close()


if __name__ == "__main__":
    main()
