"""fill: connect before the first request comes."""

from __future__ import annotations

import pytest

from forksafe_pool import Pool, PoolClosed
from tests.forksafe_pool.fakes import Connections, FakeConnection


def test_fill_connects_up_to_min_size(connections: Connections) -> None:
    pool = Pool(connections, max_size=5, min_size=3)
    pool.fill()
    assert len(connections.made) == 3
    assert pool.stats().available == pool.stats().total == 3
    pool.fill()
    assert len(connections.made) == 3


def test_fill_counts_what_is_there_already(connections: Connections) -> None:
    pool = Pool(connections, max_size=5, min_size=3)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    pool.fill()
    assert len(connections.made) == 3
    assert (pool.stats().available, pool.stats().in_use) == (2, 1)
    assert not busy.closed


def test_fill_without_min_size_does_nothing(connections: Connections) -> None:
    Pool(connections).fill()
    assert not connections.made


def test_fill_keeps_what_it_had_connected_when_connect_fails() -> None:
    connections = Connections()

    def connect() -> FakeConnection:
        if len(connections.made) == 2:
            raise OSError("refused")
        return connections()

    pool = Pool(connect, max_size=5, min_size=4)
    with pytest.raises(OSError, match="refused"):
        pool.fill()
    assert len(connections.open) == 2
    assert (pool.stats().available, pool.stats().total) == (2, 2)


def test_fill_of_a_closed_pool_is_refused(connections: Connections) -> None:
    pool = Pool(connections, min_size=1)
    pool.close()
    with pytest.raises(PoolClosed):
        pool.fill()
    assert not connections.made
