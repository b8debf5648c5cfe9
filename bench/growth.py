"""What acquire + release must not depend on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from bench.one_thread import loop
from bench.peers import Dummy, Peer
from bench.rounds import Claim, Contender, Effort, Table, interleave, per_operation
from forksafe_pool import Pool

SIZES = (1, 10, 100, 1_000, 10_000)
POOLS = (1, 10, 100, 1_000)
FORKS = (0, 10, 100, 1_000)
_spawning = multiprocessing.get_context("spawn")

#: What a figure may differ from the smallest one's by, and still be called the same.
SAME = 1.1


def measure(effort: Effort) -> list[Table]:
    return [by_size(effort), by_pools(effort), by_forks(effort)]


def by_size(effort: Effort) -> Table:
    contenders = {f"{size:,}": per_operation(loop(full(size)), effort) for size in SIZES}
    return table(
        "growth-size",
        "by `max_size`",
        "The pool holds this many connections; one is used.",
        interleave("growth, max_size", contenders, effort),
    )


def by_pools(effort: Effort) -> Table:
    kept: list[Peer] = []

    def contender(number: int) -> Callable[[], float]:
        mine = [full(1) for _ in range(number)]
        kept.extend(mine)
        return per_operation(in_turn(mine), effort)

    contenders = {f"{number:,}": contender(number) for number in POOLS}
    return table(
        "growth-pools",
        "by the number of pools",
        "One process uses this many pools in turn.",
        interleave("growth, pools", contenders, effort),
    )


def by_forks(effort: Effort) -> Table:
    with contextlib.ExitStack() as stack:
        contenders = {
            f"{number:,}": stack.enter_context(has_forked(number, effort))
            for number in (FORKS[:2] if effort.is_smoke else FORKS)
        }
        figures = interleave("growth, forks", contenders, effort)
    return table(
        "growth-forks",
        "by the number of forks",
        "Each process has forked this many children; the processes then take turns.",
        figures,
    )


@contextlib.contextmanager
def has_forked(number: int, effort: Effort) -> Iterator[Contender]:
    """A process with a pool that has forked so often, and measures when it is asked to."""
    ours, theirs = multiprocessing.Pipe()
    process = _spawning.Process(target=fork_and_measure, args=(number, effort, theirs))
    process.start()
    theirs.close()

    def ask() -> float:
        ours.send(None)
        return float(ours.recv())

    try:
        ours.recv()
        yield ask
    finally:
        ours.close()
        process.join()


def fork_and_measure(number: int, effort: Effort, asked: Connection) -> None:
    contender = per_operation(loop(full(1)), effort)
    for _ in range(number):
        fork()
    with contextlib.suppress(EOFError):
        while True:
            asked.send(contender())
            asked.recv()


def table(name: str, by: str, about: str, figures: dict[str, list[float]]) -> Table:
    first, *_, last = figures
    claim = Claim(f"{first}'s time, {last}", last, first, at_most=SAME)
    return Table(name, f"acquire + release {by}", "ns", about, figures, [claim], ours=first)


def full(size: int) -> Peer:
    pool = Pool(Dummy, max_size=size)
    for conn in [pool.acquire() for _ in range(size)]:
        pool.release(conn)
    return Peer(pool.acquire, pool.release, pool)


def in_turn(pools: list[Peer]) -> Callable[[int], None]:
    def operate(times: int) -> None:
        rounds = -(-times // len(pools))
        for _ in range(rounds):
            for acquire, release, _ in pools:
                release(acquire())

    return operate


def fork() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
