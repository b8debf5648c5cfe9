"""What a pool and its idle connections take, beside the connections themselves."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any

from bench import peers
from bench.peers import OURS, Peer
from bench.rounds import Claim, Effort, Table, progress

CONNECTIONS = 100
_WITH_ALL = {"psycopg_pool", "queue.LifoQueue"}  # they open their connections when they are made


def measure(effort: Effort) -> list[Table]:
    names = [name for name in peers.POOLS if name not in _WITH_ALL] + sorted(_WITH_ALL)
    pools: dict[str, list[float]] = {}
    connections: dict[str, list[float]] = {}
    for name in progress(names, "memory"):
        make = peers.POOLS[name]
        _bytes(make, CONNECTIONS)  # what is made once for all pools
        small, large = (_bytes(make, size) for size in (1, CONNECTIONS))
        each = (large - small) / (CONNECTIONS - 1) - _bytes_of_connection(name)
        connections[name] = [max(each, 1.0)]
        pools[name] = [small - each - _bytes_of_connection(name)]
    order = list(peers.POOLS)
    others = [name for name in order if name != OURS]
    return [
        Table(
            "memory-pool",
            "Memory: a pool",
            "bytes",
            "Measured with tracemalloc, once in each process, with one idle connection, which is "
            "subtracted. The stacks of psycopg_pool's threads are not counted.",
            {name: pools[name] for name in order},
            [Claim(f"{name}'s", OURS, name, at_most=1.0) for name in others],
        ),
        Table(
            "memory-connection",
            "Memory: each idle connection",
            "bytes",
            f"What the pool stores for a connection: a hundredth of what {CONNECTIONS} take.",
            {name: connections[name] for name in order},
            [Claim(f"{name}'s", OURS, name, at_most=1.0) for name in others],
        ),
    ]


def _bytes(make: Callable[[int], Peer], size: int) -> int:
    """What a pool of so many idle connections takes."""

    def build() -> Peer:
        peer = make(size)
        conns = [peer.acquire() for _ in range(size)]
        while conns:
            peer.release(conns.pop())
        return peer

    peer, taken = _traced(build)
    peers.close({"": peer})
    return taken


def _bytes_of_connection(name: str) -> float:
    kinds: dict[str, Callable[[], Any]] = {
        "redis-py ConnectionPool": peers.RedisDummy,
        "redis-py BlockingConnectionPool": peers.RedisDummy,
        "psycopg_pool": peers.PsycopgDummy,
    }
    kind = kinds.get(name, peers.Dummy)
    kind()
    kept, taken = _traced(lambda: [kind() for _ in range(CONNECTIONS)])
    return (taken - sys.getsizeof(kept)) / CONNECTIONS


def _traced(build: Callable[[], Any]) -> tuple[Any, int]:
    gc.collect()
    tracemalloc.start()
    try:
        built = build()
        gc.collect()
        return built, tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
