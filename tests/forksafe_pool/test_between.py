"""Another thread does something between any two lines of a thread's acquire or release.

CPython 3.10 lets it in at forward jumps, too, and a debugger or a coverage tool at every line.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from forksafe_pool import Pool, PoolClosed, PoolTimeout
from tests.forks.test_signal_handlers import interrupted_at
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import Caller

Fakes = Pool[FakeConnection]


def end_block(pool: Fakes) -> Callable[[], object]:
    lease = pool.connection()
    lease.__enter__()
    return lambda: lease.__exit__(None, None, None)


def release(pool: Fakes) -> Callable[[], object]:
    conn = pool.acquire()
    return lambda: pool.release(conn)


def reap(pool: Fakes) -> Callable[[], object]:
    end = release(pool)
    pool._ledger.reap_at = 0.0
    return end


def fill(pool: Fakes) -> Callable[[], object]:
    pool.resize(min_size=1)
    return pool.fill


Begin = Callable[[Fakes], Callable[[], object]]

GIVES_BACK = pytest.mark.parametrize("begin", [end_block, release, reap, fill])


def between(
    begin: Callable[[], Callable[[], object]], other: Callable[[], object]
) -> Iterator[str]:
    """Have another thread do ``other`` at each line of what ``begin`` returns; yields where."""
    line = 0
    where = ["the start"]
    while where:
        line += 1
        end = begin()
        with (
            interrupted_at(line, lambda: Caller(other).result()) as where,
            contextlib.suppress(PoolClosed, PoolTimeout),
        ):
            end()
        yield from where
    assert line > 5


@GIVES_BACK
def test_a_close(connections: Connections, begin: Begin) -> None:
    pool: Fakes = Pool(connections)

    def prepare() -> Callable[[], object]:
        nonlocal pool
        pool = Pool(connections)
        return begin(pool)

    for where in between(prepare, lambda: pool.close(timeout=0)):
        assert not connections.open, where
        assert pool.stats().total == 0, where


@GIVES_BACK
def test_a_drain(connections: Connections, begin: Begin) -> None:
    pool: Fakes = Pool(connections)
    drained: list[FakeConnection] = []

    def prepare() -> Callable[[], object]:
        nonlocal pool
        pool = Pool(connections)
        return begin(pool)

    def drain() -> None:
        drained[:] = pool._ledger.connections.values()
        pool.drain()

    for where in between(prepare, drain):
        assert not set(drained).intersection(connections.open), where
        assert pool.acquire() not in drained, where
        pool.close(timeout=0)


@GIVES_BACK
def test_a_resize(connections: Connections, begin: Begin) -> None:
    pool: Fakes = Pool(connections)

    def prepare() -> Callable[[], object]:
        nonlocal pool
        pool = Pool(connections, max_size=2)
        end = begin(pool)
        pool.release(pool.acquire())
        return end

    for where in between(prepare, lambda: pool.resize(max_size=1, min_size=0)):
        assert pool.stats().total <= 1, where


@pytest.mark.parametrize("take", [Pool.acquire, Pool.fill])
def test_the_last_place_is_taken(connections: Connections, take: Callable[[Fakes], object]) -> None:
    pool: Fakes = Pool(connections)

    def prepare() -> Callable[[], object]:
        nonlocal pool
        pool = Pool(connections, max_size=1, min_size=1, timeout=0)
        return lambda: take(pool)

    def take_it() -> None:
        with contextlib.suppress(PoolTimeout):
            pool.acquire()

    for where in between(prepare, take_it):
        assert pool.stats().total == 1, where
        assert len(pool._ledger.connections) == 1, where


def test_two_threads_resize(connections: Connections) -> None:
    pool: Fakes = Pool(connections)

    def prepare() -> Callable[[], object]:
        return lambda: pool.resize(max_size=3)

    for where in between(prepare, lambda: pool.resize(max_size=5)):
        assert pool._ledger.max_size == pool.max_size, where
