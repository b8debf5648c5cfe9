"""What a fork costs the child and the parent, by the number of connections inherited.

Each number has a process of its own, which forks once a round. Beside it there is one that has as
many sockets and no pool: the kernel copies descriptors too.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import redis

import forksafe_redis
from bench.rounds import Claim, Effort, Table, interleave
from forksafe_pool import Pool
from tests.support.valkey import Valkey

NUMBERS = (1, 100, 1000)
LIMIT = "5 µs"
FIRST = (
    "forksafe_redis, inherited",
    "a fresh client of redis-py's",
    "a bare connection of redis-py's",
)


class Forking:
    """A process that forks when it is told to, and says what it took."""

    def __init__(self, *arguments: str) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "bench.forks", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(self) -> tuple[float, float]:
        """Microseconds until the child, and until the parent, goes on."""
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write("fork\n")
        self._popen.stdin.flush()
        child, parent = self._popen.stdout.readline().split()
        return float(child), float(parent)

    def __enter__(self) -> Forking:
        return self

    def __exit__(self, *_: object) -> None:
        self._popen.communicate()  # the end of its input ends it


def measure(effort: Effort) -> list[Table]:
    return [*inherited(effort), first_reply(effort)]


def inherited(effort: Effort) -> list[Table]:
    took: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as stack:

        def contender(kind: str, number: int) -> Callable[[], float]:
            forking = stack.enter_context(Forking(kind, str(number)))
            mine = took.setdefault(f"{number}, {kind}", [])

            def fork() -> float:
                mine.append(forking.fork())
                return 0.0

            return fork

        contenders = {
            f"{number}, {kind}": contender(kind, number)
            for number in NUMBERS
            for kind in ("in a pool", "in no pool")
        }
        interleave("fork, inherited", contenders, effort)
    rounds = {name: each[1:] for name, each in took.items()}
    child, parent = (
        {name: [one[which] for one in each] for name, each in rounds.items()} for which in (0, 1)
    )
    extra = {
        f"of {number}": [
            max(pool - bare, 0.001) / number
            for pool, bare in zip(
                child[f"{number}, in a pool"], child[f"{number}, in no pool"], strict=True
            )
        ]
        for number in NUMBERS
    }
    most, least = f"{NUMBERS[-1]}, in a pool", f"{NUMBERS[-1]}, in no pool"
    return [
        Table(
            "fork-child",
            "The child's extra time after `os.fork`, for each inherited connection",
            "µs",
            "Until every inherited connection is severed and the child goes on, minus the time of "
            "a process with as many sockets and no pool. With one connection this is the fixed "
            "cost.",
            {**extra, LIMIT: [5.0] * effort.rounds},
            [Claim(f"5 µs, of {NUMBERS[-1]}", f"of {NUMBERS[-1]}", LIMIT, at_most=1.0)],
            ours=f"of {NUMBERS[-1]}",
        ),
        Table(
            "fork-parent",
            "The parent's time in `os.fork`",
            "µs",
            "With connections in a pool, and with the same number of sockets and no pool.",
            parent,
            [Claim(f"that without a pool, of {NUMBERS[-1]}", most, least, at_most=1.1)],
            ours=most,
        ),
    ]


def first_reply(effort: Effort) -> Table:
    server = Valkey()
    ours, client, connection = FIRST
    with ExitStack() as stack:
        stack.callback(server.stop)

        def contender(kind: str) -> Callable[[], float]:
            forking = stack.enter_context(Forking(kind, server.url))
            return lambda: forking.fork()[0]

        contenders = {kind: contender(kind) for kind in FIRST}
        figures = interleave("fork, first reply", contenders, effort)
    return Table(
        "fork-first-reply",
        "From `os.fork` to the child's first reply",
        "µs",
        "`get(key)` of a client whose pool the parent has used; of a client that the child "
        "creates, as other pools require; and GET on a bare `redis.Connection` that the child "
        "creates.",
        figures,
        [
            Claim("a fresh client's", ours, client, at_most=1.1),
            Claim("a bare connection's", ours, connection, at_most=1.1),
        ],
        ours=ours,
    )


# -- in the process that forks --------------------------------------------------------------------


def main(kind: str, argument: str) -> None:
    work: Callable[[], object] = lambda: None  # noqa: E731
    kept: Any = None
    if kind == "in a pool":
        kept = Pool(lambda: socket.socketpair()[0], max_size=int(argument))
        for conn in [kept.acquire() for _ in range(int(argument))]:
            kept.release(conn)
    elif kind == "in no pool":
        kept = [socket.socketpair()[0] for _ in range(int(argument))]
    elif kind.startswith("forksafe_redis"):
        kept = redis.Redis(connection_pool=forksafe_redis.ConnectionPool.from_url(argument))
        kept.get("key")
        work = lambda: kept.get("key")  # noqa: E731
    else:
        kept = redis.Redis.from_url(argument)
        kept.get("key")
        options = kept.connection_pool.connection_kwargs

        def get() -> None:
            redis.Redis(host=options["host"], port=options["port"]).get("key")

        def connect_and_get() -> None:
            conn = redis.Connection(host=options["host"], port=options["port"])
            conn.connect()
            conn.send_command("GET", "key")
            conn.read_response()

        work = get if kind == FIRST[1] else connect_and_get

    warnings.simplefilter("ignore", DeprecationWarning)
    for _ in sys.stdin:
        read, write = os.pipe()
        start = time.perf_counter_ns()
        pid = os.fork()
        if pid == 0:
            work()
            os.write(write, str(time.perf_counter_ns() - start).encode())
            os._exit(0)
        parent = time.perf_counter_ns() - start
        child = int(os.read(read, 100))
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)
        sys.stdout.write(f"{child / 1000} {parent / 1000}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
