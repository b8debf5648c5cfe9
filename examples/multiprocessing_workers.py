"""A pool at module level under multiprocessing, whatever the start method.

python examples/multiprocessing_workers.py
"""

from __future__ import annotations

import multiprocessing
import os

import redis

from forksafe_redis import BlockingConnectionPool

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

# A worker that is forked inherits it, and starts with an empty one. A worker of "spawn" or
# "forkserver" imports this module, and makes its own.
client = redis.Redis(connection_pool=BlockingConnectionPool.from_url(URL, max_connections=4))


def square(number: int) -> tuple[int, int, int]:
    """The number's square, who computed it, and over which connection it went to Redis."""
    client.set(f"square:{number}", number * number)
    reply = client.get(f"square:{number}")
    return int(reply), os.getpid(), client.client_id()  # type: ignore[arg-type]


def main() -> None:
    print(f"the parent, {os.getpid()}, uses connection {client.client_id()}")
    for method in ("fork", "forkserver", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as workers:
            results = workers.map(square, range(20), chunksize=1)
        squares = [found for found, _, _ in results]
        used = sorted({(pid, connection) for _, pid, connection in results})
        print(f"{method}: {sum(squares)}, worker and connection: {used}")
    print(f"the parent, {os.getpid()}, uses connection {client.client_id()}")


if __name__ == "__main__":
    main()
