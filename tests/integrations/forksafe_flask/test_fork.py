"""The app is made, and even used, before the fork."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from forksafe_flask import ForkSafePool
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.support.forks import c_fork, in_child, os_fork
from tests.support.valkey import Valkey

FORKS = pytest.mark.parametrize("fork", [os_fork, c_fork])


@pytest.fixture
def app(make_app: MakeApp, pools: ForkSafePool, redis_url: str) -> Flask:
    app = make_app(FORKSAFE_POOLS={"default": {"url": redis_url, "max_connections": 2}})

    @app.get("/")
    def view() -> dict[str, int]:
        stats = pools.stats()["default"]
        return {
            "leased": client_id(pools.connection()),
            "client": pools.redis.client_id(),
            "total": stats.total,
            "severed": stats.severed,
        }

    return app


def client_id(conn: Any) -> int:
    conn.send_command("CLIENT", "ID")
    return int(conn.read_response())


def ask(app: Flask) -> Any:
    response = app.test_client().get("/")
    assert response.status_code == 200, response.text
    return response.json


@FORKS
def test_a_child_serves_requests_with_connections_of_its_own(
    app: Flask, fork: Callable[[], int]
) -> None:
    ours = ask(app)
    theirs = in_child(lambda: ask(app), fork)
    assert (theirs["total"], theirs["severed"]) == (0, 2)
    assert not {ours["leased"], ours["client"]} & {theirs["leased"], theirs["client"]}
    again = ask(app)
    assert {again["leased"], again["client"]} == {ours["leased"], ours["client"]}
    assert (again["total"], again["severed"]) == (2, 0)


@FORKS
@pytest.mark.parametrize("ending", [None, ValueError(), SystemExit(1)])
def test_a_request_that_forks_keeps_its_connection(
    app: Flask, pools: ForkSafePool, fork: Callable[[], int], ending: BaseException | None
) -> None:
    with app.app_context() as context:
        conn = pools.connection()
        ours = client_id(conn)

        def child() -> tuple[int, int]:
            context.pop(ending)
            with app.app_context():
                stats = pools.stats()["default"]
                return stats.in_use, client_id(pools.connection())

        in_use, theirs = in_child(child, fork)
        assert in_use == 0
        assert theirs != ours
        assert client_id(conn) == ours


@FORKS
@pytest.mark.parametrize("name", ["default", "other"])
def test_a_child_forked_in_a_request_leases_a_connection_of_its_own(
    make_app: MakeApp,
    pools: ForkSafePool,
    valkey: Valkey,
    fork: Callable[[], int],
    name: str,
) -> None:
    address = valkey.host, valkey.port
    app = make_app(
        FORKSAFE_POOLS={
            "default": {"url": valkey.url},
            "other": {"connect": lambda: socket.create_connection(address, 5)},
        }
    )

    def ask(conn: Any) -> int:
        if name == "default":
            return client_id(conn)
        conn.sendall(b"CLIENT ID\r\n")
        return int(conn.recv(100)[1:])

    with app.app_context() as context:
        conn = pools.connection(name)
        ours = ask(conn)

        def child() -> tuple[int, int, int]:
            theirs = ask(pools.connection(name))
            assert ask(pools.connection(name)) == theirs
            in_use = pools.stats()[name].in_use
            context.pop(ValueError())
            with app.app_context():
                return theirs, in_use, pools.stats()[name].total

        theirs, in_use, left = in_child(child, fork)
        assert theirs != ours
        assert (in_use, left) == (1, 0)
        assert ask(conn) == ours
        assert pools.connection(name) is conn


def test_an_interrupted_child_with_the_pid_of_its_parent_leaves_the_connection_alone(
    app: Flask, pools: ForkSafePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a new pid namespace: whatever asks for the pid is fooled, and no hook has run.
    pid = os.getpid()
    with app.app_context() as context:
        conn = pools.connection()
        ours = client_id(conn)

        def child() -> None:
            monkeypatch.setattr(os, "getpid", lambda: pid)
            context.pop(SystemExit(1))

        in_child(child, c_fork)
        assert client_id(conn) == ours
