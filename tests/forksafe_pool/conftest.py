from __future__ import annotations

import pytest

from tests.forksafe_pool.fakes import Clock, Connections


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("forksafe_pool._pool.monotonic", clock)
    return clock
