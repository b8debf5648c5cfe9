"""The demo's witness sees the connections that processes share."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from examples.demo.sockets import Witness
from tests.support.forks import Child
from tests.support.valkey import Valkey

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/net/tcp")


class FakeServer:
    """This process as the master, and children as the workers."""

    master = os.getpid()

    def __init__(self, workers: set[int]) -> None:
        self.workers = workers.copy


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """To which nobody else is connected."""
    server = Valkey()
    yield server
    server.stop()


def connect(valkey: Valkey) -> socket.socket:
    sock = socket.create_connection((valkey.host, valkey.port), 5)
    sock.sendall(b"PING\r\n")
    assert sock.recv(100) == b"+PONG\r\n"
    return sock


@contextmanager
def workers(valkey: Valkey, *connecting: bool) -> Iterator[set[int]]:
    """Children that have what this process has open, and perhaps a connection of their own."""
    said, say = os.pipe()
    hear, end = os.pipe()

    def work(connects: bool) -> None:
        os.close(end)
        own = connect(valkey) if connects else None
        os.write(say, b".")
        os.read(hear, 1)
        if own is not None:
            own.close()

    children = [Child(partial(work, connects)) for connects in connecting]
    try:
        for _ in children:
            assert os.read(said, 1) == b"."
        yield {child.pid for child in children}
    finally:
        os.close(end)
        for child in children:
            child.result()
        for descriptor in (said, say, hear):
            os.close(descriptor)


def look(valkey: Valkey, pids: set[int]) -> Witness:
    server: Any = FakeServer(pids)
    witness = Witness(server, valkey.port)
    witness.look()
    witness.look()
    witness.close()
    assert witness.looks == 2
    return witness


def test_a_connection_that_workers_inherited_is_seen(own_valkey: Valkey) -> None:
    with connect(own_valkey), workers(own_valkey, False, False) as pids:
        witness = look(own_valkey, pids)
    assert (witness.shared, witness.inherited) == (1, 2)
    assert witness.per_worker == [1, 1]
    assert witness.masters == 2  # the witness itself has the other


def test_a_connection_that_two_workers_share_without_the_master_is_seen(
    own_valkey: Valkey,
) -> None:
    sock = connect(own_valkey)
    with workers(own_valkey, False, False) as pids:
        sock.close()
        witness = look(own_valkey, pids)
    assert (witness.shared, witness.inherited) == (1, 0)


def test_connections_of_their_own_are_not_shared_nor_is_what_leads_elsewhere(
    own_valkey: Valkey,
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        socket.create_connection(other.getsockname(), 5),
        workers(own_valkey, True, True) as pids,
    ):
        witness = look(own_valkey, pids)
    assert (witness.shared, witness.inherited) == (0, 0)
    assert witness.per_worker == [1, 1]


def test_the_worst_is_remembered(own_valkey: Valkey) -> None:
    server: Any = FakeServer(set())
    with connect(own_valkey), workers(own_valkey, False) as pids:
        witness = Witness(server, own_valkey.port)
        server.workers = pids.copy
        witness.look()
    server.workers = set
    witness.look()
    witness.close()
    assert (witness.shared, witness.inherited, witness.masters) == (1, 1, 1)
    assert witness.per_worker == []
