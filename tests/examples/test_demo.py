"""The demo is run as a visitor runs it, only shorter."""

from __future__ import annotations

import contextlib
import re
import signal
from collections import Counter
from dataclasses import replace
from http.client import HTTPConnection
from typing import Any

import pytest

from examples.demo import report
from examples.demo.run import Result
from tests.examples.demos import Demo, demo
from tests.support.programs import run_program

# The demo itself, Valkey, gunicorn's master and two workers.
PROCESSES = 5


def run_to_the_end(running: Demo) -> int:
    running.wait_until(lambda: len(running.processes()) >= PROCESSES, "its processes")
    status = running.wait()
    assert not running.processes()
    return status


def cells(table: str) -> dict[str, list[str]]:
    rows = [line.replace("**", "").strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return {title: numbers for title, *numbers in rows}


def test_the_demo_shows_that_ours_is_right() -> None:
    with demo("--seconds=2", "--workers=2", "--markdown") as running:
        status = run_to_the_end(running)
        assert status == 0, running.err
        found = cells(running.out)
        ours = {title: numbers[1] for title, numbers in found.items()}
        assert ours["wrong replies"] == ours["errors"] == "0"
        assert ours["connections shared by processes"] == "0"
        assert ours["inherited sockets open in workers"] == "0"
        assert re.fullmatch(r"[1-4], [1-4]", ours["Redis connections of each worker"])
        assert int(ours["requests answered"].replace(",", "")) > 40
        assert int(found["inherited sockets open in workers"][0]) >= 2
        for event in ("is killed (SIGKILL)", "is reloaded (SIGHUP)"):
            assert running.err.count(event) == 2
        assert "every visitor got their own data" in running.err


def test_the_demo_fails_where_ours_is_not_ours() -> None:
    source = """
import sys
from examples.demo import __main__ as demo
demo.RUNS = [("one shared connection", "shared"), ("no pool either", "shared")]
sys.exit(demo.main())
"""
    with demo("--seconds=2", "--workers=2", program=("-c", source)) as running:
        assert run_to_the_end(running) == 1
        assert re.search(r"^FAILED: \d+ inherited sockets are open", running.err, re.MULTILINE)
        assert "every visitor got their own data" not in running.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_all_that_was_started(number: signal.Signals) -> None:
    with demo("--seconds=30", "--workers=2") as running:
        running.wait_until(lambda: "clients come to" in running.err, "the load")
        assert len(running.processes()) >= PROCESSES
        running.signal(number)
        running.signal(number)  # the impatient visitor's
        assert running.wait() == 128 + number, running.err
        assert not running.processes()
        assert "Traceback" not in running.err


def test_a_signal_at_the_start_ends_all_that_was_started() -> None:
    with demo("--workers=2") as running:
        running.wait_until(lambda: len(running.processes()) >= 2, "Valkey")
        running.signal(signal.SIGINT)
        assert running.wait() == 128 + signal.SIGINT, running.err
        assert not running.processes()


def test_the_server_can_be_visited() -> None:
    with demo("--serve", "--workers=2") as running:
        url = running.wait_until(lambda: re.search(r"http://(\S+)/", running.out), "the address")
        workers = set()

        def visited() -> bool:
            with contextlib.closing(HTTPConnection(url[1], timeout=20)) as connection:
                connection.request("GET", "/")
                response = connection.getresponse()
                page = response.read().decode()
            assert response.status == 200, page
            workers.add(response.headers["X-Worker"])
            assert "Connections that more than one worker has used: <b>0</b>" in page
            return len(workers) == 2

        running.wait_until(visited, "a page from each worker")
        running.signal(signal.SIGINT)
        assert running.wait() == 0, running.err
        assert not running.processes()


@pytest.mark.parametrize("arguments", [["--workers=1"], ["--seconds=0"], ["--seconds=x"]])
def test_wrong_options_are_refused(arguments: list[str]) -> None:
    with demo(*arguments) as running:
        assert running.wait() == 2
        assert "must be a whole number" in running.err


@pytest.mark.parametrize("backend", ["shared", "forksafe"])
def test_the_app_answers_what_redis_has(backend: str, redis_url: str) -> None:
    """What a visitor brought, handed back unseen by Redis, would always be right."""
    source = """
import os, sys
os.environ["REDIS_URL"], os.environ["DEMO_BACKEND"] = sys.argv[1:]
from examples.demo import app
client = app.app.test_client()
assert client.get("/visit/mine").text == "mine"

class Confused:
    def __init__(self, client):
        self._client = client
    def set(self, name, value, **options):
        self._client.set(name, "another's", **options)
    def get(self, name):
        return self._client.get(name)

with app.app.app_context():
    confused = Confused(app.get_redis())
    assert confused.get("mine") == b"mine"
app.get_redis = lambda: confused
assert client.get("/visit/mine").text == "another's"
"""
    run_program(source, redis_url, backend)


GOOD = Result(
    seconds=2.0,
    workers=2,
    requests=1000,
    wrong=0,
    anothers=0,
    errors=Counter(),
    cut_by_kill=3,
    cut_by_reload=0,
    killed=True,
    reloaded=True,
    looks=10,
    masters=1,
    per_worker=[4, 4],
    shared=0,
    inherited=0,
)


def test_a_good_run_is_no_reason_to_complain() -> None:
    assert report.complaints(GOOD) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"wrong": 1}, "1 wrong replies"),
        ({"errors": Counter({"HTTP status 500": 2})}, "2 errors"),
        ({"requests": 39}, "only 39 requests"),
        ({"killed": False}, "no worker was killed"),
        ({"reloaded": False}, "not replaced"),
        ({"shared": 1}, "1 connections are shared"),
        ({"inherited": 2}, "2 inherited sockets"),
        ({"masters": 0}, "no connection to inherit"),
        ({"per_worker": [4]}, "a worker has no connection"),
        ({"per_worker": [4, 0]}, "a worker has no connection"),
    ],
)
def test_anything_else_is(change: dict[str, Any], complaint: str) -> None:
    (found,) = report.complaints(replace(GOOD, **change))
    assert complaint in found


def test_what_the_system_cannot_tell_is_not_made_up() -> None:
    unseen = replace(GOOD, looks=None, masters=None, per_worker=None, shared=None, inherited=None)
    assert report.complaints(unseen) == []
    found = cells(report.table(unseen, unseen, markdown=True))
    assert [found[title] for title in list(found)[-3:]] == [["n/a", "n/a"]] * 3
    assert "/proc" not in report.summary(unseen, unseen)


def test_the_table_for_people_has_the_same_rows() -> None:
    lines = report.table(GOOD, GOOD, markdown=False).splitlines()
    found = cells(report.table(GOOD, GOOD, markdown=True))
    assert [line.split("   ")[0].strip() for line in lines[2:]] == list(found)
    assert "cut off by the reload, and sent again" not in found
    cut = replace(GOOD, cut_by_reload=2)
    assert cells(report.table(cut, GOOD, markdown=True))[
        "cut off by the reload, and sent again"
    ] == ["2", "0"]
