from __future__ import annotations

import pytest

from tests.forksafe_pool.fakes import Clock, Connections


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)
