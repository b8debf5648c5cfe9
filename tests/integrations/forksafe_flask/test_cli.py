from __future__ import annotations

import os

from forksafe_flask import ForkSafePool
from tests.integrations.forksafe_flask.conftest import MakeApp
from tests.integrations.forksafe_flask.fakes import Connections


def test_stats_are_a_table(make_app: MakeApp, pools: ForkSafePool, redis_url: str) -> None:
    app = make_app(
        FORKSAFE_POOLS={
            "default": {"url": redis_url, "max_connections": 20},
            "a-rather-long-name": {"connect": Connections(), "name": "another"},
        }
    )
    with app.app_context():
        pools.connection("a-rather-long-name")
        assert pools.redis.ping()
    result = app.test_cli_runner().invoke(args=["forksafe-pool", "stats"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    headings, *rows = ([cell.strip() for cell in line.split("  ") if cell] for line in lines)
    pid = str(os.getpid())
    assert headings == [
        *("name", "pid", "max", "total", "available", "in use", "waiting"),
        *("acquired", "opened", "closed", "foreign releases", "severed"),
    ]
    assert rows == [
        ["default", pid, "20", "1", "1", "0", "0", "1", "1", "0", "0", "0"],
        ["a-rather-long-name", pid, "10", "1", "1", "0", "0", "1", "1", "0", "0", "0"],
    ]
    assert len({len(line) for line in lines}) == 1
    for column in ("max", "in use", "foreign releases"):
        end = lines[0].index(column) + len(column)
        assert all(line[end - 1].isdigit() and line[end : end + 2] == "  " for line in lines[1:])


def test_stats_connect_nothing(make_app: MakeApp) -> None:
    connections = Connections()
    app = make_app(FORKSAFE_POOLS={"default": {"connect": connections, "min_size": 1}})
    assert app.test_cli_runner().invoke(args=["forksafe-pool", "stats"]).exit_code == 0
    assert connections.made == []


def test_help_names_the_commands(make_app: MakeApp) -> None:
    app = make_app(FORKSAFE_POOLS={"default": {"connect": Connections()}})
    result = app.test_cli_runner().invoke(args=["forksafe-pool", "--help"])
    assert "stats" in result.output
