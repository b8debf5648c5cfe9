"""acquire + release in one thread, with connections that do nothing."""

from __future__ import annotations

from collections.abc import Callable

from bench import peers
from bench.peers import OURS, Peer
from bench.rounds import Claim, Effort, Table, interleave, per_operation

LOCK = "a lock and a deque"


def measure(effort: Effort) -> list[Table]:
    made = {name: make(10) for name, make in {**peers.POOLS, **peers.FLOORS}.items()}
    contenders = {name: per_operation(loop(peer), effort) for name, peer in made.items()}
    alone = interleave("acquire + release", contenders, effort)
    block = {
        "acquire + release": per_operation(loop(made[OURS]), effort),
        "with pool.connection()": per_operation(with_block(made[OURS]), effort),
    }
    blocks = interleave("with pool.connection()", block, effort)
    peers.close(made)
    return [
        Table(
            "one-thread",
            "acquire + release, one thread",
            "ns",
            "A connection that does nothing is acquired and released. Our time includes the fork "
            "check, the record of connections in use, and the clock for idle connections.",
            alone,
            [
                Claim("than redis-py's ConnectionPool", "redis-py ConnectionPool", OURS, 10),
                Claim("than SQLAlchemy's QueuePool", "SQLAlchemy QueuePool", OURS, 10),
                Claim("than psycopg_pool", "psycopg_pool", OURS, 5),
                Claim("than queue.LifoQueue", "queue.LifoQueue", OURS, 3),
                Claim("a lock and a deque's time", OURS, LOCK, at_most=1.15),
            ],
        ),
        Table(
            "with-block",
            "`with pool.connection()`",
            "ns",
            "The block, compared with the two calls that it replaces.",
            blocks,
            [
                Claim(
                    "acquire + release",
                    "with pool.connection()",
                    "acquire + release",
                    at_most=1.6,
                )
            ],
            ours="with pool.connection()",
        ),
    ]


def loop(peer: Peer) -> Callable[[int], None]:
    acquire, release, _ = peer

    def operate(times: int) -> None:
        for _ in range(times):
            release(acquire())

    return operate


def with_block(peer: Peer) -> Callable[[int], None]:
    pool = peer.pool

    def operate(times: int) -> None:
        for _ in range(times):
            with pool.connection():
                pass

    return operate
