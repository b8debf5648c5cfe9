from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from tests.forks.servers import Server, serving
from tests.support.forks import c_fork, os_fork


@pytest.fixture(autouse=True)
def no_garbage() -> None:
    """What other tests have left would be collected at any moment in the children: finalizers of
    any driver and pool, which may wait for threads and locks that nobody serves there."""
    gc.collect()


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    """Both kinds of fork: with Python's at-fork hooks and without."""
    function: Callable[[], int] = request.param
    return function


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server
