"""``with pool.connection()``: a connection for the length of a block."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from forksafe_redis import ConnectionPool

Fork = Callable[[], int]


class Interrupted(BaseException):
    """As GreenletExit and CancelledError: no ``Exception``."""


def client_id(connection: Any) -> int:
    connection.send_command("CLIENT", "ID")
    return int(connection.read_response())


@pytest.mark.parametrize("error", [ValueError, RedisConnectionError, SystemExit, Interrupted])
def test_a_block_that_ends_by_an_exception_costs_the_connection(
    pool: ConnectionPool, error: type[BaseException]
) -> None:
    """It may be in the middle of a transaction, or of a reply."""
    with contextlib.suppress(error), pool.connection() as cut_off:
        cut_off.send_command("MULTI")
        cut_off.read_response()
        raise error
    stats = pool.stats()
    assert (stats.total, stats.in_use, stats.closed) == (0, 0, 1)
    with pool.connection() as connection:
        connection.send_command("ECHO", "hello")
        assert connection.read_response() == b"hello"


@pytest.mark.parametrize("give_back", ["release", "discard"])
@pytest.mark.parametrize("error", [None, ValueError])
def test_a_block_leaves_alone_what_was_given_back_inside_and_lent_again(
    pool: ConnectionPool, give_back: str, error: type[Exception] | None
) -> None:
    with contextlib.suppress(ValueError), pool.connection() as connection:
        getattr(pool, give_back)(connection)
        other = pool.get_connection()
        assert (other is connection) == (give_back == "release")
        if error is not None:
            raise error
    stats = pool.stats()
    assert (stats.in_use, stats.available, stats.foreign_releases) == (1, 0, 0)
    assert client_id(other)
    pool.release(other)


def test_what_was_lost_before_the_block_began_is_replaced(
    pool: ConnectionPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_connection = pool.get_connection
    lost: list[Any] = []

    def lose_the_first() -> Any:
        connection = get_connection()
        if not lost:
            lost.append(connection)
            pool.reset()
        return connection

    monkeypatch.setattr(pool, "get_connection", lose_the_first)
    with pool.connection() as connection:
        assert connection is not lost[0]
        assert pool.stats().in_use == 1
    assert pool.stats().available == 1
    lost[0].disconnect()


def test_a_block_does_not_begin_where_none_is_available(pool: ConnectionPool) -> None:
    pool.set_retry(redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    pool.connection_kwargs["port"] = 1
    with pytest.raises(RedisConnectionError), pool.connection():
        raise AssertionError("the block has begun")
    assert pool.stats().in_use == 0


def test_a_block_that_is_entered_again_before_it_ended(pool: ConnectionPool) -> None:
    lease = pool.connection()
    with lease:
        with pytest.raises(RuntimeError, match="entered again before it ended"):
            lease.__enter__()
        assert pool.stats().in_use == 1
    assert pool.stats().in_use == 0
    with lease as connection:  # afterwards it may be
        assert client_id(connection)
    assert pool.stats().in_use == 0


def test_a_block_that_ends_and_was_not_entered(pool: ConnectionPool) -> None:
    lease = pool.connection()
    with pytest.raises(RuntimeError, match="not been entered"):
        lease.__exit__(None, None, None)
    with lease:
        pass
    with pytest.raises(RuntimeError, match="not been entered"):
        lease.__exit__(None, None, None)


@pytest.mark.parametrize("error", [None, redis.exceptions.ReadOnlyError])
def test_discarding_it_inside_its_block_is_no_foreign_release(
    pool: ConnectionPool, error: type[Exception] | None
) -> None:
    with contextlib.suppress(redis.exceptions.ReadOnlyError), pool.connection() as connection:
        pool.discard(connection)
        if error is not None:
            raise error
    stats = pool.stats()
    assert (stats.total, stats.closed, stats.foreign_releases) == (0, 1, 0)


def test_a_block_whose_server_cannot_be_reached_shows_the_driver_s_error_first(
    kind: type[ConnectionPool],
) -> None:
    pool = kind(host="127.0.0.1", port=1)
    lines = ""
    try:
        with pool.connection():
            raise AssertionError("the block has begun")
    except RedisConnectionError:
        lines = traceback.format_exc()
    assert "Connection refused" in lines
    assert "IndexError" not in lines
