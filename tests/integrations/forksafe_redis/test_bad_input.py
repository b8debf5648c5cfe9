"""What a person might get wrong: the error is redis-py's own, or names the option."""

from __future__ import annotations

import enum
import inspect
import re
import socket
import ssl
import struct
import traceback
from fractions import Fraction
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.retry
import redis.asyncio.sentinel
import redis.sentinel
from hypothesis import example, given
from hypothesis import strategies as st
from redis.backoff import NoBackoff
from redis.retry import Retry

from forksafe_redis import BlockingConnectionPool, ConnectionPool, SentinelConnectionPool
from tests.support.anything import anything, patient

OURS = [ConnectionPool, BlockingConnectionPool]


SHORT = "a number of seconds above 0 and below 9e+09"
SECRET_URL = "redis://:secret@localhost"  # noqa: S105 - for the tests' own options

# An option, wrong values of it, and what it must be. redis-py takes most of these on faith, and
# fails of them at the first request, or later.
OPTIONS: list[tuple[str, list[Any], str]] = [
    ("min_size", [-1], "at least 0"),
    ("min_size", ["many"], "a number"),
    ("min_size", [1.5], "a whole number"),
    ("max_waiting", [-1], "at least 0"),
    ("max_lifetime", [-1, nan], "0 seconds or more"),
    ("max_idle", ["soon"], "a number"),
    ("max_idle", [-1], "0 seconds or more"),
    ("check_after", [None], "a number of seconds"),
    ("check_after", [-1.0], "0 seconds or more"),
    ("name", [7], "text"),
    ("host", [5, ""], "text, not empty"),
    ("port", ["x", None, 0, -1, 99999, inf, SECRET_URL], "a whole number from 1 to 65535"),
    ("db", ["zero", "01", b"x", -1, 1.5, True, SECRET_URL], "a whole number, 0 or more"),
    ("protocol", ["x", 9, inf, 0, False, ""], "2 or 3"),
    ("socket_timeout", ["5", 0, -1, nan, inf, 10**20, 10**400], SHORT),
    ("socket_connect_timeout", ["5", 0, -1, nan, inf], SHORT),
    ("socket_type", ["x", None, 1.5], "a family of addresses, as in the module socket, or 0"),
    ("health_check_interval", ["5", [5]], "a number of seconds"),
    ("socket_read_size", ["5", None, 0, 1.5], "a whole number, 1 or more"),
    ("socket_keepalive_options", [5, [1], {"x": 1}, {1: "x"}], "a dict of numbers by number"),
    ("client_name", [["a"], object, True], "text"),
    ("encoding", [5, "klingon", "base64", SECRET_URL], "a codec of text that Python knows"),
    ("encoding_errors", [5, "shrug"], "an error handler that Python knows"),
    ("retry", [5, Retry, redis.asyncio.retry.Retry(NoBackoff(), 1)], "a redis.retry.Retry"),
    ("retry_on_error", [5, ["x"], ValueError], "a list of exceptions"),
    (
        "redis_connect_func",
        [5, redis.asyncio.Connection.connect, lambda: None],
        "a function of one argument, the connection, that is not async",
    ),
    ("command_packer", [5], "an object with a method pack()"),
    ("parser_class", [5, None], "a class of parsers"),
    (
        "ssl_cert_reqs",
        ["perhaps", "", 7, ["none"]],
        "none, optional, required or an ssl.VerifyMode",
    ),
    ("ssl_min_version", ["TLSv1.3", 13, 0], "an ssl.TLSVersion"),
    ("ssl_ciphers", ["klingon", 5], "ciphers that OpenSSL knows"),
    ("ssl_certfile", [5, [Path("a.pem")]], "a path"),
    ("ssl_keyfile", [5], "a path"),
    ("ssl_ca_certs", [True], "a path"),
    ("ssl_ca_path", [5], "a path"),
    (
        "connection_class",
        [None, 5, int, "redis.Connection", redis.asyncio.Connection, SECRET_URL],
        "a class of connections that is not async (a URL is for from_url)",
    ),
    ("cache_config", [5], "a redis.cache.CacheConfig"),
    ("event_dispatcher", [5], "a redis.event.EventDispatcher"),
    ("maint_notifications_config", [5], "a MaintNotificationsConfig of redis-py's"),
    ("username", [["secret"]], "text"),
    ("password", [["secret"]], "text"),
    ("credential_provider", [["secret"]], "a redis.CredentialProvider"),
]
OF_A_BLOCKING_POOL: list[tuple[str, list[Any], str]] = [
    ("timeout", ["soon"], "a number"),
    ("timeout", [-1, nan], "0 seconds or more"),
    ("timeout", [True, []], "a number of seconds"),
    ("queue_class", [None, 7, "LifoQueue"], "a function"),
]


