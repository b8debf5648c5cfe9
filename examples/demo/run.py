"""One run: a server under load, of which a worker is killed and which is reloaded meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Protocol

from examples.demo.load import Load
from examples.demo.servers import LIMIT, Gunicorn
from examples.demo.sockets import Witness

CLIENTS = 12
# Of the time that the load lasts.
KILL_AT = 0.3
RELOAD_AT = 0.55
# No machine comes near it; it bounds the run if time does not.
MOST_PER_SECOND = 20_000
_LOOK_EVERY = 0.2


class Progress(Protocol):
    """Where a run tells how it goes."""

    def show(self, done: float, load: Load) -> None: ...
    def event(self, what: str) -> None: ...


@dataclass
class Result:
    """What came of a run. The last five are None where the system cannot tell."""

    seconds: float
    workers: int
    requests: int
    wrong: int
    anothers: int
    errors: Counter[str]
    cut_by_kill: int
    cut_by_reload: int
    killed: bool
    reloaded: bool
    looks: int | None
    masters: int | None
    per_worker: list[int] | None
    shared: int | None
    inherited: int | None

    @property
    def answered(self) -> int:
        return self.requests - self.errors.total()


def run(
    folder: Path, backend: str, redis_port: int, workers: int, seconds: float, progress: Progress
) -> Result:
    with Gunicorn(folder, backend, redis_port, workers) as server:
        witness = Witness(server, redis_port)
        try:
            return _drive(server, witness, seconds, progress)
        finally:
            witness.close()


def _drive(server: Gunicorn, witness: Witness, seconds: float, progress: Progress) -> Result:
    load = Load(server.port, CLIENTS, limit=int(seconds * MOST_PER_SECOND))
    begin = monotonic()
    next_look = begin

    def wait(condition: Callable[[], bool], limit: float = LIMIT) -> bool:
        """Look on until it is so; whether it was in time."""
        nonlocal next_look
        deadline = monotonic() + limit
        while not condition() and monotonic() < deadline:
            if monotonic() >= next_look:
                witness.look()
                next_look = monotonic() + _LOOK_EVERY
            progress.show(min(1.0, (monotonic() - begin) / seconds), load)
            sleep(0.02)
        return condition()

    def wait_for(part: float) -> None:
        wait(lambda: monotonic() - begin >= part * seconds, limit=seconds)

    def complete(without: set[int]) -> bool:
        living = server.workers()
        return len(living) == server.size and not living & without

    with load:
        progress.event(f"{CLIENTS} clients come to {server.size} workers")
        wait_for(KILL_AT)
        wait(lambda: bool(load.answers))
        victim = max(server.workers(), key=lambda worker: load.answers[worker])
        progress.event(f"worker {victim} is killed (SIGKILL), in the middle of its work")
        load.killing(victim)
        server.kill(victim)
        gone = wait(lambda: victim not in server.workers())
        load.killed()
        killed = gone and wait(lambda: complete({victim}))

        wait_for(RELOAD_AT)
        old = server.workers()
        progress.event("the server is reloaded (SIGHUP): all workers are replaced")
        load.reloading(old)
        server.reload()
        reloaded = wait(lambda: complete(old))

        wait_for(1.0)
        new = server.workers()
        reloaded = wait(lambda: all(load.answers[worker] for worker in new)) and reloaded
        witness.look()
        elapsed = monotonic() - begin
    progress.show(1.0, load)
    return Result(
        seconds=elapsed,
        workers=server.size,
        requests=load.requests,
        wrong=load.wrong,
        anothers=load.anothers,
        errors=load.errors,
        cut_by_kill=load.cut_by_kill,
        cut_by_reload=load.cut_by_reload,
        killed=killed,
        reloaded=reloaded,
        looks=witness.looks if witness.can_see else None,
        masters=witness.masters if witness.can_see else None,
        per_worker=witness.per_worker if witness.can_see else None,
        shared=witness.shared if witness.can_see else None,
        inherited=witness.inherited if witness.can_see else None,
    )
