"""The application that is soaked: each request brings a token, which every server must return."""

from __future__ import annotations

import os
import select
import signal
from typing import Any

import redis
from flask import Flask

import forksafe_pool
import forksafe_psycopg
import forksafe_redis

LIMIT = 15.0
#: One less than a worker has threads: somebody is in line when a fault strikes.
SIZE = 3

app = Flask(__name__)
cache: Any = redis.Redis(
    connection_pool=forksafe_redis.BlockingConnectionPool.from_url(
        os.environ["SOAK_REDIS"],
        max_connections=SIZE,
        timeout=5,
        socket_timeout=2,
        socket_connect_timeout=2,
        name="cache",
    )
)
database = forksafe_psycopg.Pool(
    os.environ["SOAK_POSTGRES"], max_size=SIZE, timeout=5, check_after=0.1, name="database"
)


def ask(token: str) -> str:
    heard = cache.echo(token).decode()
    with cache.pipeline() as pipeline:
        first, second = pipeline.echo(token + "-1").echo(token + "-2").execute()
    with database.connection() as conn:
        row = conn.execute("SELECT %s::text", (token,)).fetchone()
    wrong = (first, second) != (token.encode() + b"-1", token.encode() + b"-2")
    return f"{heard} {row and row[0]}" + (" wrong" if wrong else "")


ask("the master's own")


@app.get("/ask/<token>")
def answer(token: str) -> str:
    return ask(token)


@app.get("/fork/<token>")
def fork(token: str) -> tuple[str, int]:
    """A child asks as well, in the middle of everything that other threads do."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(2 * int(LIMIT))
        try:
            os.write(write, ask(token).encode())
        except Exception as error:
            os.write(write, f"error {error!r}".encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        if not select.select([pipe], [], [], LIMIT)[0]:
            os.kill(pid, signal.SIGKILL)
        said = pipe.read() or "the child hung"
    os.waitpid(pid, 0)
    return said, 503 if said.startswith("error") else 200


@app.get("/")
def index() -> str:
    return "here"


def held(pool: Any) -> int:
    """How many descriptors its connections have."""
    connections = list(pool._checkpid().connections.values())
    return sum(pool._driver._fileno(connection) >= 0 for connection in connections)


def lost(pool: Any) -> int:
    """How many of its places are not there, and how many there are too many, while nobody asks."""
    stats: forksafe_pool.PoolStats = pool.stats()
    too_many = max(0, len(pool._checkpid().connections) - stats.max_size)
    return abs(stats.total - stats.available) + too_many


@app.get("/stats")
def stats() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "held": sum(held(pool) for pool in forksafe_pool.pools()),
        "lost": sum(lost(pool) for pool in forksafe_pool.pools()),
    }