@pytest.mark.parametrize(
    ("kind", "option", "values", "wanted"),
    [
        *((kind, *row) for kind in OURS for row in OPTIONS),
        *((BlockingConnectionPool, *row) for row in OF_A_BLOCKING_POOL),
    ],
)
def test_a_wrong_option(kind: Any, option: str, values: list[Any], wanted: str) -> None:
    for value in values:
        with pytest.raises((TypeError, ValueError)) as raised:
            kind(**{option: value})
        assert str(raised.value) == f"{option} must be {wanted}, not {shown(value)}"


def shown(value: Any) -> str:
    """What may be a password, or hold one, is not."""
    return type(value).__name__ if "secret" in repr(value) else repr(value)


@pytest.mark.parametrize("kind", OURS)
def test_more_to_fill_than_there_may_be(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"^min_size must .* than max_connections \(5\), not 6$"):
        kind(max_connections=5, min_size=6)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("nothing", [0, False, None])
def test_nothing_for_the_errors_to_retry_on(kind: Any, nothing: Any) -> None:
    """redis-py 5.0 works with it, 8.0 does not."""
    try:
        redis.Connection(retry_on_error=nothing)
    except TypeError:
        with pytest.raises(TypeError, match=rf"^retry_on_error must be .*, not {nothing}$"):
            kind(retry_on_error=nothing)
    else:
        kind(retry_on_error=nothing).make_connection()


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("path", ["", None, Path("/run/redis.sock")])
def test_a_path(kind: Any, path: object) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^path must be text, not empty, not "):
        kind(connection_class=redis.UnixDomainSocketConnection, path=path)


class Zero(enum.IntEnum):
    ZERO = 0


class Replies(enum.IntEnum):
    RESP3 = 3


class Named(redis.Connection):
    """Its options are what it makes of them."""

    def __init__(self, *, db: Any = 0, **options: Any) -> None:
        self.named = db
        super().__init__(**options)


class Instrumented:
    """Has its methods from what it stands before."""

    def __init__(self, **options: Any) -> None:
        self._connection = redis.Connection(**options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize(
    "options",
    [
        {"db": "0", "client_name": 5, "socket_timeout": 5, "socket_connect_timeout": 0.5},
        {"db": "", "client_name": b"shop:1", "protocol": "3", "encoding": "latin-1"},
        {"db": b"0", "client_name": "", "protocol": Replies.RESP3, "health_check_interval": False},
        {"db": Zero.ZERO, "health_check_interval": Fraction(5), "retry": False},
        {"db": False, "health_check_interval": inf, "credential_provider": False},
        {"socket_type": socket.AF_INET, "socket_keepalive_options": {socket.TCP_KEEPINTVL: 10}},
        {"socket_keepalive_options": {socket.TCP_KEEPINTVL: struct.pack("i", 10)}},
        {"socket_keepalive_options": ()},
        {"socket_keepalive_options": getattr(redis.connection, "SENTINEL", None)},
        {"host": b"127.0.0.1", "password": None, "retry": None, "retry_on_error": ()},
        {"username": "", "password": "", "socket_timeout": True},
        {"retry_on_error": (redis.ConnectionError, KeyboardInterrupt)},
        {"retry_on_error": getattr(redis.connection, "SENTINEL", ())},
        {"parser_class": redis.connection.DefaultParser},
        {"redis_connect_func": redis.Connection.on_connect},
        {"connection_class": Named, "db": ["of", "any", "kind"]},
        {"connection_class": lambda **options: redis.Connection(**options)},
        {"connection_class": Instrumented},
    ],
    ids=lambda options: "-".join(options),
)
def test_what_redis_py_works_with(kind: Any, options: Any, redis_url: str) -> None:
    address = redis.connection.parse_url(redis_url)
    for one in (getattr(redis, kind.__name__), kind):
        pool = one(**{**address, **options})
        assert redis.Redis(connection_pool=pool).ping()
        pool.disconnect()


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_cert_reqs": None, "ssl_certfile": None, "ssl_ciphers": None, "ssl_min_version": None},
        {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_min_version": ssl.TLSVersion.TLSv1_3},
        {"ssl_cert_reqs": "optional", "ssl_ca_certs": Path("ca.pem"), "ssl_ciphers": "HIGH"},
    ],
)
def test_what_tls_takes(options: Any) -> None:
    known = inspect.signature(redis.SSLConnection).parameters  # redis-py 5.0 has no ciphers
    options = {name: value for name, value in options.items() if name in known}
    pool = ConnectionPool(connection_class=redis.SSLConnection, **options)
    assert isinstance(pool.make_connection(), redis.SSLConnection)


def test_what_sentinels_replace_is_not_looked_at() -> None:
    sentinel = redis.sentinel.Sentinel([])
    SentinelConnectionPool("themaster", sentinel, host="", port=0)


