"""Threads that run in copies of one request's context, as `asyncio.to_thread` has them do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from forksafe_flask import ForkSafePool, _extension
from forksafe_pool import PoolStats
from tests.forksafe_pool.threads import LIMIT, Caller
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.integrations.forksafe_flask.fakes import Connections, FakeConnection
from tests.support.programs import run_program


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def app(make_app: MakeApp, connections: Connections, redis_url: str) -> Flask:
    return make_app(
        FORKSAFE_POOLS={
            "default": {"url": redis_url, "max_connections": 4},
            "other": {"connect": connections, "max_size": 4, "timeout": LIMIT},
        }
    )


def stats(app: Flask, pools: ForkSafePool, name: str) -> PoolStats:
    with app.app_context():
        return pools.stats()[name]


def run_in_context(function: Callable[[], Any]) -> Caller[Any]:
    """In a thread of its own."""
    context = contextvars.copy_context()
    return Caller(lambda: context.run(function))


@pytest.mark.parametrize("name", ["default", "other"])
@pytest.mark.parametrize("end", [None, ValueError("a bug")])
def test_each_thread_has_a_connection_and_all_are_given_back(
    app: Flask, pools: ForkSafePool, name: str, end: Exception | None
) -> None:
    @app.get("/")
    def view() -> str:
        both = threading.Barrier(2)

        def work() -> tuple[Any, Any]:
            both.wait(LIMIT)
            first = pools.connection(name)
            both.wait(LIMIT)
            return first, pools.connection(name)

        async def work_twice() -> Any:
            return await asyncio.gather(asyncio.to_thread(work), asyncio.to_thread(work))

        mine = pools.connection(name)
        (one, again), (other, other_again) = asyncio.run(work_twice())
        assert one is again
        assert other is other_again
        assert len({mine, one, other}) == 3
        assert pools.connection(name) is mine
        if end is not None:
            raise end
        return "done"

    for _ in range(3):
        assert app.test_client().get("/").status_code == (200 if end is None else 500)
        found = stats(app, pools, name)
        assert (found.in_use, found.foreign_releases) == (0, 0)
        assert found.available == found.total == (3 if end is None else 0)


def test_what_an_ended_thread_has_leased_serves_the_next_one(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    with app.app_context():
        mine = pools.connection("other")
        for _ in range(10):
            assert run_in_context(lambda: pools.connection("other")).result() is not mine
        assert pools.connection("other") is mine
    assert len(connections.made) == 2
    found = stats(app, pools, "other")
    assert (found.available, found.in_use, found.foreign_releases) == (2, 0, 0)


def test_a_thread_that_connects_while_the_context_ends(
    make_app: MakeApp, pools: ForkSafePool
) -> None:
    """Its connection is its own until the context is gone, to the last copy."""
    under_way, proceed = threading.Event(), threading.Event()
    connections = Connections()

    def connect() -> FakeConnection:
        if connections.made:
            under_way.set()
            assert proceed.wait(LIMIT)
        return connections()

    app = make_app(FORKSAFE_POOLS={"default": {"connect": connect}})
    with app.app_context():
        pools.connection()
        caller = run_in_context(pools.connection)
        assert under_way.wait(LIMIT)
    proceed.set()
    conn = caller.result()
    assert not conn.closed
    assert stats(app, pools, "default").in_use == 1
    del caller
    assert conn.closed
    assert stats(app, pools, "default").in_use == 0


def test_a_release_that_fails_loses_no_other_thread_s(
    make_app: MakeApp, pools: ForkSafePool
) -> None:
    connections = Connections()

    def reset(conn: FakeConnection) -> None:
        if conn is connections.made[1]:
            raise KeyboardInterrupt

    app = make_app(FORKSAFE_POOLS={"default": {"connect": connections, "reset": reset}})
    context = app.app_context()
    context.push()
    go = threading.Event()

    def work() -> None:
        pools.connection()
        assert go.wait(LIMIT)

    pools.connection()
    pool: Any = pools.get_pool()
    callers = []
    for number in (2, 3):
        callers.append(run_in_context(work))
        while pool.stats().in_use < number:
            assert callers[-1].running
    with pytest.raises(KeyboardInterrupt):
        context.pop(None)
    go.set()
    for caller in callers:
        caller.result()
    found = stats(app, pools, "default")
    assert (found.available, found.in_use, found.closed) == (2, 0, 1)


def test_a_signal_handler_that_leases_while_its_thread_does(
    make_app: MakeApp, pools: ForkSafePool
) -> None:
    connections = Connections()
    handled: list[object] = []

    def connect() -> FakeConnection:
        if not handled:
            handled.append(None)
            signal.raise_signal(signal.SIGUSR1)
        return connections()

    app = make_app(FORKSAFE_POOLS={"default": {"connect": connect}})
    before = signal.signal(signal.SIGUSR1, lambda *_: handled.append(pools.connection()))
    try:
        with app.app_context():
            conn = pools.connection()
            assert handled == [None, conn]
            assert pools.connection() is conn
            assert pools.stats()["default"].in_use == 1
    finally:
        signal.signal(signal.SIGUSR1, before)
    found = stats(app, pools, "default")
    assert (found.in_use, found.available, found.foreign_releases) == (0, 2, 0)


def test_an_interruption_between_two_releases_loses_neither(
    app: Flask, pools: ForkSafePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(contextlib.ExitStack):
        """A signal's exception strikes when it is about to call what it was given."""

        def __exit__(self, *_: Any) -> bool:
            raise KeyboardInterrupt

    context = app.app_context()
    context.push()
    for name in ("default", "other"):
        pools.connection(name)
    with monkeypatch.context() as patch:
        patch.setattr(_extension, "ExitStack", Interrupted)
        with pytest.raises(KeyboardInterrupt) as told:
            context.pop(None)
    del context, told
    gc.collect()
    assert [stats(app, pools, name).in_use for name in ("default", "other")] == [0, 0]


def test_each_greenlet_has_a_connection() -> None:
    pytest.importorskip("gevent")
    said = run_program(
        """
        from gevent import monkey
        monkey.patch_all()
        import contextvars
        import gevent
        from flask import Flask
        from forksafe_flask import ForkSafePool, _extension
        from tests.integrations.forksafe_flask.fakes import Connections

        pools = ForkSafePool()
        app = Flask("app")
        app.config["FORKSAFE_POOLS"] = {"default": {"connect": Connections()}}
        pools.init_app(app)

        def work():
            conn = pools.connection()
            gevent.sleep(0)
            assert pools.connection() is conn
            return conn

        for _ in range(2):
            with app.app_context():
                mine = pools.connection()
                contexts = [contextvars.copy_context() for _ in range(3)]
                greenlets = [gevent.spawn(context.run, work) for context in contexts]
                gevent.joinall(greenlets, timeout=10, raise_error=True)
                assert len({mine, *(greenlet.value for greenlet in greenlets)}) == 4
                for _ in range(3):  # what ended greenlets have leased may serve these
                    greenlet = gevent.spawn(contextvars.copy_context().run, work)
                    gevent.joinall([greenlet], timeout=10, raise_error=True)
                    assert greenlet.value is not mine
        with app.app_context():
            stats = pools.stats()["default"]
            print(stats.in_use, stats.foreign_releases, stats.available == stats.total)
        """
    )
    assert said.split() == ["0", "0", "True"]
