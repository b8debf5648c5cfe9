"""A connection for the length of a request, or of any other app context."""

from __future__ import annotations

import contextvars
from typing import Any

import psycopg
import pytest
from flask import Flask

from forksafe_flask import ForkSafePool
from forksafe_pool import Pool, PoolTimeout
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.integrations.forksafe_flask.fakes import Connections, FakeConnection
from tests.support.postgres import Postgres


class Interrupted(BaseException):
    """As GreenletExit and CancelledError: no ``Exception``."""


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def app(make_app: MakeApp, connections: Connections, redis_url: str) -> Flask:
    return make_app(
        FORKSAFE_POOLS={
            "default": {"url": redis_url, "max_connections": 2},
            "other": {"connect": connections, "max_size": 2, "timeout": 0},
        }
    )


def client_id(conn: Any) -> int:
    conn.send_command("CLIENT", "ID")
    return int(conn.read_response())


def test_one_connection_for_a_request(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    @app.get("/")
    def view() -> str:
        conn = pools.connection("other")
        assert pools.connection("other") is conn
        assert pools.stats()["other"].in_use == 1
        return "done"

    for _ in range(2):
        assert app.test_client().get("/").text == "done"
        with app.app_context():
            assert pools.stats()["other"].in_use == 0
    assert len(connections.made) == 1
    assert not connections.made[0].closed


def test_one_redis_connection_for_a_request(app: Flask, pools: ForkSafePool) -> None:
    @app.get("/")
    def view() -> dict[str, int]:
        first = client_id(pools.connection())
        assert client_id(pools.connection()) == first
        assert pools.redis.client_id() != first
        return {"id": first}

    client = app.test_client()
    ids = [client.get("/").json["id"] for _ in range(2)]  # type: ignore[index]
    with app.app_context():
        stats = pools.stats()["default"]
        assert (stats.total, stats.available, stats.in_use) == (2, 2, 0)
        # The two connections are now in the pool, the last released on top.
        assert client_id(pools.connection()) == ids[1]


def test_a_request_that_needs_none_acquires_none(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    app.get("/")(lambda: "done")
    assert app.test_client().get("/").text == "done"
    with app.app_context():
        assert all(stats.acquired == 0 for stats in pools.stats().values())


def test_an_error_closes_the_connections(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    @app.get("/")
    def view() -> str:
        pools.connection("other")
        pools.connection()
        raise ValueError("a bug")

    assert app.test_client().get("/").status_code == 500
    with app.app_context():
        for name in ("default", "other"):
            stats = pools.stats()[name]
            assert (stats.total, stats.in_use, stats.closed) == (0, 0, 1)
    assert connections.made[0].closed


def test_a_redis_transaction_that_an_error_cut_off_is_nobody_else_s(
    app: Flask, pools: ForkSafePool
) -> None:
    @app.get("/<who>")
    def view(who: str) -> str:
        conn = pools.connection()
        if who == "alice":
            conn.send_command("MULTI")
            conn.read_response()
            raise ValueError("a bug")
        conn.send_command("ECHO", who)
        reply: bytes = conn.read_response()
        return reply.decode()

    client = app.test_client()
    assert client.get("/alice").status_code == 500
    assert client.get("/bob").text == "bob"


def test_a_transaction_that_an_error_cut_off_is_nobody_else_s(
    make_app: MakeApp, pools: ForkSafePool, postgres: Postgres
) -> None:
    def connect() -> psycopg.Connection:
        return psycopg.connect(host=postgres.host, port=postgres.port, user="postgres")

    spec = {"connect": connect, "max_size": 1}
    rolling_back = {**spec, "reset": lambda conn: conn.rollback()}
    app = make_app(FORKSAFE_POOLS={"plain": spec, "rolling back": rolling_back})

    @app.get("/<name>/<who>")
    def view(name: str, who: str) -> str:
        conn = pools.connection(name)
        conn.execute("INSERT INTO visitors VALUES (%s)", (who,))
        if who == "alice":
            raise ValueError("a bug")
        if who == "carol":
            raise LookupError("handled")
        conn.commit()
        return who

    app.errorhandler(LookupError)(lambda error: str(error))
    client = app.test_client()
    with connect() as observer:
        observer.autocommit = True
        observer.execute("DROP TABLE IF EXISTS visitors")
        observer.execute("CREATE TABLE visitors (name text)")
        assert client.get("/plain/alice").status_code == 500
        assert client.get("/rolling back/alice").status_code == 500
        assert client.get("/rolling back/carol").text == "handled"
        for name in ("plain", "rolling back"):
            assert client.get(f"/{name}/bob").text == "bob"
        assert observer.execute("SELECT name FROM visitors").fetchall() == [("bob",)] * 2
    with app.app_context():
        stats = pools.stats()
        assert (stats["plain"].closed, stats["rolling back"].closed) == (1, 0)


@pytest.mark.parametrize(
    ("error", "fit", "kept"),
    [(ValueError(), True, True), (ValueError(), False, False), (SystemExit(1), True, False)],
)
def test_a_reset_vouches_for_what_an_error_has_left(
    make_app: MakeApp,
    pools: ForkSafePool,
    connections: Connections,
    error: BaseException,
    fit: bool,
    kept: bool,
) -> None:
    spec = {"connect": connections, "reset": lambda conn: fit}
    app = make_app(FORKSAFE_POOLS={"default": spec})
    context = app.app_context()
    context.push()
    pools.connection()
    context.pop(error)
    assert connections.made[0].closed is not kept
    with app.app_context():
        assert pools.stats()["default"].available == kept


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), Interrupted()])
def test_an_interruption_closes_the_connection(
    app: Flask, pools: ForkSafePool, connections: Connections, error: BaseException
) -> None:
    @app.get("/")
    def view() -> str:
        pools.connection("other")
        raise error

    with pytest.raises(type(error)):
        app.test_client().get("/")
    assert connections.made[0].closed
    with app.app_context():
        stats = pools.stats()["other"]
        assert (stats.total, stats.in_use, stats.closed) == (0, 0, 1)
        assert pools.connection("other") is connections.made[1]


