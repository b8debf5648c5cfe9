"""When a connection is too old, or idle for too long: max_lifetime and max_idle."""

from __future__ import annotations

import pytest

from forksafe_pool import Pool
from tests.forksafe_pool.fakes import Clock, Connections, FakeConnection, use
from tests.forksafe_pool.threads import LIMIT, Caller, wait_in_line

# -- max_lifetime -----------------------------------------------------------------------------


def test_a_connection_lives_for_95_percent_of_max_lifetime_at_least(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=200, max_lifetime=1000.0, max_idle=None)
    conns = [pool.acquire() for _ in range(200)]
    clock.advance(949.999)
    for conn in conns:
        pool.release(conn)
    assert pool.stats().available == 200


def test_a_connection_lives_for_max_lifetime_at_most(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=200, max_lifetime=1000.0, max_idle=None)
    conns = [pool.acquire() for _ in range(200)]
    clock.advance(1000.0)
    for conn in conns:
        pool.release(conn)
    assert pool.stats().total == 0
    assert not connections.open


def test_connections_made_together_do_not_expire_together(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=200, max_lifetime=1000.0, max_idle=None)
    conns = [pool.acquire() for _ in range(200)]
    clock.advance(975.0)
    for conn in conns:
        pool.release(conn)
    assert 20 < len(connections.open) < 180


@pytest.mark.parametrize("max_lifetime", [None, float("inf")])
def test_a_connection_without_max_lifetime_lives_for_ever(
    connections: Connections, clock: Clock, max_lifetime: float | None
) -> None:
    pool = Pool(connections, max_lifetime=max_lifetime, max_idle=None)
    use(pool)
    clock.advance(1e9)
    use(pool)
    assert len(connections.made) == 1


def test_an_expired_connection_is_replaced_on_acquire(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, max_lifetime=1000.0, max_idle=None, timeout=0)
    use(pool)
    clock.advance(1000.0)
    new = pool.acquire()
    assert connections.made[0].times_closed == 1
    assert new is connections.made[1]
    assert pool.stats().total == 1


def test_an_expired_connection_is_not_taken_from_who_uses_it(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_lifetime=10.0)
    conn = pool.acquire()
    clock.advance(11.0)
    use(pool)
    assert not conn.closed
    pool.release(conn)
    assert conn.closed


def test_a_connection_that_expires_in_a_block_is_closed_at_its_end(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_lifetime=10.0, max_idle=None)
    with pool.connection() as conn:
        clock.advance(11.0)
        assert conn.times_closed == 0
    assert conn.times_closed == 1
    assert pool.stats().total == 0


def test_a_waiter_gets_the_place_of_a_connection_that_expired(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, max_lifetime=10.0, timeout=LIMIT)
    conn = pool.acquire()
    clock.advance(11.0)
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is connections.made[1]


def test_max_lifetime_counts_from_the_connection_not_from_its_place(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, max_lifetime=100.0, max_idle=None)
    use(pool)
    clock.advance(100.0)
    use(pool)  # replaced
    clock.advance(90.0)
    use(pool)
    assert len(connections.made) == 2


def test_max_lifetime_holds_where_check_after_is_longer(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_lifetime=10.0, max_idle=None, check_after=float("inf"))
    use(pool)
    clock.advance(11.0)
    assert pool.acquire() is connections.made[1]


def test_max_idle_holds_where_check_after_is_longer(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_idle=10.0, check_after=100.0)
    use(pool)
    clock.advance(11.0)
    assert pool.acquire() is connections.made[1]


# -- max_idle ---------------------------------------------------------------------------------


def test_what_is_idle_for_longer_than_max_idle_is_replaced_on_acquire(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, min_size=1, max_idle=10.0)
    use(pool)
    clock.advance(10.0)
    use(pool)
    assert len(connections.made) == 1
    clock.advance(10.001)
    assert pool.acquire() is connections.made[1]
    assert connections.made[0].times_closed == 1


def test_release_closes_what_is_idle_for_longer_than_max_idle_the_longest_idle_first(
    connections: Connections, clock: Clock
) -> None:
    closed: list[FakeConnection] = []

    def close(conn: FakeConnection) -> None:
        conn.close()
        closed.append(conn)

    pool = Pool(connections, max_size=4, max_idle=10.0, close=close)
    first, second, third, busy = (pool.acquire() for _ in range(4))
    for conn in (second, first, third):
        pool.release(conn)
        clock.advance(1.0)
    clock.advance(8.5)  # idle for 11.5, 10.5 and 9.5 seconds
    pool.release(busy)
    assert closed == [second, first]
    assert connections.open == [third, busy]
    assert pool.stats().available == pool.stats().total == 2

    clock.advance(0.5)
    busy = pool.acquire()
    pool.release(busy)
    assert closed == [second, first]  # exactly max_idle is not too long
    clock.advance(0.1)
    busy = pool.acquire()
    pool.release(busy)
    assert closed == [second, first, third]


def test_the_end_of_a_block_closes_what_is_idle_for_longer_than_max_idle(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_idle=10.0)
    idle = pool.acquire()
    with pool.connection() as busy:
        pool.release(idle)
        clock.advance(10.5)
    assert connections.open == [busy]


def test_max_idle_leaves_min_size_connections(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=5, min_size=2, max_idle=10.0)
    conns = [pool.acquire() for _ in range(5)]
    for conn in conns[:4]:
        pool.release(conn)
    clock.advance(100.0)
    pool.release(conns[4])
    assert connections.open == conns[3:]
    assert pool.stats().total == 2


def test_connections_in_use_count_towards_min_size_and_are_not_reaped(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=3, max_idle=10.0)
    idle, busy, released = (pool.acquire() for _ in range(3))
    pool.release(idle)
    clock.advance(100.0)
    pool.release(released)
    assert connections.open == [busy, released]


def test_nothing_is_reaped_without_max_idle(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=2, max_idle=None, max_lifetime=None)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    clock.advance(1e6)
    pool.release(second)
    assert pool.stats().available == 2


def test_what_the_reaper_looked_at_goes_to_who_waits_by_then(
    connections: Connections, clock: Clock
) -> None:
    pool = Pool(connections, max_size=1, max_idle=10.0, timeout=LIMIT)
    conn = pool.acquire()
    callers: list[Caller[FakeConnection]] = []

    class Meanwhile(float):
        def __ge__(self, other: float) -> bool:
            callers.append(wait_in_line(pool, pool.acquire))
            return True

    clock.advance(10.0)
    pool._max_idle = Meanwhile(10.0)
    pool.release(conn)
    assert callers[0].result() is conn


def test_nothing_is_reaped_that_a_waiter_took(connections: Connections, clock: Clock) -> None:
    pool = Pool(connections, max_size=1, max_idle=10.0, timeout=LIMIT)
    conn = pool.acquire()
    clock.advance(11.0)
    caller = wait_in_line(pool, pool.acquire)
    pool.release(conn)
    assert caller.result() is conn
    assert not conn.closed
