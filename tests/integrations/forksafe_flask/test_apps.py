"""One extension, any number of apps."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import redis
from flask import Flask

from forksafe_flask import ForkSafePool
from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.integrations.forksafe_flask.fakes import Connections, FakeConnection


def test_the_app_can_be_given_at_once(redis_url: str) -> None:
    app = Flask("app")
    app.config["FORKSAFE_POOL_URL"] = redis_url
    pools = ForkSafePool(app)
    assert app.extensions["forksafe_pool"] is pools
    with app.app_context():
        assert pools.redis.ping()
        pools.get_pool().close()


@pytest.mark.parametrize("app", ["app", {"FORKSAFE_POOL_URL": "redis://secret"}, Flask])
def test_something_else_than_an_app(pools: ForkSafePool, app: object) -> None:
    with pytest.raises(TypeError, match=r"^app must be a Flask app, not \w+$"):
        pools.init_app(app)  # type: ignore[arg-type]


def test_a_client_of_the_default_pool(
    make_app: MakeApp, pools: ForkSafePool, redis_url: str
) -> None:
    app = make_app(FORKSAFE_POOL_URL=redis_url)
    with app.app_context():
        client = pools.redis
        assert client.ping()
        assert pools.redis is client
        assert pools.get_redis() is client
        assert pools.get_redis("default") is client
        assert client.connection_pool is pools.get_pool()
    with app.test_request_context():
        assert pools.redis is client


def test_several_pools(make_app: MakeApp, pools: ForkSafePool, redis_url: str) -> None:
    connections = Connections()
    app = make_app(
        FORKSAFE_POOLS={
            "default": {"url": redis_url},
            "cache": {"url": redis_url, "max_connections": 5, "timeout": 1.0},
            "other": {"connect": connections, "max_size": 3},
        }
    )
    with app.app_context():
        default, cache, other = (pools.get_pool(name) for name in ("default", "cache", "other"))
        assert isinstance(default, BlockingConnectionPool)
        assert isinstance(cache, BlockingConnectionPool)
        assert default is not cache
        assert (cache.max_connections, cache.timeout) == (5, 1.0)
        assert pools.get_redis("cache").connection_pool is cache
        assert isinstance(other, Pool)
        assert other.max_size == 3
        assert pools.connection("other") is connections.made[0]


def test_a_url_for_the_default_beside_other_pools(
    make_app: MakeApp, pools: ForkSafePool, redis_url: str
) -> None:
    app = make_app(
        FORKSAFE_POOL_URL=redis_url, FORKSAFE_POOLS={"other": {"connect": Connections()}}
    )
    with app.app_context():
        assert list(pools.stats()) == ["default", "other"]


def test_two_apps_of_one_factory_have_pools_of_their_own(
    make_app: MakeApp, pools: ForkSafePool, redis_url: str
) -> None:
    first, second = (make_app(FORKSAFE_POOL_URL=redis_url) for _ in range(2))
    with first.app_context():
        pool = pools.get_pool()
        conn = pools.connection()
        with second.app_context():
            assert pools.get_pool() is not pool
            assert pools.connection() is not conn
            assert pools.stats()["default"].in_use == 1
        assert pools.get_pool() is pool
        assert pools.connection() is conn


def test_an_app_that_is_dropped_takes_its_pools_with_it(pools: ForkSafePool) -> None:
    connections = Connections()
    app = Flask("app")
    app.config["FORKSAFE_POOLS"] = {"other": {"connect": connections}}
    pools.init_app(app)
    with app.app_context():
        pools.connection("other")
    reference = weakref.ref(app)
    del app
    gc.collect()
    assert reference() is None
    assert connections.made[0].closed


def test_so_it_does_where_its_callbacks_refer_to_it(pools: ForkSafePool) -> None:
    apps: weakref.WeakSet[Flask] = weakref.WeakSet()
    found: weakref.WeakSet[Pool[Any]] = weakref.WeakSet()

    def create_app() -> None:
        app = Flask("dropped")
        app.config["FORKSAFE_POOLS"] = {
            "default": {"connect": FakeConnection, "check": lambda _: app.debug}
        }
        pools.init_app(app)
        app.get("/")(lambda: str(pools.connection()))
        assert app.test_client().get("/").status_code == 200
        apps.add(app)
        with app.app_context():
            pool = pools.get_pool()
            assert isinstance(pool, Pool)
            found.add(pool)

    for _ in range(100):
        create_app()
    gc.collect()
    assert (len(apps), len(found)) == (0, 0)


def test_init_app_does_not_connect(make_app: MakeApp, pools: ForkSafePool, redis_url: str) -> None:
    connections = Connections()
    observer = redis.Redis.from_url(redis_url)
    before = {client["id"] for client in observer.client_list()}
    app = make_app(
        FORKSAFE_POOLS={
            "default": {"url": redis_url, "min_size": 2},
            "other": {"connect": connections, "min_size": 2},
        }
    )
    with app.app_context():
        assert pools.redis.connection_pool is pools.get_pool()
        assert all(stats.opened == 0 for stats in pools.stats().values())
    assert {client["id"] for client in observer.client_list()} == before
    assert connections.made == []
    observer.close()


def test_init_app_needs_no_server(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(FORKSAFE_POOL_URL="redis://127.0.0.1:1/0")
    with app.app_context(), pytest.raises(redis.ConnectionError):
        pools.redis.ping()


@pytest.mark.parametrize("same", [True, False])
def test_an_app_has_one_extension(make_app: MakeApp, pools: ForkSafePool, same: bool) -> None:
    app = make_app(FORKSAFE_POOLS={"other": {"connect": Connections()}})
    with app.app_context():
        pool = pools.get_pool("other")
    with pytest.raises(RuntimeError, match=r"<Flask 'app0'> has a ForkSafePool already"):
        (pools if same else ForkSafePool()).init_app(app)
    with app.app_context():
        assert pools.get_pool("other") is pool


def test_after_an_error_init_app_can_be_called_again(pools: ForkSafePool) -> None:
    app = Flask("app")
    with pytest.raises(ValueError, match="no pool is configured"):
        pools.init_app(app)
    app.config["FORKSAFE_POOLS"] = {"other": {"connect": Connections()}}
    pools.init_app(app)
    with app.app_context():
        assert pools.get_pool("other").name == "other"


def test_outside_an_app_context(make_app: MakeApp, pools: ForkSafePool) -> None:
    make_app(FORKSAFE_POOL_URL="redis://localhost")
    message = r"needs an app context.*with app\.app_context\(\):.*copy_context.*stream_with_context"
    for use in (
        lambda: pools.redis,
        pools.get_redis,
        pools.get_pool,
        pools.connection,
        pools.stats,
    ):
        with pytest.raises(RuntimeError, match=message):
            use()


def test_in_an_app_that_it_does_not_serve(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(FORKSAFE_POOL_URL="redis://localhost")
    message = r"this ForkSafePool does not serve <Flask '\w+'>: call its init_app\(app\)"
    for served, extension in ((Flask("plain"), pools), (app, ForkSafePool())):
        with served.app_context(), pytest.raises(RuntimeError, match=message):
            extension.get_pool()


def test_a_name_that_no_pool_has(make_app: MakeApp, pools: ForkSafePool) -> None:
    spec = {"connect": Connections()}
    app = make_app(FORKSAFE_POOLS={"one": spec, "two": spec})
    message = r'no pool "default", only "one", "two": add FORKSAFE_POOLS\["default"\]'
    with app.app_context():
        for use in (lambda: pools.redis, pools.get_redis, pools.get_pool, pools.connection):
            with pytest.raises(LookupError, match=message):
                use()


def test_a_client_of_a_pool_without_a_url(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(FORKSAFE_POOLS={"default": {"connect": Connections()}})
    with app.app_context(), pytest.raises(TypeError, match=r'"default" has no Redis client.*"url"'):
        _ = pools.redis


def test_the_shell_has_pools(make_app: MakeApp, pools: ForkSafePool) -> None:
    app = make_app(FORKSAFE_POOL_URL="redis://localhost")
    with app.app_context():
        assert app.make_shell_context()["pools"] is pools
