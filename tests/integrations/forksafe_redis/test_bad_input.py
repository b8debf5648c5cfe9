"""What a person might get wrong: the error is redis-py's own, or names the option."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio.sentinel
import redis.sentinel
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from forksafe_redis import BlockingConnectionPool, ConnectionPool, SentinelConnectionPool

OURS = [ConnectionPool, BlockingConnectionPool]


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("min_size", -1, ValueError),
        ("min_size", "many", ValueError),
        ("min_size", 1.5, TypeError),
        ("min_size", 99, ValueError),
        ("max_waiting", -1, ValueError),
        ("max_lifetime", -1, ValueError),
        ("max_lifetime", float("nan"), ValueError),
        ("max_idle", "soon", ValueError),
        ("check_after", None, TypeError),
        ("check_after", "-1", ValueError),
        ("name", 7, TypeError),
    ],
)
def test_an_option_of_ours(kind: Any, name: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^{name} must "):
        kind(max_connections=10, **{name: value})


@pytest.mark.parametrize("timeout", ["soon", -1, float("nan"), True, []])
def test_a_timeout(timeout: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^timeout must be"):
        BlockingConnectionPool(timeout=timeout)


@pytest.mark.parametrize("kind", OURS)
def test_more_to_fill_than_there_may_be(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^min_size must .* than max_connections \(5\), not 6$"):
        kind(max_connections=5, min_size=6)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("connection_class", [None, "redis.Connection"])
def test_a_class_of_connections(kind: Any, connection_class: object) -> None:
    with pytest.raises(TypeError, match=r"^connection_class must be a class of connections, not "):
        kind(connection_class=connection_class)


@pytest.mark.parametrize("queue_class", [None, 7, "LifoQueue", lambda: None])
def test_a_class_of_queues(queue_class: Any) -> None:
    with pytest.raises(TypeError):
        redis.BlockingConnectionPool(queue_class=queue_class)
    with pytest.raises(TypeError, match=r"^queue_class "):
        BlockingConnectionPool(queue_class=queue_class)


@pytest.mark.parametrize("kind", OURS)
def test_a_dispatcher(kind: Any) -> None:
    """redis-py's own raises it when a connection comes back."""
    with pytest.raises(AttributeError, match=r"^event_dispatcher must have a method dispatch"):
        kind(event_dispatcher=7)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("url", [None, b"redis://localhost", ("redis://localhost",)])
def test_a_url_that_is_no_text(kind: Any, url: object) -> None:
    with pytest.raises(TypeError, match=rf"^url must be text such as .*, not {type(url).__name__}"):
        kind.from_url(url)


@pytest.mark.parametrize(
    ("service", "manager", "argument"),
    [
        (None, redis.sentinel.Sentinel([]), "service_name"),
        ("themaster", None, "sentinel_manager"),
        ("themaster", redis.asyncio.sentinel.Sentinel([]), "sentinel_manager"),
    ],
)
def test_a_sentinel(service: Any, manager: Any, argument: str) -> None:
    with pytest.raises(TypeError, match=f"^{argument} must be "):
        SentinelConnectionPool(service, manager)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("max_connections", [-1, "ten", 1.5])
def test_max_connections(kind: Any, max_connections: object) -> None:
    with pytest.raises((TypeError, ValueError), match="max_connections"):
        kind(max_connections=max_connections)


@pytest.mark.parametrize("kind", OURS)
def test_what_is_written_later(kind: Any) -> None:
    pool = kind(max_connections=5, min_size=2)
    with pytest.raises(ValueError, match=r"^max_connections must be at least 1, not 0"):
        pool.max_connections = 0
    with pytest.raises(ValueError, match=r"^min_size must not be larger than max_connections"):
        pool.max_connections = 1
    with pytest.raises(TypeError, match=r"^connection_class must be a class of connections"):
        pool.connection_class = None
    assert pool.max_connections == pool.stats().max_size == 5
    assert pool.connection_class is redis.Connection


def outcome(kind: Any, url: str) -> object:
    """The options of the pool that ``url`` makes, or the error."""
    try:
        pool = kind.from_url(url)
    except Exception as error:
        return type(error), str(error)
    return {name: repr(value) for name, value in pool.connection_kwargs.items() if name in SHOWN}


SHOWN = ("host", "port", "db", "username", "password", "path", "socket_timeout", "retry_on_timeout")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (ConnectionPool, redis.ConnectionPool),
        (BlockingConnectionPool, redis.BlockingConnectionPool),
    ],
)
@pytest.mark.parametrize(
    "url",
    [
        *("", "redis", "redis:/", "http://localhost", "redis://localhost:port", "redis://[::1"),
        *("redis://localhost:99999", "redis://localhost/one", "redis://localhost?db=one"),
        *("redis://localhost?socket_timeout=soon", "redis://localhost?max_connections=ten"),
        *("redis://localhost?health_check_interval=often", "unix://", "rediss://:@:/"),
    ],
)
def test_a_url(ours: Any, theirs: Any, url: str) -> None:
    assert outcome(ours, url) == outcome(theirs, url)


# To make text hypothesis reads a table first, which takes its time on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@patient
@given(
    st.builds(
        "{}://{}{}{}{}".format,
        st.sampled_from(["redis", "rediss", "unix", "http", ""]),
        st.text(max_size=8),
        st.text(alphabet=":/@?#[]%0159ab", max_size=6),
        st.sampled_from(["", "?", "?db=", "?socket_timeout=", "?max_connections="]),
        st.text(max_size=4),
    )
)
@example("redis://localhost:6379/0?timeout=1")
def test_any_url_does_what_it_does_in_redis_py(url: str) -> None:
    assert outcome(ConnectionPool, url) == outcome(redis.ConnectionPool, url)


@patient
@given(st.text(max_size=8))
def test_any_timeout_in_a_url_is_a_number_or_is_named(text: str) -> None:
    wrong: str | None = None
    try:
        BlockingConnectionPool(timeout=text)
    except ValueError as error:
        wrong = str(error)
    assert wrong is None or wrong.startswith("timeout must be")
