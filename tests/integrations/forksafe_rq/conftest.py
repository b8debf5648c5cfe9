from __future__ import annotations

import pytest

from tests.support.witness import Witness


@pytest.fixture
def witness(redis_url: str) -> Witness:
    return Witness(redis_url)
