"""What the demo's visitors count: a demo that counts nothing would show that all is well."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.demo import load as demo_load
from examples.demo.load import Load
from tests.examples.web import WORKER, serving


def visit(*ways: str, requests: int, prepare: Callable[[Load], object] = id) -> Load:
    """Send so many requests to a server that answers in these ways, each of them once."""
    with serving(*ways) as server:
        load = Load(server.server_port, clients=0, limit=requests)
        prepare(load)
        load._visit()
    assert server.asked == len(ways)
    assert load.requests == requests
    return load


def killing(load: Load) -> None:
    load.killing(WORKER)


def reloading(load: Load) -> None:
    load.reloading({WORKER})


def test_each_reply_is_looked_at() -> None:
    load = visit("own", "anothers", "nonsense", "failure", "own", requests=5)
    assert (load.wrong, load.anothers) == (2, 1)
    assert dict(load.errors) == {"HTTP status 500": 1}
    assert dict(load.answers) == {WORKER: 4}
    assert (load.cut_by_kill, load.cut_by_reload) == (0, 0)


@pytest.mark.parametrize("way", ["unsigned", "close", "half", "babble"])
@pytest.mark.parametrize("before", [[], ["own"]], ids=["new", "kept"])
def test_a_server_that_nobody_has_ended_must_answer(way: str, before: list[str]) -> None:
    load = visit(*before, way, requests=len(before) + 1)
    assert load.errors.total() == 1
    assert (load.wrong, load.cut_by_kill, load.cut_by_reload) == (0, 0, 0)


@pytest.mark.parametrize("way", ["unsigned", "close", "half"])
def test_who_was_cut_off_by_the_kill_asks_again(way: str) -> None:
    load = visit("own", way, "own", requests=2, prepare=killing)
    assert (load.cut_by_kill, load.cut_by_reload) == (1, 0)
    assert (load.wrong, load.errors.total()) == (0, 0)


def test_who_was_cut_off_by_the_reload_asks_again() -> None:
    load = visit("own", "close", "own", requests=2, prepare=reloading)
    assert (load.cut_by_kill, load.cut_by_reload) == (0, 1)
    assert (load.wrong, load.errors.total()) == (0, 0)


@pytest.mark.parametrize("prepare", [killing, reloading])
def test_what_no_end_of_a_worker_looks_like_is_an_error(prepare: Callable[[Load], None]) -> None:
    load = visit("own", "babble", requests=2, prepare=prepare)
    assert [error.partition(":")[0] for error in load.errors.elements()] == ["BadStatusLine"]
    assert (load.cut_by_kill, load.cut_by_reload) == (0, 0)


def test_a_server_that_hangs_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_load, "_TIMEOUT", 1.0)
    load = visit("hang", requests=1, prepare=killing)
    assert [error.partition(":")[0] for error in load.errors.elements()] == ["TimeoutError"]
    assert load.cut_by_kill == 0


def test_at_the_other_end_of_a_new_connection_may_be_the_killed_worker() -> None:
    load = visit("close", "own", requests=1, prepare=killing)
    assert (load.cut_by_kill, load.errors.total()) == (1, 0)


def test_but_not_once_that_is_gone() -> None:
    def killed(load: Load) -> None:
        load.killing(WORKER)
        load.killed()

    load = visit("close", requests=1, prepare=killed)
    assert (load.cut_by_kill, load.errors.total()) == (0, 1)


def test_who_is_cut_off_again_and_again_gives_up() -> None:
    load = visit("own", "close", "close", "close", requests=2, prepare=killing)
    assert dict(load.errors) == {"cut off 3 times": 1}
    assert load.cut_by_kill == 3