def test_an_interruption_closes_the_redis_connection(
    app: Flask, pools: ForkSafePool, redis_url: str
) -> None:
    ids = []

    @app.get("/")
    def view() -> str:
        ids.append(client_id(pools.connection()))
        raise SystemExit(1)

    with pytest.raises(SystemExit):
        app.test_client().get("/")
    with app.app_context():
        stats = pools.stats()["default"]
        assert (stats.available, stats.in_use) == (stats.total, 0)
        ids.append(client_id(pools.connection()))
    assert ids[0] != ids[1]


def test_a_connection_whose_disconnecting_fails_is_given_back(
    app: Flask, pools: ForkSafePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise Interrupted

    context = app.app_context()
    context.push()
    conn = pools.connection()
    with monkeypatch.context() as patch:
        patch.setattr(conn, "disconnect", fail)
        with pytest.raises(Interrupted):
            context.pop(SystemExit(1))
    with app.app_context():
        assert pools.stats()["default"].in_use == 0


def test_a_release_that_fails_keeps_no_other_from_being_given_back(
    make_app: MakeApp, pools: ForkSafePool
) -> None:
    def reset(_: FakeConnection) -> None:
        raise Interrupted

    healthy = {"connect": Connections()}
    broken = {"connect": Connections(), "reset": reset}
    app = make_app(FORKSAFE_POOLS={"a": healthy, "b": broken, "c": broken, "d": healthy})
    context = app.app_context()
    context.push()
    for name in "abcd":
        pools.connection(name)
    with pytest.raises(Interrupted):
        context.pop(None)
    with app.app_context():
        assert [stats.in_use for stats in pools.stats().values()] == [0, 0, 0, 0]
        assert [stats.available for stats in pools.stats().values()] == [1, 0, 0, 1]


@pytest.mark.parametrize("name", ["default", "other"])
@pytest.mark.parametrize("give_back", ["release", "discard"])
def test_what_was_given_back_by_hand_is_not_leased_any_more(
    app: Flask, pools: ForkSafePool, name: str, give_back: str
) -> None:
    """Nor is it given back again at the end: it may be somebody else's then."""
    with app.app_context():
        pool: Any = pools.get_pool(name)
        conn = pools.connection(name)
        getattr(pool, give_back)(conn)
        others = pool.get_connection() if name == "default" else pool.acquire()
        assert (others is conn) == (give_back == "release")
        again = pools.connection(name)
        assert again not in (conn, others)
        assert pools.connection(name) is again
        pool.release(again)
    stats = pool.stats()
    assert (stats.in_use, stats.foreign_releases) == (1, 0)
    pool.release(others)


def test_what_is_leased_when_the_context_has_ended_goes_with_it(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    with app.app_context():
        copied = contextvars.copy_context()
    copied.run(pools.connection, "other")
    with app.app_context():
        assert pools.stats()["other"].in_use == 1
        del copied
        assert pools.stats()["other"].total == 0
    assert connections.made[0].closed


def test_nested_contexts_have_connections_of_their_own(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    with app.app_context():
        outer = pools.connection("other")
        with app.app_context():
            assert pools.connection("other") is not outer
            assert pools.stats()["other"].in_use == 2
        assert pools.stats()["other"].in_use == 1
        assert pools.connection("other") is outer
    assert len(connections.made) == 2


def test_an_exhausted_pool_says_so_and_costs_nothing(app: Flask, pools: ForkSafePool) -> None:
    with app.app_context():
        pool = pools.get_pool("other")
        assert isinstance(pool, Pool)
        held = [pool.acquire(), pool.acquire()]
        with pytest.raises(PoolTimeout):
            pools.connection("other")
        pool.release(held[0])
        assert pools.connection("other") is held[0]
    assert pool.stats().in_use == 1
    pool.release(held[1])


def test_connections_serve_a_command_too(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    @app.cli.command("work")
    def work() -> None:
        pools.connection("other")

    assert app.test_cli_runner().invoke(args=["work"]).exit_code == 0
    with app.app_context():
        stats = pools.stats()["other"]
        assert (stats.acquired, stats.in_use) == (1, 0)
