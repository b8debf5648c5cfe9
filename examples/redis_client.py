"""redis-py over a pool of ours: one client at module level, used before and after ``os.fork``.

python examples/redis_client.py
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

import redis

from forksafe_redis import ConnectionPool

URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")

client = redis.Redis(connection_pool=ConnectionPool.from_url(URL, max_connections=20))


def work(name: str) -> None:
    """Count to a hundred in Redis, and see that nobody else's replies come in between."""
    for number in range(100):
        client.set(f"count:{name}", number)
        reply = client.get(f"count:{name}")
        if reply != str(number).encode():
            raise RuntimeError(f"{name} stored {number} and got {reply!r}")
    said = f"{name} counted to a hundred over connection {client.client_id()}\n"
    os.write(sys.stdout.fileno(), said.encode())  # at once, so that no other child's comes between


def fork(function: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def main() -> None:
    work("parent")
    children = [fork(lambda: work(f"child {os.getpid()}")) for _ in range(3)]
    work("parent")
    sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))


if __name__ == "__main__":
    main()
