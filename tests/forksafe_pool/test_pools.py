"""pools(): every pool of the process, for hooks to walk over."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, close_pools, fill_pools, pools
from tests.forksafe_pool.fakes import Connections, pretend_fork
from tests.forksafe_pool.threads import LIMIT, Caller


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
