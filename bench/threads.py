"""Sixteen threads and a pool: how much gets done, how fairly, and how long they wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import peers
from bench.peers import OURS, Peer
from bench.rounds import Claim, Effort, Table, interleave

THREADS = 16
#: A pool is called fair where no thread gets less than this share of what another one gets.
FAIR = 0.9


@dataclass
class Crowd:
    """What became of one round."""

    done: list[int]
    #: Seconds, of every acquisition.
    waits: list[float]
    seconds: float

    @property
    def throughput(self) -> float:
        return sum(self.done) / self.seconds

    @property
    def fairness(self) -> float:
        return min(self.done) / max(self.done)

    @property
    def p99(self) -> float:
        """Microseconds."""
        return sorted(self.waits)[len(self.waits) * 99 // 100] * 1e6


def crowd(peer: Peer, hold: float, seconds: float) -> Crowd:
    """Let the threads use the pool for so many seconds, each use ``hold`` seconds long."""
    start = threading.Barrier(THREADS + 1)
    stop = threading.Event()
    done = [0] * THREADS
    waits: list[list[float]] = [[] for _ in range(THREADS)]

    def work(number: int) -> None:
        acquire, release, _ = peer
        mine, clock, stopped = waits[number].append, time.perf_counter, stop.is_set
        count = 0
        start.wait()
        while not stopped():
            asked = clock()
            conn = acquire()
            mine(clock() - asked)
            if hold:
                time.sleep(hold)
            release(conn)
            count += 1
        done[number] = count

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return Crowd(done, [wait for each in waits for wait in each], time.perf_counter() - began)


@dataclass(frozen=True)
class Case:
    name: str
    connections: int
    #: Seconds.
    hold: float


HELD = Case("0.5 ms hold", 2, 0.0005)
RUSH = Case("no hold", 2, 0.0)
ENOUGH = Case("a connection for each", THREADS, 0.0)


def measure(effort: Effort) -> list[Table]:
    return [*held(effort), *without_hold(effort)]


def run(case: Case, effort: Effort) -> dict[str, list[Crowd]]:
    seconds = max(effort.seconds * 6, 0.05)
    made = {name: make(case.connections) for name, make in peers.WAITING.items()}
    crowds: dict[str, list[Crowd]] = {name: [] for name in made}

    def contender(name: str) -> Callable[[], float]:
        def work() -> float:
            crowds[name].append(crowd(made[name], case.hold, seconds))
            return 0.0

        return work

    interleave(f"16 threads, {case.name}", {name: contender(name) for name in made}, effort)
    peers.close(made)
    return {name: each[1:] for name, each in crowds.items()}  # the first one warmed up


def held(effort: Effort) -> list[Table]:
    crowds = run(HELD, effort)
    fairness = {name: [one.fairness for one in each] for name, each in crowds.items()}
    throughput = {name: [one.throughput for one in each] for name, each in crowds.items()}
    p99 = {name: [one.p99 for one in each] for name, each in crowds.items()}
    exactly = {"exactly the same": [1.0] * len(fairness[OURS])}
    fair = [
        name
        for name, each in fairness.items()
        if name != OURS and sorted(each)[len(each) // 2] >= FAIR
    ]
    what = "16 threads, 2 connections, each held for 0.5 ms"
    return [
        Table(
            "threads-fairness",
            f"{what}: fairness",
            "of the most",
            "Acquires of the thread with the fewest, divided by those of the thread with the most.",
            {**fairness, **exactly},
            [Claim("fewest acquires ÷ most", OURS, "exactly the same", 0.95)],
            more_is_better=True,
        ),
        Table(
            "threads-wait",
            f"{what}: the 99th percentile of waiting",
            "µs",
            "From the call of acquire to its return. In an unfair pool some threads wait longer.",
            p99,
            [Claim("psycopg_pool's", OURS, "psycopg_pool", at_most=1.0)],
        ),
        Table(
            "threads-throughput",
            f"{what}: throughput",
            "per second",
            f"Fair peers, by the table above: {', '.join(fair) or 'none'}.",
            throughput,
            [Claim(f"{name}'s, which is fair", OURS, name, 1.0) for name in fair],
            more_is_better=True,
        ),
    ]


def without_hold(effort: Effort) -> list[Table]:
    tables = []
    for case, name, claims in (
        (RUSH, "threads-rush", [Claim("psycopg_pool's", OURS, "psycopg_pool", 1.5)]),
        (
            ENOUGH,
            "threads-enough",
            [Claim(f"{peer}'s", OURS, peer, 1.0) for peer in peers.WAITING if peer != OURS],
        ),
    ):
        crowds = run(case, effort)
        tables.append(
            Table(
                name,
                f"16 threads, {case.connections} connections, no hold",
                "per second",
                "Each connection is released immediately.",
                {peer: [one.throughput for one in each] for peer, each in crowds.items()},
                claims,
                more_is_better=True,
            )
        )
    return tables