def test_a_class_of_queues_that_takes_no_size() -> None:
    with pytest.raises(TypeError, match=r"^queue_class is called as .*\(max_connections\), which "):
        BlockingConnectionPool(queue_class=lambda: None)


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
    with pytest.raises(ValueError, match=r"^connection_class must be a class of connections"):
        pool.connection_class = None
    assert pool.max_connections == pool.stats().max_size == 5
    assert pool.connection_class is redis.Connection


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
def test_a_timeout_that_is_written_later(timeout: Any) -> None:
    pool = BlockingConnectionPool(timeout=3)
    with pytest.raises((TypeError, ValueError), match=r"^timeout must be .* seconds"):
        pool.timeout = timeout
    assert pool.timeout == 3


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
@example("redis://localhost:6379/0?socket_timeout=0")
def test_any_url_does_what_it_does_in_redis_py(url: str) -> None:
    """If it does anything there before the first request."""
    ours, theirs = outcome(ConnectionPool, url), outcome(redis.ConnectionPool, url)
    if isinstance(theirs, dict) and isinstance(ours, tuple):
        assert re.match("(db|socket_timeout|port|host) must be ", ours[1])
    else:
        assert ours == theirs


@patient
@given(st.text(max_size=8))
def test_any_timeout_in_a_url_is_a_number_or_is_named(text: str) -> None:
    wrong: str | None = None
    try:
        BlockingConnectionPool(timeout=text)
    except ValueError as error:
        wrong = str(error)
    assert wrong is None or wrong.startswith("timeout must be")


SECRETS = ("username", "password", "credential_provider")
OF_OURS = ("min_size", "max_waiting", "max_lifetime", "max_idle", "check_after", "name")
NAMES = (
    *("host", "port", "db", "path", "client_name", "protocol", "encoding", "encoding_errors"),
    *("decode_responses", "socket_timeout", "socket_connect_timeout", "socket_keepalive"),
    *("socket_keepalive_options", "socket_type", "socket_read_size", "health_check_interval"),
    *("retry", "retry_on_error", "redis_connect_func", "command_packer", "parser_class"),
    *("connection_class", "max_connections", "cache_config", "event_dispatcher"),
    *("maint_notifications_config", "timeout", "queue_class", "wibble", *SECRETS, *OF_OURS),
)
any_options = st.dictionaries(st.sampled_from(NAMES), anything, max_size=3)


def wrong(kind: Any, options: dict[str, Any]) -> Exception | None:
    """What a person is told by the pool, or by its first connection, which is not connected."""
    try:
        pool = kind(**options)
        if kind in OURS:
            assert (pool.stats().opened, pool.stats().connect_errors) == (0, 0)
        pool.make_connection()
    except AssertionError:
        raise
    except Exception as error:
        return error
    return None


def names_one(error: Exception, options: dict[str, Any]) -> bool:
    told = str(error).removeprefix('"')  # as redis-py names some
    return isinstance(error, (TypeError, ValueError)) and told.startswith(tuple(options))


@patient
@given(st.sampled_from(OURS), any_options)
@example(ConnectionPool, {"wibble": 5})
@example(BlockingConnectionPool, {"max_connections": -1})
@example(BlockingConnectionPool, {"min_size": 60})
def test_any_options_make_a_pool_or_are_named(kind: Any, options: dict[str, Any]) -> None:
    """Or get the error that redis-py has for them."""
    error = wrong(kind, options)
    if error is not None and not names_one(error, options):
        theirs = {name: value for name, value in options.items() if name not in OF_OURS}
        # redis-py's own fills a queue with as many as there may be.
        if "max_connections" in theirs:
            theirs["max_connections"] = 1
        if callable(theirs.get("queue_class")):
            del theirs["queue_class"]  # ours calls none
        assert repr(error) == repr(wrong(getattr(redis, kind.__name__), theirs))


SECRET = "s3cr3t"  # noqa: S105 - for the tests' own options
HIDING = [SECRET, SECRET.encode(), [SECRET], {SECRET: SECRET}, ValueError(SECRET)]


@patient
@given(
    st.sampled_from(OURS),
    any_options,
    st.dictionaries(
        st.sampled_from(["host", "port", "db", "encoding", "client_name", "connection_class"]),
        st.just(f"redis://:{SECRET}@localhost"),
        max_size=1,
    ),
    st.dictionaries(st.sampled_from(SECRETS), st.sampled_from(HIDING), min_size=1),
)
def test_no_error_shows_a_password(
    kind: Any, options: dict[str, Any], urls: dict[str, Any], secrets: dict[str, Any]
) -> None:
    error = wrong(kind, {**options, **urls, **secrets})
    assert error is None or SECRET not in "".join(traceback.format_exception(error))
