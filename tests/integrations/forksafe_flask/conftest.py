from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from forksafe_flask import ForkSafePool
from forksafe_pool import Pool

MakeApp = Callable[..., Flask]


@pytest.fixture
def pools() -> ForkSafePool:
    return ForkSafePool()


@pytest.fixture
def make_app(pools: ForkSafePool) -> Iterator[MakeApp]:
    """An app that ``pools`` serves; its pools are closed at the end of the test."""
    apps: list[Flask] = []

    def make(**config: Any) -> Flask:
        app = Flask(f"app{len(apps)}")
        app.config.update(config)
        pools.init_app(app)
        apps.append(app)
        return app

    yield make
    for app in apps:
        with app.app_context():
            for name in pools.stats():
                pool = pools.get_pool(name)
                if isinstance(pool, Pool):
                    pool.close(timeout=0)
                else:
                    pool.disconnect()
