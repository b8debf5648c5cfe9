"""A streamed response: its context ends before the body is made, and perhaps again after it.

Under ``stream_with_context``, Flask before 3.1 ends it only once, after the body.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response, g, stream_with_context

from forksafe_flask import ForkSafePool
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.integrations.forksafe_flask.fakes import Connections


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def app(make_app: MakeApp, connections: Connections) -> Flask:
    return make_app(FORKSAFE_POOLS={"default": {"connect": connections}})


@pytest.fixture
def seen() -> list[tuple[str, int]]:
    """What happened, and how many connections were in use then."""
    return []


@pytest.fixture
def streaming(app: Flask, pools: ForkSafePool, seen: list[tuple[str, int]]) -> Flask:
    """Uses a connection in the view, and then in the generator."""

    def note(what: str) -> None:
        seen.append((what, pools.stats()["default"].in_use))

    @app.get("/")
    def view() -> Response:
        g.mark = "the same g"
        pools.connection()
        note("view")

        def generate() -> Iterator[str]:
            assert g.mark == "the same g"
            conn = pools.connection()
            yield "first "
            assert pools.connection() is conn
            note("generator")
            yield "second"

        return Response(stream_with_context(generate()))

    return app


def test_stream_with_context_leases_anew_and_gives_back_at_its_end(
    streaming: Flask,
    pools: ForkSafePool,
    connections: Connections,
    seen: list[tuple[str, int]],
) -> None:
    for _ in range(2):
        assert streaming.test_client().get("/").text == "first second"
        with streaming.app_context():
            stats = pools.stats()["default"]
            assert (stats.in_use, stats.available) == (0, 1)
    assert seen == [("view", 1), ("generator", 1)] * 2
    assert len(connections.made) == 1
    with streaming.app_context():
        assert pools.stats()["default"].foreign_releases == 0


def test_a_client_that_goes_away_in_mid_stream_costs_the_connection(
    streaming: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    response = streaming.test_client().get("/", buffered=False)
    assert next(response.iter_encoded()) == b"first "
    response.close()  # GeneratorExit in the generator, which may be in the middle of a reply
    assert connections.made[0].closed
    with streaming.app_context():
        assert pools.stats()["default"].total == 0


def test_an_interruption_in_mid_stream_costs_the_connection(
    app: Flask, pools: ForkSafePool, connections: Connections
) -> None:
    @app.get("/")
    def view() -> Response:
        def generate() -> Iterator[str]:
            pools.connection()
            yield "first"
            raise SystemExit(1)

        return Response(stream_with_context(generate()))

    response = app.test_client().get("/")
    with pytest.raises(SystemExit):
        _ = response.text
    assert connections.made[0].closed


def test_a_plain_stream_has_no_context(app: Flask, pools: ForkSafePool) -> None:
    seen: list[Any] = []

    @app.get("/")
    def view() -> Response:
        pools.connection()
        pool = pools.get_pool()

        def generate() -> Iterator[str]:
            seen.append(pool.stats().in_use)
            with pytest.raises(RuntimeError, match="stream_with_context"):
                pools.connection()
            yield "done"

        return Response(generate())

    assert app.test_client().get("/").text == "done"
    assert seen == [0]
