"""What acquire + release must not depend on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable

from bench.one_thread import loop
from bench.peers import Dummy, Peer
from bench.rounds import Claim, Effort, Table, interleave, per_operation
from forksafe_pool import Pool

SIZES = (1, 10, 100, 1_000, 10_000)
POOLS = (1, 10, 100, 1_000)
FORKS = (0, 10, 100, 1_000)
#: What a figure may differ from the smallest one's by, and still be called the same.
SAME = 1.1


def measure(effort: Effort) -> list[Table]:
    return [by_size(effort), by_pools(effort), by_forks(effort)]


def by_size(effort: Effort) -> Table:
    contenders = {f"{size:,}": per_operation(loop(full(size)), effort) for size in SIZES}
    return table(
        "growth-size",
        "by `max_size`",
        "So many connections are in the pool, one is used.",
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
        "So many pools of one process, used in turn.",
        interleave("growth, pools", contenders, effort),
    )


def by_forks(effort: Effort) -> Table:
    """The process forks between the rounds: the figures of few forks come first."""
    figures: dict[str, list[float]] = {}
    peer = full(1)
    forked = 0
    for number in FORKS[:2] if effort.is_smoke else FORKS:
        while forked < number:
            fork()
            forked += 1
        name = f"{number:,}"
        contenders = {name: per_operation(loop(peer), effort)}
        figures |= interleave(f"growth, {name} forks", contenders, effort)
    return table(
        "growth-forks",
        "by the number of forks",
        "The same pool, after its process has forked so often. Not interleaved: the order is part "
        "of the matter.",
        figures,
    )


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
