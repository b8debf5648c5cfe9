"""pools(): every pool of the process, for hooks to walk over."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from forksafe_pool import Pool, close_pools, fill_pools, pools
from tests.forksafe_pool.fakes import Connections, FakeConnection, pretend_fork
from tests.forksafe_pool.threads import LIMIT, Caller
from tests.support.forks import in_child


def test_pools_lists_every_pool_that_is_alive(connections: Connections) -> None:
    before = set(map(id, pools()))
    first, second = Pool(connections), Pool(connections)
    assert {id(pool) for pool in pools()} - before == {id(first), id(second)}
    gone = id(first)
    del first
    gc.collect()
    assert gone not in {id(pool) for pool in pools()} or gone in before


def test_a_pool_that_came_through_a_fork_has_noticed_it(connections: Connections) -> None:
    pool = Pool(connections, fileno=lambda _: -1)
    pool.acquire()
    pretend_fork(pool)
    assert any(found is pool for found in pools())
    assert pool._ledger.severed == 1


@pytest.mark.parametrize(
    ("function", "arguments", "error", "message"),
    [
        (fill_pools, {"warn": "warn"}, TypeError, "warn must be a function, not 'warn'"),
        (close_pools, {"warn": lambda: None}, TypeError, "warn is called as "),
        (close_pools, {"timeout": -1}, ValueError, "timeout must .* not -1"),
        (close_pools, {"timeout": None}, TypeError, "timeout must be a number of seconds, not N"),
    ],
)
def test_what_fills_and_closes_them_all_is_told_nonsense(
    function: Callable[..., None], arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        function(**arguments)


class Late(BaseException):
    """As gevent.Timeout, which bounds a connect: no ``Exception``."""


@pytest.mark.parametrize("function", [fill_pools, close_pools])
def test_what_is_no_exception_is_a_warning_too(
    connections: Connections, function: Callable[..., None]
) -> None:
    def end() -> NoReturn:
        raise Late

    class Broken(Pool[FakeConnection]):
        def close(self, timeout: float | None = 5.0) -> bool:
            end()

    def child() -> list[str]:
        for pool in pools():  # other tests'
            pool.close(0)
        broken, pool = Broken(end, min_size=1, name="broken"), Pool(connections, min_size=1)
        assert broken.min_size
        said: list[str] = []
        function(warn=lambda message, *args: said.append(message % args))
        assert pool.stats().opened == (function is fill_pools)
        return said

    said = in_child(child)
    assert said
    assert all("broken could not be " in line and "Late()" in line for line in said)


def test_pools_may_be_made_while_they_are_listed(connections: Connections) -> None:
    stop = threading.Event()

    def make() -> None:
        while not stop.is_set():
            kept = [Pool(connections) for _ in range(300)]
            assert kept

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    maker = Caller(make)
    try:
        for _ in range(3000):
            pools()
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        maker.result(LIMIT)
