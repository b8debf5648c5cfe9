"""Whether a connection that has been idle for a while is still alive."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable

import pytest

from forksafe_pool import Pool
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection, use
from tests.forksafe_pool.threads import LIMIT, wait_in_line

# -- the socket -------------------------------------------------------------------------------


@pytest.fixture
def peers() -> list[socket.socket]:
    return []


@pytest.fixture
def sockets(peers: list[socket.socket], clock: Clock) -> Pool[socket.socket]:
    def connect() -> socket.socket:
        ours, theirs = socket.socketpair()
        peers.append(theirs)
        return ours

    return Pool(connect, max_size=1, check_after=5.0, timeout=0)


def close_all(pool: Pool[socket.socket], peers: list[socket.socket]) -> None:
    assert pool.close(0)
    for peer in peers:
        peer.close()


def test_a_connection_whose_socket_is_silent_is_alive(
    sockets: Pool[socket.socket], peers: list[socket.socket], clock: Clock
) -> None:
    with sockets.connection() as conn:
        pass
    clock.advance(100.0)
    with sockets.connection() as again:
        assert again is conn
    close_all(sockets, peers)


def hang_up(peer: socket.socket) -> None:
    peer.close()


def speak_unasked(peer: socket.socket) -> None:
    peer.send(b"-LOADING")


@pytest.mark.parametrize("what_happens", [hang_up, speak_unasked])
def test_a_connection_whose_socket_has_something_to_read_is_replaced(
    sockets: Pool[socket.socket],
    peers: list[socket.socket],
    clock: Clock,
    what_happens: Callable[[socket.socket], None],
) -> None:
    with sockets.connection() as conn:
        pass
    what_happens(peers[0])
    clock.advance(5.0)
    with sockets.connection() as other:
        assert other is not conn
        assert conn.fileno() == -1
        assert (sockets.stats().total, sockets.stats().closed) == (1, 1)
    close_all(sockets, peers)


def test_a_connection_that_was_closed_behind_the_pool_is_replaced(
    sockets: Pool[socket.socket], peers: list[socket.socket], clock: Clock
) -> None:
    with sockets.connection() as conn:
        pass
    conn.close()
    clock.advance(5.0)
    with sockets.connection() as other:
        assert other is not conn
    close_all(sockets, peers)


@pytest.mark.parametrize("how", ["poll", "select"])
def test_a_connection_whose_descriptor_is_closed_is_replaced(
    connections: Connections, clock: Clock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "select":
        monkeypatch.delattr(select, "poll")
    read, write = os.pipe()
    os.close(read)
    os.close(write)
    pool = Pool(connections, max_size=1, timeout=0, fileno=lambda _: read)
    use(pool)
    clock.advance(1.0)
    assert pool.acquire() is connections.made[1]


def test_a_connection_that_no_longer_tells_its_descriptor_is_replaced(
    connections: Connections, clock: Clock
) -> None:
    def fileno(_: FakeConnection) -> int:
        raise ValueError("the connection is closed")

    pool = Pool(connections, max_size=1, timeout=0, fileno=fileno)
    use(pool)
    clock.advance(1.0)
    assert pool.acquire() is connections.made[1]
    assert connections.made[0].times_closed == 1


def test_a_connection_that_shows_no_socket_is_taken_for_alive(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections)
    use(pool)
    clock.advance(100.0)
    use(pool)
    assert len(connections.made) == 1


# -- check and check_after --------------------------------------------------------------------


@pytest.mark.parametrize("idle", [0.0, 4.999])
def test_what_was_just_used_is_not_checked(
    connections: Connections, clock: Clock, idle: float
) -> None:
    def check(_: FakeConnection) -> bool:
        raise AssertionError("checked")

    pool = Pool(connections, check=check, check_after=5.0)
    use(pool)
    clock.advance(idle)
    assert pool.acquire() is connections.made[0]
    assert len(connections.made) == 1


@pytest.mark.parametrize("check_after", [0.0, 5.0])
def test_what_is_idle_for_check_after_is_checked(
    connections: Connections, clock: Clock, check_after: float
) -> None:
    checked: list[FakeConnection] = []
    pool = Pool(connections, check=checked.append, check_after=check_after)
    use(pool)
    assert not checked  # new: not checked
    clock.advance(check_after)
    conn = pool.acquire()
    assert checked == [conn]


def test_a_waiter_gets_what_was_just_released_unchecked(
    connections: Connections, clock: Clock
) -> None:
    checked: list[FakeConnection] = []
    pool = Pool(connections, max_size=1, check=checked.append, timeout=LIMIT)
    conn = pool.acquire()
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is conn
    assert not checked


@pytest.mark.parametrize("answer", [True, None, 0, "", []])
def test_a_check_that_returns_anything_but_false_finds_it_alive(
    connections: Connections, clock: Clock, answer: object
) -> None:
    pool = Pool(connections, check=lambda _: answer)
    use(pool)
    clock.advance(1.0)
    assert pool.acquire() is connections.made[0]
    assert len(connections.made) == 1


def test_a_check_that_returns_false_gets_it_replaced(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, timeout=0, check=lambda conn: conn.alive)
    use(pool)
    connections.made[0].alive = False
    clock.advance(1.0)
    assert pool.acquire() is connections.made[1]
    assert connections.made[0].times_closed == 1
    assert pool.stats().total == 1


@pytest.mark.parametrize("error", [OSError("gone"), ValueError(), KeyError("pong"), LookupError()])
def test_a_check_that_raises_gets_it_replaced(
    connections: Connections, clock: Clock, error: Exception
) -> None:
    def check(_: FakeConnection) -> None:
        raise error

    pool = Pool(connections, max_size=1, timeout=0, check=check)
    use(pool)
    clock.advance(1.0)
    assert pool.acquire() is connections.made[1]
    assert connections.made[0].times_closed == 1


def test_a_check_that_was_cut_off_closes_the_connection_and_frees_the_place(
    connections: Connections, clock: Clock
) -> None:
    def check(_: FakeConnection) -> None:
        raise SystemExit

    pool = Pool(connections, max_size=1, timeout=0, check=check)
    use(pool)
    clock.advance(1.0)
    with pytest.raises(SystemExit):
        pool.acquire()
    assert connections.made[0].times_closed == 1
    assert pool.stats().total == 0
    assert pool.acquire() is connections.made[1]


def test_a_dead_connection_that_cannot_be_replaced_leaves_a_free_place(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, timeout=0, check=lambda _: False)
    use(pool)
    clock.advance(1.0)
    connections.errors.append(OSError("refused"))
    with pytest.raises(OSError, match="refused"):
        pool.acquire()
    stats = pool.stats()
    assert (stats.total, stats.opened, stats.closed, stats.connect_errors) == (0, 1, 1, 1)
    assert pool.acquire() is connections.made[1]
