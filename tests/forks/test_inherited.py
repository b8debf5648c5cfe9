"""What a child finds of its parent's pool, and what the parent notices of it: nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from forksafe_pool import Pool
from tests.support.forks import c_fork, in_child, open_sockets, os_fork

FORKS = pytest.mark.parametrize("fork", [os_fork, c_fork])


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield listener


@FORKS
def test_a_child_gets_a_connection_of_its_own(
    listener: socket.socket, fork: Callable[[], int]
) -> None:
    pool = Pool(lambda: socket.create_connection(listener.getsockname()))
    with pool.connection() as conn:
        mine = conn.getsockname()

    def child() -> tuple[object, int, int]:
        with pool.connection() as conn:
            return conn.getsockname(), pool.stats().total, pool.stats().severed

    theirs, total, severed = in_child(child, fork)
    assert theirs != mine
    assert (total, severed) == (1, 1)
    with pool.connection() as conn:
        assert conn.getsockname() == mine
    pool.close()


def test_a_child_holds_no_socket_of_the_parent_before_its_first_use(
    listener: socket.socket,
) -> None:
    before = open_sockets()
    pool = Pool(lambda: socket.create_connection(listener.getsockname()))
    idle, in_use = pool.acquire(), pool.acquire()
    pool.release(idle)
    ours = open_sockets() - before
    assert len(ours) == 2
    assert not ours & in_child(open_sockets)
    pool.release(in_use)
    pool.close()
