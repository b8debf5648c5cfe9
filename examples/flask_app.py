"""A Flask app that is imported, and connected, before gunicorn forks its workers.

gunicorn --config examples/gunicorn.conf.py examples.flask_app:app
"""

from __future__ import annotations

import os
from typing import Any

from flask import Flask

from forksafe_flask import ForkSafePool

app = Flask(__name__)
app.config["FORKSAFE_POOL_URL"] = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
pools = ForkSafePool()
pools.init_app(app)

with app.app_context():
    # In gunicorn's master: the workers will not touch this connection.
    pools.redis.set("visits", 0)


@app.get("/")
def index() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "connection": pools.redis.client_id(),
        "visits": pools.redis.incr("visits"),
    }


@app.get("/stats")
def stats() -> dict[str, Any]:
    numbers = pools.stats()["default"]
    return {
        "pid": os.getpid(),
        "total": numbers.total,
        "available": numbers.available,
        "in_use": numbers.in_use,
        "inherited_and_cut_off": numbers.severed,
    }
