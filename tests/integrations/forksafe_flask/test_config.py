"""What an app's configuration may say, and what it is told where it is wrong."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
import redis.asyncio
from flask import Flask
from redis.backoff import NoBackoff
from redis.retry import Retry

from forksafe_flask import ForkSafePool
from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool
from tests.integrations.forksafe_flask import fakes
from tests.integrations.forksafe_flask.conftest import MakeApp

FAKES = "tests.integrations.forksafe_flask.fakes"
URL = "redis://localhost"
SECRET = "s3cr3t"  # noqa: S105 - for the tests' own URLs


def redis_pool(app: Flask, name: str = "default") -> BlockingConnectionPool:
    with app.app_context():
        pool = app.extensions["forksafe_pool"].get_pool(name)
    assert isinstance(pool, BlockingConnectionPool)
    return pool


def test_redis_options(make_app: MakeApp, redis_url: str, pools: ForkSafePool) -> None:
    app = make_app(
        FORKSAFE_POOLS={
            "cache": {
                "url": redis_url,
                "max_connections": 5,
                "timeout": 1.0,
                "decode_responses": True,
                "client_name": "shop",
                "min_size": 2,
                "max_waiting": 3,
                "max_idle": 60,
                "max_lifetime": 3600,
                "check_after": 2,
            }
        }
    )
    pool = redis_pool(app, "cache")
    assert (pool.max_connections, pool.timeout, pool.name) == (5, 1.0, "cache")
    pool.fill()
    assert pool.stats().available == 2
    with app.app_context():
        assert pools.get_redis("cache").client_getname() == "shop"


def test_options_in_the_url(make_app: MakeApp) -> None:
    pool = redis_pool(make_app(FORKSAFE_POOL_URL=f"{URL}/3?max_connections=5&min_size=2"))
    assert (pool.max_connections, pool.name) == (5, "default")
    assert pool.connection_kwargs["db"] == 3
    assert pool.stats().min_size == 2


@pytest.mark.parametrize(
    ("url", "connection_class"),
    [
        (URL, redis.Connection),
        ("rediss://localhost", redis.SSLConnection),
        ("unix://user:pass@/run/a@b.sock?db=1", redis.UnixDomainSocketConnection),
    ],
)
def test_the_schemes(make_app: MakeApp, url: str, connection_class: type) -> None:
    assert redis_pool(make_app(FORKSAFE_POOL_URL=url)).connection_class is connection_class


def test_a_password_may_have_any_character(make_app: MakeApp) -> None:
    password = "a@b/c?d#e:f%20"  # noqa: S105
    pool = redis_pool(make_app(FORKSAFE_POOL_URL=f"redis://:{quote(password, '')}@localhost"))
    assert pool.connection_kwargs["password"] == password


def test_a_connection_class_with_options_of_its_own(make_app: MakeApp) -> None:
    class Special(redis.Connection):
        def __init__(self, **options: Any) -> None:
            self.colour = options.pop("colour")
            super().__init__(**options)

    spec = {"url": URL, "connection_class": Special, "colour": "red"}
    pool = redis_pool(make_app(FORKSAFE_POOLS={"default": spec}))
    assert pool.make_connection().colour == "red"


def test_a_name_of_its_own(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(
        FORKSAFE_POOLS={
            "cache": {"url": URL, "name": "first"},
            "other": {"connect": fakes.connect, "name": "second"},
            "unnamed": {"connect": fakes.connect},
        }
    )
    with app.app_context():
        assert [stats.name for stats in pools.stats().values()] == ["first", "second", "unnamed"]


def test_callbacks_by_name(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(
        FORKSAFE_POOLS={
            "other": {
                "connect": f"{FAKES}:connect",
                "configure": f"{FAKES}:configure",
                "close": f"{FAKES}:FakeConnection.close",
                "check": None,
            }
        }
    )
    with app.app_context():
        conn = pools.connection("other")
        assert isinstance(conn, fakes.FakeConnection)
        assert fakes.configured.pop() is conn
        pool = pools.get_pool("other")
    assert isinstance(pool, Pool)
    pool.close()
    assert conn.closed


@pytest.mark.parametrize("evict_on", [fakes.evict_on, f"{FAKES}:evict_on"])
def test_evict_on(make_app: MakeApp, pools: ForkSafePool, evict_on: object) -> None:
    """A request that ends by such an error has every connection of the pool replaced."""
    app = make_app(FORKSAFE_POOLS={"other": {"connect": fakes.connect, "evict_on": evict_on}})
    with app.app_context():
        pool = pools.get_pool("other")
    assert isinstance(pool, Pool)
    for error, idle in ((ValueError(), 1), (LookupError(), 0)):
        context = app.app_context()
        context.push()
        with pool.connection():
            conn = pools.connection("other")
        context.pop(error)
        assert conn.closed
        assert pool.stats().available == idle


def test_the_configuration_is_left_as_it_was(make_app: MakeApp) -> None:
    specs = {"cache": {"url": URL}, "other": {"connect": f"{FAKES}:connect"}}
    make_app(FORKSAFE_POOLS=specs)
    assert specs == {"cache": {"url": URL}, "other": {"connect": f"{FAKES}:connect"}}


def test_a_url_from_the_environment(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    monkeypatch.setenv("FLASK_FORKSAFE_POOL_URL", redis_url)
    app = Flask("app")
    app.config.from_prefixed_env()
    pools = ForkSafePool(app)
    with app.app_context():
        assert pools.redis.ping()
        pools.get_pool().close()


def test_pools_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_FORKSAFE_POOLS__cache__url", URL)
    monkeypatch.setenv("FLASK_FORKSAFE_POOLS__cache__max_connections", "5")
    app = Flask("app")
    app.config.from_prefixed_env()
    ForkSafePool(app)
    assert redis_pool(app, "cache").max_connections == 5


@pytest.mark.parametrize("url", [None, ""])
def test_an_unset_url_is_none(make_app: MakeApp, url: str | None, pools: ForkSafePool) -> None:
    app = make_app(FORKSAFE_POOL_URL=url, FORKSAFE_POOLS={"other": {"connect": fakes.connect}})
    with app.app_context():
        assert list(pools.stats()) == ["other"]


# -- errors -----------------------------------------------------------------------------------

UNREADABLE = (
    "'redis://***' cannot be read: its port and the numbers in its query must be numbers, and "
    "special characters in its password must be percent-encoded (urllib.parse.quote)"
)
DATABASE = "must end with the number of a database, /0 for example, or nothing"
SCHEMES = "must begin with redis://, rediss:// or unix://"
EXAMPLE = '{"url": "redis://localhost:6379/0"}'


def wrong_app(config: dict[str, Any]) -> str:
    """What init_app says, kind of error included."""
    app = Flask("app")
    app.config.update(config)
    with pytest.raises((TypeError, ValueError)) as caught:
        ForkSafePool(app)
    shown = str(caught.getrepr(style="short")) + repr(caught.value.__context__)
    assert SECRET not in shown.replace(repr(config), "")
    return f"{caught.typename}: {caught.value}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {},
            "ValueError: no pool is configured: set FORKSAFE_POOL_URL, to "
            '"redis://localhost:6379/0" for example, or FORKSAFE_POOLS, before init_app',
        ),
        (
            {"FORKSAFE_POOL_URL": URL, "FORKSAFE_POOLS": {"default": {"url": URL}}},
            'ValueError: FORKSAFE_POOL_URL and FORKSAFE_POOLS["default"] both define the pool '
            '"default": remove one of them',
        ),
        (
            {"FORKSAFE_POOLS": f"redis://:{SECRET}@localhost"},
            f'TypeError: FORKSAFE_POOLS must be a dict such as {{"default": {EXAMPLE}}}, not str',
        ),
        (
            {"FORKSAFE_POOLS": {5: {"url": URL}}},
            "TypeError: FORKSAFE_POOLS: a name must be text, not 5",
        ),
        (
            {"FORKSAFE_POOLS": {"": {"url": URL}}},
            "ValueError: FORKSAFE_POOLS: a name must not be empty",
        ),
    ],
)
def test_errors_of_the_whole(config: dict[str, Any], message: str) -> None:
    assert wrong_app(config) == message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (5, 'TypeError: * must be text such as "redis://localhost:6379/0", not int'),
        (f"redi://:{SECRET}@localhost", f"ValueError: *: 'redi://***' {SCHEMES}"),
        (SECRET, f"ValueError: *: '***' {SCHEMES}"),
        (f"redis://:{SECRET}", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:{SECRET}@localhost:port", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:{SECRET}@localhost?db=zero", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:{SECRET}@localhost/cache", f"ValueError: *: 'redis://***' {DATABASE}"),
        # "/", "?" and "#" that should have been percent-encoded:
        (f"redis://:{SECRET}/1@localhost", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:1/{SECRET}@localhost", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:1?{SECRET}=1@localhost", f"ValueError: *: {UNREADABLE}"),
        (f"redis://:1#{SECRET}@localhost", f"ValueError: *: {UNREADABLE}"),
        (f"redis://[{SECRET}@localhost", f"ValueError: *: {UNREADABLE}"),
        (
            f"redis://:{SECRET}@localhost?max_conections=5",
            'ValueError: * query["max_conections"]: unknown option of BlockingConnectionPool, '
            'did you mean "max_connections"?',
        ),
    ],
)
def test_errors_of_a_url(url: object, message: str) -> None:
    for key, config in (
        ("FORKSAFE_POOL_URL", {"FORKSAFE_POOL_URL": url}),
        ('FORKSAFE_POOLS["cache"]["url"]', {"FORKSAFE_POOLS": {"cache": {"url": url}}}),
    ):
        assert wrong_app(config) == message.replace("*", key, 1)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"redis://:{SECRET}@localhost", f"TypeError: * must be a dict such as {EXAMPLE}, not str"),
        ({"url": URL, 5: 6}, "TypeError: *: a name must be text, not 5"),
        ({"url": URL, "": 6}, "ValueError: *: a name must not be empty"),
        ({"url": URL, "name": ""}, "ValueError: *: name must not be empty"),
        ({"connect": fakes.connect, "name": ""}, "ValueError: *: name must not be empty"),
        (
            {"max_size": 5},
            'ValueError: * must have either "url", for Redis, or "connect", for anything else; '
            "it has neither",
        ),
        (
            {"url": f"redis://:{SECRET}@localhost", "connect": fakes.connect},
            'ValueError: * must have either "url", for Redis, or "connect", for anything else; '
            "it has both",
        ),
        (
            {"url": URL, "socket_timeout": "5"},
            "TypeError: *: socket_timeout must be a number of seconds above 0 and below 9e+09, "
            "not '5'",
        ),
        (
            {"url": URL, "pasword": SECRET},
            'ValueError: *["pasword"]: unknown option of BlockingConnectionPool, '
            'did you mean "password"?',
        ),
        (
            {"url": URL, "max_size": 5},
            'ValueError: *["max_size"]: unknown option of BlockingConnectionPool, '
            'did you mean "max_connections"?',
        ),
        (
            {"url": URL, "wibble": 5},
            'ValueError: *["wibble"]: unknown option of BlockingConnectionPool',
        ),
        (
            {"url": f"redis://:{SECRET}@localhost", "max_connections": 0},
            "ValueError: *: max_connections must be at least 1, not 0",
        ),
        (
            {"url": URL, "max_connections": "5"},
            "TypeError: *: max_connections must be a whole number, not '5'",
        ),
        (
            {"url": URL, "timeout": "soon"},
            "ValueError: *: timeout must be a number, not 'soon'",
        ),
        (
            {"url": URL, "max_idle": -1},
            "ValueError: *: max_idle must be 0 seconds or more, not -1",
        ),
        (
            {"url": f"rediss://:{SECRET}@localhost", "ssl_cert_reqs": "perhaps"},
            "ValueError: *: ssl_cert_reqs must be none, optional, required or an ssl.VerifyMode, "
            "not 'perhaps'",
        ),
        ({"connect": 5}, "TypeError: *: connect must be a function, not 5"),
        (
            {"connect": fakes.connect, "max_size": 0},
            "ValueError: *: max_size must be at least 1, not 0",
        ),
        (
            {"connect": fakes.connect, "max_connections": 5},
            'ValueError: *["max_connections"]: unknown option of Pool, did you mean "max_size"?',
        ),
        (
            {"connect": fakes.connect, "configur": 5},
            'ValueError: *["configur"]: unknown option of Pool, did you mean "configure"?',
        ),
        (
            {"connect": f"postgresql://me:{SECRET}@localhost/shop"},
            'ValueError: *["connect"] must be a function, or text such as '
            '"package.module:function"',
        ),
        (
            {"connect": "no_such_module:connect"},
            'ValueError: *["connect"]: "no_such_module:connect" cannot be imported: '
            "No module named 'no_such_module'",
        ),
        (
            {"connect": fakes.connect, "close": f"{FAKES}:shut"},
            f'ValueError: *["close"]: "{FAKES}:shut" cannot be imported: '
            f"module '{FAKES}' has no attribute 'shut'",
        ),
    ],
)
def test_errors_of_a_pool(spec: object, message: str) -> None:
    config = {"FORKSAFE_POOLS": {"cache": spec}}
    assert wrong_app(config) == message.replace("*", 'FORKSAFE_POOLS["cache"]', 1)


class Broken(redis.Connection):
    def __init__(self, **options: Any) -> None:
        raise LookupError("no such thing")


TIMEOUT = "a number of seconds above 0 and below 9e+09"


@pytest.mark.parametrize("name", ["a b", "a\nb", "é"])
def test_a_name_that_redis_does_not_take(name: str) -> None:
    said = wrong_app({"FORKSAFE_POOLS": {"cache": {"url": URL, "client_name": name}}})
    message = f"client_name must be text without blanks, not {name!r}"
    assert said == f'ValueError: FORKSAFE_POOLS["cache"]: {message}'


def test_values_that_redis_py_takes(make_app: MakeApp, redis_url: str) -> None:
    spec = {
        "url": redis_url,
        "db": 0,
        "socket_timeout": 5,
        "socket_connect_timeout": None,
        "health_check_interval": 0,
        "socket_keepalive": True,
        "socket_keepalive_options": {socket.TCP_KEEPINTVL: 10},
        "client_name": "shop:1",
        "encoding": "latin-1",
        "encoding_errors": "replace",
        "retry": Retry(NoBackoff(), 1),
        "retry_on_error": (redis.ConnectionError, redis.TimeoutError),
        "redis_connect_func": lambda conn: conn.on_connect(),
        "credential_provider": redis.UsernamePasswordCredentialProvider("default", "any"),
        "connection_class": redis.Connection,
    }
    pool = redis_pool(make_app(FORKSAFE_POOLS={"default": spec}))
    assert redis.Redis(connection_pool=pool).echo("é") == "é".encode("latin-1")


@pytest.mark.parametrize("provider", [SECRET, {"password": SECRET}])
def test_what_stands_for_a_provider_of_credentials_is_not_shown(provider: object) -> None:
    spec = {"url": URL, "credential_provider": provider}
    assert wrong_app({"FORKSAFE_POOLS": {"cache": spec}}) == (
        'TypeError: FORKSAFE_POOLS["cache"]: credential_provider must be '
        f"a redis.CredentialProvider, not {type(provider).__name__}"
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("socket_timeout=-1", f"socket_timeout must be {TIMEOUT}, not -1.0"),
        ("socket_timeout=nan", f"socket_timeout must be {TIMEOUT}, not nan"),
        ("socket_connect_timeout=0", f"socket_connect_timeout must be {TIMEOUT}, not 0.0"),
        (
            "health_check_interval=-5",
            "health_check_interval must be 0 seconds or more, not -5",
        ),
        ("db=-1", "db must be a whole number, 0 or more, not -1"),
        ("client_name=a%20b", "client_name must be text without blanks, not 'a b'"),
        ("encoding=klingon", "encoding must be a codec of text that Python knows, not 'klingon'"),
        ("retry_on_error=x", "retry_on_error must be a list of exceptions, not ['x']"),
        ("retry=3", "retry must be a redis.retry.Retry, not '3'"),
    ],
)
def test_options_of_a_query_are_checked_too(query: str, message: str) -> None:
    said = wrong_app({"FORKSAFE_POOL_URL": f"redis://:{SECRET}@localhost?{query}"})
    assert said.partition(": ")[2] == f"FORKSAFE_POOL_URL: {message}"


def test_an_error_that_a_connection_class_raises_names_the_pool() -> None:
    spec = {"url": URL, "connection_class": Broken}
    assert wrong_app({"FORKSAFE_POOLS": {"cache": spec}}) == (
        'ValueError: FORKSAFE_POOLS["cache"]: LookupError: no such thing'
    )


@pytest.mark.parametrize("path", ["", ":", "a:", ":b", ".a:b", "a..b:c", "1:2", "a:b.", "a b:c"])
def test_a_path_that_no_function_can_have(path: str) -> None:
    assert wrong_app({"FORKSAFE_POOLS": {"cache": {"connect": path}}}) == (
        'ValueError: FORKSAFE_POOLS["cache"]["connect"] must be a function, or text such as '
        '"package.module:function"'
    )


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os.environ['SHOP_DSN']", "KeyError: 'SHOP_DSN'"),
        ("def connect(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    (tmp_path / "broken_shop.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    assert wrong_app({"FORKSAFE_POOLS": {"cache": {"connect": "broken_shop:connect"}}}).startswith(
        'ValueError: FORKSAFE_POOLS["cache"]["connect"]: "broken_shop:connect" cannot be imported: '
        + said
    )


def test_a_wrong_option_of_a_connection_class_that_is_no_class(redis_url: str) -> None:
    def special(**options: Any) -> redis.Connection:
        raise ValueError("colour is missing")

    spec = {"url": redis_url, "connection_class": special, "shape": "round"}
    assert wrong_app({"FORKSAFE_POOLS": {"cache": spec}}) == (
        'ValueError: FORKSAFE_POOLS["cache"]: colour is missing'
    )
