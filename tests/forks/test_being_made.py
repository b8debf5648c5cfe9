"""A fork while a connection is being made."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql
import pytest
import redis

import forksafe_sqlalchemy
from forksafe_pool import Pool
from forksafe_pool.conformance.relay import Relay
from forksafe_redis import BlockingConnectionPool
from tests.forks.servers import serving, sockets_to
from tests.forksafe_pool.threads import Caller
from tests.support.certificates import write_certificate
from tests.support.forks import Child, in_child, open_sockets
from tests.support.programs import run_program
from tests.support.sql import make_pool, session_id

LIMIT = 10.0


class SlowServer:
    """Accepts, and lets connect() go on when it is told to."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.under_way = threading.Event()
        self.proceed = threading.Event()

    def dial(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname())

    def handshake(self) -> None:
        self.under_way.set()
        assert self.proceed.wait(LIMIT)

    def connect(self) -> socket.socket:
        sock = self.dial()
        self.handshake()
        return sock

    def configure(self, sock: socket.socket) -> None:
        self.handshake()


@pytest.mark.parametrize("stage", ["connect", "configure"])
def test_the_parent_finishes_it_and_the_child_holds_nothing_of_it(
    stage: str, fork: Callable[[], int]
) -> None:
    server = SlowServer()
    with closing(server.listener):
        if stage == "connect":
            pool = Pool(server.connect, max_size=2)
        else:
            pool = Pool(server.dial, configure=server.configure, max_size=2)
        before = open_sockets()
        made: list[socket.socket] = []
        thread = threading.Thread(target=lambda: made.append(pool.acquire()))
        thread.start()
        assert server.under_way.wait(LIMIT)
        ours = open_sockets() - before
        assert len(ours) == 1

        def child() -> tuple[set[str], int]:
            total = pool.stats().total  # after a C-level fork the first use severs
            return open_sockets() & ours, total

        assert in_child(child, fork, LIMIT) == (set(), 0)
        server.proceed.set()
        thread.join(LIMIT)
        peer, _ = server.listener.accept()
        with closing(peer):
            peer.sendall(b"still yours")
            assert made[0].recv(100) == b"still yours"
        pool.release(made[0])
        pool.close()


class KeepsAnAttribute:
    """As PyMySQL's and most others in Python."""

    def __init__(self, server: SlowServer) -> None:
        self.sock = server.dial()
        server.handshake()


class KeepsAnotherObject:
    def __init__(self, server: SlowServer) -> None:
        self.streams = {"main": [KeepsAnAttribute(server).sock]}

    def fileno(self) -> int:
        return self.streams["main"][0].fileno()

    @property
    def sock(self) -> socket.socket:
        return self.streams["main"][0]


class KeepsAStream:
    """The socket object itself is kept nowhere."""

    def __init__(self, server: SlowServer) -> None:
        with server.dial() as sock:
            self.stream = sock.makefile("rwb")
        server.handshake()
        self.fileno = self.stream.fileno

    @property
    def sock(self) -> Any:
        return self.stream


class KeepsACell:
    def __init__(self, server: SlowServer) -> None:
        sock = server.dial()

        def greet() -> socket.socket:
            server.handshake()
            return sock

        self.sock = greet()


@pytest.mark.parametrize("driver", [KeepsAnAttribute, KeepsAnotherObject, KeepsAStream, KeepsACell])
def test_the_server_sees_the_end_while_the_child_lives(
    driver: type[Any], fork: Callable[[], int]
) -> None:
    """Wherever a driver keeps its socket while it connects."""
    server = SlowServer()
    stay, leave = os.pipe()
    with closing(server.listener):
        pool: Pool[Any] = Pool(lambda: driver(server), timeout=LIMIT)
        caller = Caller(pool.acquire)
        assert server.under_way.wait(LIMIT)
        port = server.listener.getsockname()[1]
        (ours,) = sockets_to(port)

        def child() -> set[str]:
            pool.stats()  # after a C-level fork the first use severs
            left = sockets_to(port) & {ours}
            assert os.read(stay, 1) == b"."
            return left

        other = Child(child, fork)
        try:
            server.proceed.set()
            conn = caller.result(LIMIT)
            peer, _ = server.listener.accept()
            with closing(peer):
                peer.settimeout(LIMIT)
                conn.sock.close()
                assert peer.recv(1) == b""
        finally:
            os.write(leave, b".")
            left = other.result(LIMIT)
        assert left == set()
    os.close(stay)
    os.close(leave)


def test_a_tls_handshake_under_way(fork: Callable[[], int], tmp_path: Path) -> None:
    write_certificate(tmp_path)
    clients = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    servers = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    servers.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with serving() as server:
        pool = Pool(lambda: clients.wrap_socket(server.connect(), server_hostname="localhost"))
        caller = Caller(pool.acquire)
        peer = server.accept()
        assert peer.recv(1, socket.MSG_PEEK)  # the client's hello
        (ours,) = sockets_to(server.port)

        def child() -> set[str]:
            pool.stats()
            return sockets_to(server.port) & {ours}

        assert in_child(child, fork, LIMIT) == set()
        with closing(servers.wrap_socket(peer, server_side=True)) as secure:
            conn = caller.result(LIMIT)
            conn.sendall(b"still ours")
            assert secure.recv(100) == b"still ours"
            pool.discard(conn)


