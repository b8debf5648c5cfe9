"""The app that gunicorn runs: the same views over either of two ways to reach Redis.

With ``--preload`` the master imports this, and uses Redis on the way, before it forks the workers.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import redis
from flask import Flask, Response, make_response, render_template
from flask.typing import ResponseReturnValue

from forksafe_flask import ForkSafePool

URL = os.environ["REDIS_URL"]

app = Flask(__name__)


def shared_connection() -> Callable[[], redis.Redis]:
    """One client at module level with one connection: opened here, and inherited by every worker.

    redis-py guards it with a lock, which keeps the threads of one process apart, not processes.
    """
    client = redis.Redis.from_url(URL, single_connection_client=True, socket_timeout=1)
    return lambda: client


def forksafe() -> Callable[[], redis.Redis]:
    """The same client over a pool that survives fork()."""
    app.config["FORKSAFE_POOL_URL"] = f"{URL}?max_connections=4&timeout=5&socket_timeout=1"
    pools = ForkSafePool(app)
    return lambda: pools.redis


BACKENDS = {"shared": shared_connection, "forksafe": forksafe}
get_redis = BACKENDS[os.environ["DEMO_BACKEND"]]()

with app.app_context():
    # What every preloaded app does sooner or later: it is connected before the fork.
    get_redis().set("master", f"{os.getpid()} {get_redis().client_id()}")


@app.get("/ready")
def ready() -> str:
    return "ready"


@app.get("/visit/<token>")
def visit(token: str) -> str:
    """Store what the visitor brought, read it back, and hand it over unseen."""
    get_redis().set(token, token, ex=60)
    reply: Any = get_redis().get(token)
    return reply.decode() if isinstance(reply, bytes) else repr(reply)


@app.after_request
def sign(response: Response) -> Response:
    response.headers["X-Worker"] = str(os.getpid())
    return response


@app.get("/")
def index() -> ResponseReturnValue:
    """For visitors with a browser: who answered, over which connection."""
    client: Any = get_redis()
    connection = client.client_id()
    client.hincrby("visits", f"{os.getpid()} {connection}", 1)
    workers: dict[str, dict[str, int]] = defaultdict(dict)
    for key, visits in client.hgetall("visits").items():
        worker, used = key.decode().split()
        workers[worker][used] = int(visits)
    connections = [used for worker in workers.values() for used in worker]
    master, masters_connection = client.get("master").decode().split()
    page = render_template(
        "index.html",
        worker=os.getpid(),
        connection=connection,
        workers=workers,
        shared=len(connections) - len(set(connections)),
        master=master,
        masters_connection=masters_connection,
        stats=app.extensions["forksafe_pool"].stats()["default"],
    )
    response = make_response(page)
    # A browser that kept its connection would meet the same worker again and again.
    response.headers["Connection"] = "close"
    return response
