"""redis-py over a pool of ours: one client at module level, used before and after ``os.fork``.

python examples/redis_client.py
"""

from __future__ import annotations

import os

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
    print(f"{name} counted to a hundred over connection {client.client_id()}", flush=True)


def main() -> None:
    work("parent")
    children = []
    for number in range(3):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                work(f"child {number}")
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    work("parent")
    statuses = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    print(f"the children ended with {statuses}")


if __name__ == "__main__":
    main()
