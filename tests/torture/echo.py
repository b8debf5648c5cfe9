"""A server that says back what it heard, over which connection, and the how manieth time.

python -m tests.torture.echo PORT raw|http|mongo [FOLDER]  with TLS where FOLDER holds a certificate
"""

from __future__ import annotations

import contextlib
import http.server
import itertools
import socket
import socketserver
import ssl
import struct
import sys
from pathlib import Path
from typing import Any

from tests.support.certificates import write_certificate
from tests.support.server import Server

sessions = itertools.count(1)


class Raw(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        session = next(sessions)
        for count in itertools.count(1):
            line = self.rfile.readline()
            if line in (b"", b"quit\n"):
                return
            self.wfile.write(b"%d %d %s" % (session, count, line))


class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._session = next(sessions)
        self._count = 0

    def do_GET(self) -> None:
        self._count += 1
        body = f"{self._session} {self._count} {self.path[1:]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


OP_MSG = 2013
#: The size of it all, the message's number, that of the one it answers, OP_MSG, flags, and the kind
#: of section that is one document.
HEADER = struct.Struct("<iiiiIB")


class Mongo(socketserver.StreamRequestHandler):
    """MongoDB's OP_MSG. Whatever it is asked, it says as well what a server says to `hello`.

    It tells no topologyVersion, without which a client's monitor asks from time to time, and does
    not wait to be told.
    """

    def handle(self) -> None:
        import bson  # which the others can do without

        session = next(sessions)
        for count in itertools.count(1):
            heading = self.rfile.read(HEADER.size)
            if len(heading) < HEADER.size:
                return
            size, request, *_ = HEADER.unpack(heading)
            asked = bson.decode(self.rfile.read(size - HEADER.size))
            said = bson.encode(
                {
                    "ok": 1,
                    "isWritablePrimary": True,
                    "maxWireVersion": 21,  # that of MongoDB 7.0
                    "connectionId": session,
                    "heard": f"{session} {count} {asked.get('echo')}",
                }
            )
            heading = HEADER.pack(HEADER.size + len(said), count, request, OP_MSG, 0, 0)
            self.wfile.write(heading + said)


KINDS = {"raw": Raw, "http": Http, "mongo": Mongo}


class Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128
    tls: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):
            if self.tls is not None:
                request = self.tls.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


class Echo(Server):
    def __init__(self, kind: str, *, tls: bool = False) -> None:
        self._kind = kind
        self._tls = tls
        super().__init__()

    def prepare(self) -> None:
        if self._tls:
            write_certificate(self.folder)

    def command(self) -> list[str]:
        folder = [str(self.folder)] if self._tls else []
        return [sys.executable, "-m", __name__, str(self.port), self._kind, *folder]

    def answers(self) -> bool:
        socket.create_connection((self.host, self.port), 1).close()
        return True


def main(port: str, kind: str, folder: str | None = None) -> None:
    listener = Listener(("127.0.0.1", int(port)), KINDS[kind])
    if folder is not None:
        listener.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        listener.tls.load_cert_chain(Path(folder, "cert.pem"), Path(folder, "key.pem"))
    listener.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