@pytest.mark.parametrize("driver", ["redis", "pymysql", "sqlalchemy"])
def test_a_real_driver_in_the_middle_of_its_handshake(
    driver: str, fork: Callable[[], int], request: pytest.FixtureRequest
) -> None:
    """The server's first words are held back meanwhile."""
    server = request.getfixturevalue("valkey" if driver == "redis" else "mariadb")
    relay = Relay(server.port)
    pool, ask = {"redis": by_redis, "pymysql": by_pymysql, "sqlalchemy": by_sqlalchemy}[driver](
        relay.port
    )
    caller = Caller(ask)
    relay.wait_for_the_first()
    (ours,) = sockets_to(relay.port)

    def child() -> tuple[set[str], int]:
        theirs = ask()
        return sockets_to(relay.port) & {ours}, theirs

    left, theirs = in_child(child, fork, LIMIT)
    assert left == set()
    relay.let_go()
    assert caller.result(LIMIT) != theirs
    pool.close()
    relay.stop()


def by_redis(port: int) -> tuple[Pool[Any], Callable[[], int]]:
    pool = BlockingConnectionPool(host="127.0.0.1", port=port, max_connections=2)
    client: Any = redis.Redis(connection_pool=pool)

    return pool._pool, client.client_id


def by_pymysql(port: int) -> tuple[Pool[Any], Callable[[], int]]:
    pool = make_pool("pymysql", str(port), max_size=2)

    def ask() -> int:
        with pool.connection() as conn:
            return session_id(conn)

    return pool, ask


def by_sqlalchemy(port: int) -> tuple[Pool[Any], Callable[[], int]]:
    pool = forksafe_sqlalchemy.QueuePool(
        lambda: pymysql.connect(host="127.0.0.1", port=port, user="root"), pool_size=2
    )

    def ask() -> int:
        with closing(pool.connect()) as conn:
            return session_id(conn.driver_connection)

    return pool._pool, ask


FORKS_INSIDE_CONNECT = r"""
import os, socket
from forksafe_pool import Pool

pids = []

def serve(listener):
    def connect():
        # The listener, which this function closes over, is none of the pool's sockets.
        sock = socket.create_connection(listener.getsockname())
        if not pids:
            pids.append(os.fork())
        return sock

    with Pool(connect) as pool, pool.connection() as conn:
        os.write(1, f"{conn.getsockname()[1]}\n".encode())
    if pids[0]:
        os.waitpid(pids[0], 0)

with socket.create_server(("127.0.0.1", 0)) as listener:
    serve(listener)
"""


def test_a_child_that_comes_out_of_connect_gets_a_connection_of_its_own() -> None:
    """A greenlet does, or a connect that forks: what it made is the parent's as well."""
    ports = run_program(FORKS_INSIDE_CONNECT).split()
    assert len(set(ports)) == 2


def test_a_connection_that_is_being_closed_is_severed(fork: Callable[[], int]) -> None:
    """Its driver may be in the middle of saying goodbye."""
    under_way, proceed = threading.Event(), threading.Event()

    def close(sock: socket.socket) -> None:
        under_way.set()
        assert proceed.wait(LIMIT)
        sock.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        before = open_sockets()
        pool = Pool(lambda: socket.create_connection(listener.getsockname()), close=close)
        conn = pool.acquire()
        ours = open_sockets() - before
        thread = threading.Thread(target=pool.discard, args=(conn,))
        thread.start()
        assert under_way.wait(LIMIT)

        def child() -> set[str]:
            pool.stats()
            return open_sockets() & ours

        assert in_child(child, fork, LIMIT) == set()
        proceed.set()
        thread.join(LIMIT)
        assert pool.stats().total == 0


TWO_FORKS = r"""
# logging takes a lock around each fork: before anything of ours.
import logging, os, signal, socket, sys, threading
from tests.support.forks import open_sockets

signal.alarm(30)
LIMIT = 20
paused, go_on = threading.Event(), threading.Event()


def before():
    # Registered before the pool's, so run after it.
    if threading.current_thread().name == "first":
        paused.set()
        assert go_on.wait(LIMIT)


os.register_at_fork(before=before)
from forksafe_pool import Pool

under_way, proceed = threading.Event(), threading.Event()


def connect():
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    under_way.set()
    assert proceed.wait(LIMIT)
    return sock


statuses = []


def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(len(open_sockets() & ours))
    statuses.append(os.waitpid(pid, 0)[1])


before_it = open_sockets()
pool = Pool(connect)
threads = [threading.Thread(target=pool.acquire), threading.Thread(target=fork, name="first")]
threads[0].start()
assert under_way.wait(LIMIT)
ours = open_sockets() - before_it
assert len(ours) == 1
threads[1].start()
assert paused.wait(LIMIT)
fork()
go_on.set()
threads[1].join()
proceed.set()
threads[0].join()
print(statuses)
"""


def test_two_threads_that_fork_at_the_same_time() -> None:
    """The one is through with it while the other's hooks run."""
    with serving() as server:
        assert run_program(TWO_FORKS, str(server.port)) == "[0, 0]\n"
