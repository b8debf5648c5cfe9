"""A pool of anything: plain sockets here, to a tiny server that says which connection it is.

python examples/any_driver.py
"""

from __future__ import annotations

import itertools
import multiprocessing
import socket
import socketserver
import sys

from forksafe_pool import Pool

fork = multiprocessing.get_context("fork").Process


class Answer(socketserver.BaseRequestHandler):
    """Send back what came, and the number of the connection."""

    numbers = itertools.count(1)

    def handle(self) -> None:
        number = next(self.numbers)
        while message := self.request.recv(1024):
            self.request.sendall(b"%s, over connection %d" % (message, number))


server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer)
address = ("127.0.0.1", server.server_address[1])
pool = Pool(lambda: socket.create_connection(address, timeout=5), max_size=2)


def hello(name: str) -> None:
    with pool.connection() as conn:
        conn.sendall(f"hello from {name}".encode())
        print(conn.recv(1024).decode(), flush=True)


def main() -> None:
    serving = fork(target=server.serve_forever)
    serving.start()
    server.server_close()  # ours, not the one that serves
    children = [fork(target=hello, args=(f"child {number}",)) for number in range(3)]
    try:
        hello("the parent")
        for child in children:
            child.start()
            child.join()
        hello("the parent")
    finally:
        serving.terminate()
        serving.join()
        pool.close()
    sys.exit(any(child.exitcode for child in children))


if __name__ == "__main__":
    main()
