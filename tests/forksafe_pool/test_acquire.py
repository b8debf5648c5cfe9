"""What acquire hands out: a warm connection, or a new one up to max_size."""

from __future__ import annotations

import threading

import pytest

from forksafe_pool import Pool, PoolError, PoolTimeout
from tests.forksafe_pool.fakes import Connections, FakeConnection
from tests.forksafe_pool.threads import LIMIT, Caller, together


def test_nothing_is_connected_before_the_first_acquire(connections: Connections) -> None:
    Pool(connections, min_size=2)
    assert not connections.made


def test_grows_to_max_size_and_no_further(connections: Connections) -> None:
    pool = Pool(connections, max_size=3, timeout=0)
    held = [pool.acquire() for _ in range(3)]
    assert held == connections.made
    with pytest.raises(PoolTimeout):
        pool.acquire()
    assert len(connections.made) == 3


def test_a_released_connection_is_reused(connections: Connections) -> None:
    pool = Pool(connections, max_size=3)
    for _ in range(5):
        pool.release(pool.acquire())
    assert len(connections.made) == 1


def test_the_last_released_is_the_first_reused(connections: Connections) -> None:
    pool = Pool(connections, max_size=3)
    first, second, third = (pool.acquire() for _ in range(3))
    for conn in (second, third, first):
        pool.release(conn)
    assert [pool.acquire() for _ in range(3)] == [first, third, second]


def test_no_connection_is_handed_out_twice_at_a_time() -> None:
    lock = threading.Lock()
    held: set[int] = set()
    live: set[int] = set()
    most = 0

    def connect() -> FakeConnection:
        nonlocal most
        conn = FakeConnection(0)
        with lock:
            live.add(id(conn))
            most = max(most, len(live))
        return conn

    def close(conn: FakeConnection) -> None:
        with lock:
            live.remove(id(conn))

    pool = Pool(connect, max_size=3, close=close)

    def use(number: int) -> None:
        for turn in range(300):
            conn = pool.acquire()
            with lock:
                assert id(conn) in live
                assert id(conn) not in held
                held.add(id(conn))
            with lock:
                held.remove(id(conn))
            if turn % 7 == number % 7:
                pool.discard(conn)
            else:
                pool.release(conn)

    together(8, use)
    assert 1 <= most <= 3


# -- connect ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError("refused"), KeyboardInterrupt()])
def test_what_connect_raises_reaches_the_caller_and_frees_the_place(
    connections: Connections, error: BaseException
) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    connections.errors.append(error)
    with pytest.raises(type(error)) as caught:
        pool.acquire()
    assert caught.value is error
    assert (pool.stats().total, pool.stats().connect_errors) == (0, 1)
    assert pool.acquire() is connections.made[0]


def test_connect_that_returns_none_is_told(connections: Connections) -> None:
    results = [None]
    pool = Pool(lambda: results.pop() if results else connections(), max_size=1, name="db")
    with pytest.raises(PoolError, match="connect of db returned None"):
        pool.acquire()
    assert (pool.stats().total, pool.stats().connect_errors) == (0, 1)
    assert pool.acquire() is connections.made[0]


def test_connect_that_returns_the_same_object_twice_is_told() -> None:
    only = FakeConnection(7)
    pool = Pool(lambda: only, max_size=2, name="db")
    assert pool.acquire() is only
    with pytest.raises(PoolError, match=r"connect of db returned a .*<connection 7>.*a new one"):
        pool.acquire()
    # It is still the first caller's, and neither closed nor lent to a second.
    assert not only.closed
    assert (pool.stats().total, pool.stats().in_use) == (1, 1)
    pool.release(only)
    assert pool.acquire() is only


def test_connect_may_return_an_object_again_that_was_closed_since() -> None:
    only = FakeConnection(0)

    def connect() -> FakeConnection:
        only.times_closed = 0  # it opens again
        return only

    pool = Pool(connect, max_size=1)
    pool.discard(pool.acquire())
    assert pool.acquire() is only


def test_connections_that_are_equal_are_not_confused() -> None:
    pool: Pool[list[int]] = Pool(list, max_size=2)
    first, second = pool.acquire(), pool.acquire()
    assert first is not second
    pool.release(second)
    assert pool.acquire() is second


def test_connections_that_are_false_are_connections() -> None:
    pool: Pool[dict[str, int]] = Pool(dict, max_size=1)
    conn = pool.acquire()
    pool.release(conn)
    assert pool.acquire() is conn


# -- configure --------------------------------------------------------------------------------


def test_configure_prepares_each_new_connection_once(connections: Connections) -> None:
    configured: list[FakeConnection] = []
    pool = Pool(connections, max_size=2, configure=configured.append)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.acquire()
    assert configured == [first, second]


@pytest.mark.parametrize("error", [OSError("no such database"), SystemExit()])
def test_configure_that_fails_closes_the_connection_and_frees_the_place(
    connections: Connections, error: BaseException
) -> None:
    errors = [error]

    def configure(_: FakeConnection) -> None:
        if errors:
            raise errors.pop()

    pool = Pool(connections, max_size=1, timeout=0, configure=configure)
    with pytest.raises(type(error)):
        pool.acquire()
    assert connections.made[0].times_closed == 1
    stats = pool.stats()
    assert (stats.total, stats.opened, stats.closed, stats.connect_errors) == (0, 1, 1, 1)
    assert pool.acquire() is connections.made[1]


# -- no lock over I/O -------------------------------------------------------------------------


@pytest.mark.parametrize("slow", ["connect", "configure", "check", "reset", "close"])
def test_no_lock_is_held_while_a_callback_runs(connections: Connections, slow: str) -> None:
    entered, leave = threading.Event(), threading.Event()

    def pause(*_: FakeConnection) -> None:
        if not entered.is_set():
            entered.set()
            assert leave.wait(LIMIT)

    def connect() -> FakeConnection:
        if slow == "connect":
            pause()
        return connections()

    callbacks = {} if slow == "connect" else {slow: pause}
    pool = Pool(connect, max_size=3, check_after=0, **callbacks)  # type: ignore[arg-type]

    def use() -> None:
        pool.release(pool.acquire())  # connects, configures, resets
        pool.discard(pool.acquire())  # checks, closes

    first = Caller(use)
    assert entered.wait(LIMIT)

    def grow_and_close() -> None:
        pool.discard(pool.acquire(timeout=0))

    Caller(grow_and_close).result()
    leave.set()
    first.result()
    assert pool.stats().total == 0


# -- which one --------------------------------------------------------------------------------


@pytest.mark.parametrize("check_after", [60.0, 0.0])
def test_the_warmest_comes_first_either_way(connections: Connections, check_after: float) -> None:
    pool = Pool(connections, check_after=check_after)
    held = [pool.acquire() for _ in range(3)]
    for conn in held:
        pool.release(conn)
    with pool.connection() as first, pool.connection() as second:
        assert [first, second, pool.acquire()] == held[::-1]
