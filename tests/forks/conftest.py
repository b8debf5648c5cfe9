from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.forks.servers import Server, serving
from tests.support.forks import c_fork, os_fork


@pytest.fixture(params=[os_fork, c_fork], ids=["os.fork", "C fork"])
def fork(request: pytest.FixtureRequest) -> Callable[[], int]:
    """Both kinds of fork: with Python's at-fork hooks and without."""
    function: Callable[[], int] = request.param
    return function


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server
