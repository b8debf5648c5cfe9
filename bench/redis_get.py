"""redis-py's clients on a real server: a connection from the pool, and a GET."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

import forksafe_redis
from bench.rounds import Claim, Effort, Table, interleave, per_operation
from tests.support import strace
from tests.support.valkey import Valkey

OURS = "forksafe_redis ConnectionPool"
SINGLE = "redis-py single_connection_client"
THEIRS = "redis-py ConnectionPool"
POOLS: dict[str, Any] = {
    OURS: forksafe_redis.ConnectionPool,
    "forksafe_redis BlockingConnectionPool": forksafe_redis.BlockingConnectionPool,
    THEIRS: redis.ConnectionPool,
    "redis-py BlockingConnectionPool": redis.BlockingConnectionPool,
}
ONE_PER_CENT = 0.01


def measure(effort: Effort) -> list[Table]:
    server = Valkey(config="unixsocket valkey.sock")
    cores = os.sched_getaffinity(0)
    try:
        on_one_core(server.pid, min(cores))
        unix = f"unix://{server.folder}/valkey.sock"
        return [
            get_connection(server.url, effort),
            get(server.url, "TCP", effort, []),
            get(unix, "UNIX socket", effort, [Claim("than redis-py's pool", THEIRS, OURS, 1.2)]),
            *count_calls(server.url, effort),
        ]
    finally:
        os.sched_setaffinity(0, cores)
        server.stop()


def on_one_core(server: int, core: int) -> None:
    """Have client and server take turns, as they do anyway.

    On two cores each wakes the other's from its sleep, which takes longer than the whole GET, and
    as long as the machine pleases.
    """
    os.sched_setaffinity(0, {core})
    for thread in os.listdir(f"/proc/{server}/task"):
        os.sched_setaffinity(int(thread), {core})


def client(name: str, url: str) -> Any:
    if name == SINGLE:
        return redis.Redis.from_url(url, single_connection_client=True)
    return redis.Redis(connection_pool=POOLS[name].from_url(url))


def get_connection(url: str, effort: Effort) -> Table:
    def loop(pool: Any) -> Callable[[int], None]:
        acquire, release = pool.get_connection, pool.release

        def operate(times: int) -> None:
            for _ in range(times):
                release(acquire())

        return operate

    pools = {name: kind.from_url(url) for name, kind in POOLS.items()}
    contenders = {name: per_operation(loop(pool), effort) for name, pool in pools.items()}
    figures = interleave("get_connection + release", contenders, effort)
    for pool in pools.values():
        pool.disconnect()
    return Table(
        "get-connection",
        "`get_connection` + `release`, a live connection",
        "ns",
        "At each checkout redis-py makes a system call to see whether the connection is readable. "
        "Our pool counts replies, and makes that call if the connection was idle for "
        "`check_after`.",
        figures,
        [Claim("than redis-py's ConnectionPool", THEIRS, OURS, 5)],
        ours=OURS,
    )


def get(url: str, transport: str, effort: Effort, claims: list[Claim]) -> Table:
    def loop(one: redis.Redis) -> Callable[[int], None]:
        def operate(times: int) -> None:
            for _ in range(times):
                one.get("key")

        return operate

    clients = {name: client(name, url) for name in (*POOLS, SINGLE)}
    clients[OURS].set("key", "value")
    contenders = {name: per_operation(loop(one), effort) for name, one in clients.items()}
    figures = interleave(f"GET, {transport}", contenders, effort)
    for one in clients.values():
        one.close()
    within = Claim("single_connection_client's time", OURS, SINGLE, at_most=1.05)
    return Table(
        f"get-{transport.split()[0].lower()}",
        f"GET over {transport}",
        "ns",
        "`Redis(connection_pool=…).get(key)`, client and server on the same core. "
        "`single_connection_client` has no pool and must not be shared by threads.",
        figures,
        [within, *claims],
        ours=OURS,
    )


def count_calls(url: str, effort: Effort) -> list[Table]:
    """What one GET asks of the kernel. A program does few, and then many: the rest cancels out."""
    if strace.MISSING:
        return []
    few, many = (2, 12) if effort.is_smoke else (100, 1100)
    calls: dict[str, list[float]] = {}
    for name in (OURS, THEIRS, SINGLE):
        extra = _calls(name, url, many)
        extra.subtract(_calls(name, url, few))
        calls[name] = [sum(extra.values()) / (many - few)]
    return [
        Table(
            "system-calls",
            "System calls of a GET",
            "calls",
            "Counted with strace, once in each process. Sending the command and reading the reply "
            "take one call each.",
            calls,
            [Claim("single_connection_client's", OURS, SINGLE, at_most=1 + ONE_PER_CENT)],
            ours=OURS,
        )
    ]


def _calls(name: str, url: str, times: int) -> Counter[str]:
    with TemporaryDirectory() as folder:
        trace = Path(folder, "trace")
        program = [sys.executable, "-m", "bench.redis_get", name, url, str(times)]
        subprocess.run(["strace", "-f", "-o", str(trace), *program], check=True)
        lines = trace.read_text().splitlines()
        return Counter(line.split(maxsplit=1)[1].partition("(")[0] for line in lines)


if __name__ == "__main__":
    one = client(sys.argv[1], sys.argv[2])
    for _ in range(int(sys.argv[3])):
        one.get("key")
