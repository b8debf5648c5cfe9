"""The application that `web` drives: one GET for each request, through the pool it is told."""

from __future__ import annotations

import os
from typing import Any

import redis
from flask import Flask

KIND, URL = os.environ["BENCH_POOL"], os.environ["BENCH_URL"]

app = Flask(__name__)

if KIND == "forksafe_flask":
    from forksafe_flask import ForkSafePool

    app.config["FORKSAFE_POOL_URL"] = URL
    pools = ForkSafePool(app)

    def get() -> Any:
        return pools.redis.get("key")

elif KIND == "Flask-Redis":
    from flask_redis.client import FlaskRedis

    app.config["REDIS_URL"] = URL
    flask_redis = FlaskRedis(app)

    def get() -> Any:
        return flask_redis.get("key")

else:
    client = redis.Redis(connection_pool=redis.ConnectionPool.from_url(URL))

    def get() -> Any:
        return client.get("key")


@app.get("/")
def index() -> Any:
    return get()
