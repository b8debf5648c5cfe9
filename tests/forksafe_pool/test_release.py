"""What release does with a connection: back to the pool, or closed, or nothing at all."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from functools import partial

import pytest

from forksafe_pool import Pool, PoolTimeout
from tests.forksafe_pool.fakes import Connections, FakeConnection, pretend_fork
from tests.forksafe_pool.threads import Caller, together


def test_release_makes_the_connection_available(connections: Connections) -> None:
    pool = Pool(connections)
    conn = pool.acquire()
    pool.release(conn)
    assert (pool.stats().available, pool.stats().in_use) == (1, 0)
    assert not conn.closed


# -- foreign releases -------------------------------------------------------------------------


def test_a_second_release_is_a_counted_no_op(connections: Connections) -> None:
    pool = Pool(connections, max_size=2)
    conn = pool.acquire()
    for _ in range(3):
        pool.release(conn)
    stats = pool.stats()
    assert (stats.total, stats.available, stats.foreign_releases) == (1, 1, 2)
    assert pool.acquire() is not pool.acquire()


def test_a_second_release_does_not_take_the_connection_from_its_next_holder(
    connections: Connections,
) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    conn = pool.acquire()
    pool.release(conn)
    assert pool.acquire() is conn
    pool.release(conn)  # of right: pool users share no identity but the connection's
    pool.release(conn)
    assert (pool.stats().available, pool.stats().foreign_releases) == (1, 1)


def test_threads_that_release_the_same_connection_put_it_back_once(
    connections: Connections,
) -> None:
    pool = Pool(connections, max_size=1)
    for _ in range(50):
        conn = pool.acquire()
        together(4, lambda _, conn=conn: pool.release(conn))  # type: ignore[misc]
    assert pool.stats().available == pool.stats().total == 1
    assert pool.stats().foreign_releases == 150


@pytest.mark.parametrize("give_back", [Pool.release, Pool.discard])
@pytest.mark.parametrize("stranger", [FakeConnection(99), None, [], 7])
def test_what_the_pool_never_lent_is_ignored_and_counted(
    connections: Connections, give_back: object, stranger: object
) -> None:
    pool = Pool(connections, max_size=1)
    mine = pool.acquire()
    assert callable(give_back)
    give_back(pool, stranger)
    stats = pool.stats()
    assert (stats.total, stats.in_use, stats.available, stats.foreign_releases) == (1, 1, 0, 1)
    assert not mine.closed
    assert not getattr(stranger, "closed", False)


def test_a_connection_of_another_pool_stays_with_that_pool(connections: Connections) -> None:
    pool, other = Pool(connections), Pool(connections)
    conn = other.acquire()
    pool.release(conn)
    pool.discard(conn)
    assert pool.stats().foreign_releases == 2
    assert (other.stats().in_use, other.stats().foreign_releases) == (1, 0)
    assert not conn.closed


def test_a_connection_acquired_before_the_fork_is_foreign_after_it(
    connections: Connections,
) -> None:
    resets: list[FakeConnection] = []
    pool = Pool(connections, max_size=1, reset=resets.append, fileno=lambda _: -1)
    inherited = pool.acquire()
    pretend_fork(pool)
    pool.release(inherited)
    pool.discard(inherited)
    stats = pool.stats()
    assert (stats.total, stats.available, stats.closed, stats.foreign_releases) == (0, 0, 0, 2)
    assert not resets
    assert not inherited.closed
    assert pool.acquire() is not inherited


# -- reset ------------------------------------------------------------------------------------


def test_reset_prepares_a_released_connection(connections: Connections) -> None:
    resets: list[FakeConnection] = []
    pool = Pool(connections, reset=resets.append)
    conn = pool.acquire()
    assert not resets
    pool.release(conn)
    assert resets == [conn]
    pool.discard(pool.acquire())
    assert resets == [conn]


def test_a_connection_whose_reset_fails_is_closed(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    def reset(_: FakeConnection) -> None:
        raise OSError("connection lost")

    pool = Pool(connections, max_size=1, timeout=0, reset=reset, name="db")
    conn = pool.acquire()
    with caplog.at_level(logging.WARNING, "forksafe_pool"):
        pool.release(conn)
    assert conn.times_closed == 1
    assert (pool.stats().total, pool.stats().closed) == (0, 1)
    assert pool.acquire() is not conn
    assert "db: reset failed" in caplog.text
    assert "connection lost" in caplog.text


def test_a_reset_that_returns_false_gets_the_connection_closed(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0, reset=lambda conn: conn.alive)
    conn = pool.acquire()
    pool.release(conn)
    assert pool.acquire() is conn
    conn.alive = False
    pool.release(conn)
    assert conn.times_closed == 1
    assert (pool.stats().total, pool.stats().closed) == (0, 1)


def test_a_reset_that_ends_by_a_base_exception_frees_the_place_and_passes_it_on(
    connections: Connections,
) -> None:
    def reset(_: FakeConnection) -> None:
        raise SystemExit("worker timeout")

    pool = Pool(connections, max_size=1, timeout=0, reset=reset)
    conn = pool.acquire()
    with pytest.raises(SystemExit, match="worker timeout"):
        pool.release(conn)
    assert conn.times_closed == 1
    assert pool.stats().total == 0
    assert pool.acquire() is not conn


# -- discard and close ------------------------------------------------------------------------


def test_discard_closes_and_frees_the_place(connections: Connections) -> None:
    pool = Pool(connections, max_size=1, timeout=0)
    conn = pool.acquire()
    pool.discard(conn)
    assert conn.times_closed == 1
    assert (pool.stats().total, pool.stats().closed) == (0, 1)
    assert pool.acquire() is not conn


def test_the_place_is_free_only_after_the_connection_is_closed(connections: Connections) -> None:
    def close(conn: FakeConnection) -> None:
        with pytest.raises(PoolTimeout):  # or the server would see one more than max_size
            pool.acquire()
        conn.close()

    pool = Pool(connections, max_size=1, timeout=0, close=close)
    pool.discard(pool.acquire())
    assert connections.made[0].times_closed == 1
    assert pool.acquire() is connections.made[1]


def test_discard_after_release_is_a_counted_no_op(connections: Connections) -> None:
    pool = Pool(connections)
    conn = pool.acquire()
    pool.release(conn)
    pool.discard(conn)
    assert not conn.closed
    assert (pool.stats().available, pool.stats().foreign_releases) == (1, 1)


def test_the_close_option_replaces_the_close_method(connections: Connections) -> None:
    closed: list[FakeConnection] = []
    pool = Pool(connections, close=closed.append)
    conn = pool.acquire()
    pool.discard(conn)
    assert closed == [conn]
    assert not conn.closed


def test_a_connection_without_a_close_method_is_let_go() -> None:
    pool: Pool[object] = Pool(object, max_size=1)
    pool.discard(pool.acquire())
    assert (pool.stats().total, pool.stats().closed) == (0, 1)


def test_an_error_of_close_is_logged_and_frees_the_place(
    connections: Connections, caplog: pytest.LogCaptureFixture
) -> None:
    def close(_: FakeConnection) -> None:
        raise OSError("broken pipe")

    pool = Pool(connections, max_size=1, close=close, name="db")
    with caplog.at_level(logging.DEBUG, "forksafe_pool"):
        pool.discard(pool.acquire())
    assert (pool.stats().total, pool.stats().closed) == (0, 1)
    assert "db: closing a connection failed" in caplog.text


def test_a_base_exception_of_close_frees_the_place_and_passes_on(
    connections: Connections,
) -> None:
    def close(_: FakeConnection) -> None:
        raise KeyboardInterrupt

    pool = Pool(connections, max_size=1, close=close)
    conn = pool.acquire()
    with pytest.raises(KeyboardInterrupt):
        pool.discard(conn)
    assert pool.stats().total == 0


# -- with pool.connection() -------------------------------------------------------------------


def test_the_with_block_releases_at_its_end(connections: Connections) -> None:
    pool = Pool(connections)
    with pool.connection() as conn:
        assert pool.stats().in_use == 1
    assert (pool.stats().in_use, pool.stats().available) == (0, 1)
    assert not conn.closed


@pytest.mark.parametrize(
    "kind", [ValueError, OSError, StopIteration, SystemExit, KeyboardInterrupt, GeneratorExit]
)
def test_the_with_block_discards_what_an_exception_may_have_cut_off(
    connections: Connections, kind: type[BaseException]
) -> None:
    """In the middle of a reply, which the next user would read."""
    pool = Pool(connections)
    with pytest.raises(kind), pool.connection() as conn:
        raise kind
    assert conn.times_closed == 1
    assert (pool.stats().total, pool.stats().closed) == (0, 1)


@pytest.mark.parametrize("kind", [ValueError, OSError, StopIteration, GeneratorExit])
@pytest.mark.parametrize("fit", [True, False])
def test_where_there_is_a_reset_that_decides(
    connections: Connections, kind: type[BaseException], fit: bool
) -> None:
    pool = Pool(connections, reset=lambda conn: fit)
    with pytest.raises(kind), pool.connection() as conn:
        raise kind
    assert conn.closed is not fit
    assert (pool.stats().available, pool.stats().closed) == (fit, not fit)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_a_reset_is_not_asked_where_the_program_was_interrupted(
    connections: Connections, kind: type[BaseException]
) -> None:
    pool = Pool(connections, reset=lambda conn: True)
    with pytest.raises(kind), pool.connection() as conn:
        raise kind
    assert conn.times_closed == 1


@pytest.mark.parametrize("give_back", [Pool.release, Pool.discard])
@pytest.mark.parametrize("error", [None, ValueError])
def test_a_block_leaves_alone_what_was_given_back_inside_and_lent_again(
    connections: Connections,
    give_back: Callable[[Pool[FakeConnection], FakeConnection], None],
    error: type[Exception] | None,
) -> None:
    pool = Pool(connections, max_size=1)
    with contextlib.suppress(ValueError), pool.connection() as conn:
        give_back(pool, conn)
        other = pool.acquire()
        if error is not None:
            raise error
    assert not other.closed
    stats = pool.stats()
    assert (stats.in_use, stats.available, stats.foreign_releases) == (1, 0, 0)
    pool.release(other)
    assert pool.stats().available == 1


def test_a_connection_discarded_inside_its_with_block_stays_discarded(
    connections: Connections,
) -> None:
    pool = Pool(connections)
    with pool.connection() as conn:
        pool.discard(conn)
    assert conn.times_closed == 1
    assert pool.stats().total == 0


def test_with_blocks_nest(connections: Connections) -> None:
    pool = Pool(connections, max_size=2)
    with pool.connection() as outer, pool.connection() as inner:
        assert outer is not inner
    assert pool.stats().available == 2


# -- what a lease may not ---------------------------------------------------------------------


@pytest.mark.parametrize("warm", [True, False])
def test_a_block_cannot_be_entered_again_before_it_ends(
    connections: Connections, warm: bool
) -> None:
    pool = Pool(connections, name="db")
    if warm:
        pool.release(pool.acquire())
    lease = pool.connection()
    with lease:
        with pytest.raises(RuntimeError, match="of db was entered again before it ended"):
            lease.__enter__()
        assert pool.stats().in_use == 1
    assert (pool.stats().in_use, pool.stats().total) == (0, 1)
    with lease:
        pass


def test_a_block_cannot_end_that_was_not_entered(connections: Connections) -> None:
    pool = Pool(connections, name="db")
    lease = pool.connection()
    with pytest.raises(RuntimeError, match=r"db: .*not been entered, or has ended"):
        lease.__exit__(None, None, None)
    with lease:
        pass
    with pytest.raises(RuntimeError, match="not been entered, or has ended"):
        lease.__exit__(None, None, None)
    assert (pool.stats().available, pool.stats().foreign_releases) == (1, 0)


def test_a_block_that_could_not_be_entered_can_be_tried_again(connections: Connections) -> None:
    pool = Pool(connections)
    connections.errors.append(OSError("refused"))
    lease = pool.connection()
    with pytest.raises(OSError, match="refused"):
        lease.__enter__()
    with lease as conn:
        assert conn is connections.made[0]


def context_of(kind: type[Exception], function: Callable[[], object]) -> BaseException | None:
    """What was being handled when ``function`` raised. In a thread of its own: CPython goes on with
    handling an exception in a thread where a test has interrupted an ``except``."""

    def call() -> BaseException | None:
        with pytest.raises(kind) as raised:
            function()
        return raised.value.__context__

    return Caller(call).result()


@pytest.mark.parametrize("block", [True, False])
def test_an_error_of_connect_is_the_first_in_its_traceback(
    connections: Connections, block: bool
) -> None:
    pool = Pool(connections)
    connections.errors.append(OSError("refused"))
    enter = pool.connection().__enter__ if block else pool.acquire
    assert context_of(OSError, enter) is None


@pytest.mark.parametrize("block", [True, False])
def test_a_timeout_is_the_first_in_its_traceback(connections: Connections, block: bool) -> None:
    pool = Pool(connections, max_size=1)
    pool.acquire()
    for timeout in (0, 0.001):
        enter = pool.connection(timeout).__enter__ if block else partial(pool.acquire, timeout)
        assert context_of(PoolTimeout, enter) is None
