"""The long run: workers killed, forks, reloads, servers that die, for as long as asked.

make soak ARGS=10            ten minutes, recorded in docs/torture.md
make soak ARGS="1 --dry"     one minute, printed
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import redis

from tests.soak.load import Load
from tests.support.gunicorn import Gunicorn
from tests.support.postgres import Postgres
from tests.support.programs import ROOT
from tests.support.server import Server
from tests.support.valkey import Valkey
from tests.torture import record

WORKERS = 3
VISITORS = 6
#: Seconds from the moment a server is back to an answer.
RECOVERY = 1.0
#: What a process's memory may become, of what it was. A worker grows from 48 MB, just forked, to
#: 51 MB within a minute, while its threads' arenas fill: by less than that, not warmed up either.
GROWTH = 1.1
#: Of the requests: servers are away for a part of the time.
ERRORS = 0.1
#: Minutes after which there has been every kind of fault.
EVERYTHING = 5
#: Of the time: its last part, in which no worker dies, and of that part what warms them up.
LAST, WARMING = 1 / 4, 1 / 3
#: Seconds that the last part takes at least.
LAST_AT_LEAST = 15.0
#: Seconds for which gunicorn keeps a connection that its client has left, and one more.
AT_REST = 3.0
_CONF = "preload_app = True\nfrom forksafe_gunicorn import install\ninstall(globals())\n"


class Usage(NamedTuple):
    """What a process has while nobody asks it."""

    #: But those of its pools' connections.
    descriptors: int
    #: Resident, in kB.
    memory: int


class Soak:
    def __init__(self, folder: Path, valkey: Valkey, postgres: Postgres) -> None:
        self._valkey, self._postgres = valkey, postgres
        self.recoveries: list[float] = []
        paths = (str(ROOT), str(ROOT / "integrations"))
        self.server = Gunicorn(
            folder,
            Path(__file__).with_name("app.py").read_text(),
            *("--worker-class=gthread", "--threads=4", "--timeout=60"),
            conf=_CONF,
            workers=WORKERS,
            env={
                "PYTHONPATH": os.pathsep.join(paths),
                "SOAK_REDIS": valkey.url,
                "SOAK_POSTGRES": postgres.dsn,
            },
        )
        self.ends_of_workers: dict[str, Callable[[], None]] = {
            "a worker killed": self.kill_worker,
            "a reload": self.reload,
        }
        self.other_faults: dict[str, Callable[[], None]] = {
            "Valkey killed and started again": lambda: self.restart(valkey),
            "PostgreSQL killed and started again": lambda: self.restart(postgres),
            "Valkey silent for a while": lambda: self.freeze(valkey),
            "every Valkey connection closed": self.cut_valkey,
            "every PostgreSQL session terminated": self.cut_postgres,
        }
        self.faults = dict.fromkeys([*self.ends_of_workers, *self.other_faults], 0)

    # -- faults -------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        workers = sorted(self.server.workers())
        self.server.signal(signal.SIGKILL, random.choice(workers))
        self.server.wait_for_workers()

    def reload(self) -> None:
        before = self.server.workers()
        self.server.signal(signal.SIGHUP)
        self.server.wait_for_workers(without=before)

    def restart(self, server: Server) -> None:
        server.kill()
        time.sleep(random.uniform(0, 1))
        server.start_again()
        back = time.monotonic()
        while not self.load.ask("ask"):
            assert time.monotonic() < back + 30, self.server.log
        self.recoveries.append(time.monotonic() - back)

    def freeze(self, server: Server) -> None:
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(random.uniform(0.5, 3))
        os.kill(server.pid, signal.SIGCONT)

    def cut_valkey(self) -> None:
        with redis.Redis.from_url(self._valkey.url) as admin:
            admin.client_kill_filter(skipme=True, _type="normal")

    def cut_postgres(self) -> None:
        with psycopg.connect(self._postgres.dsn) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    # -- the run ------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Leaves what the workers had when they had warmed up, and in the end, none replaced."""
        self.load = Load(self.server.port, VISITORS)
        end = time.monotonic() + max(seconds, LAST_AT_LEAST)
        last = max(LAST * seconds, LAST_AT_LEAST)
        everything = {**self.ends_of_workers, **self.other_faults}
        with self.load.going_on():
            self.strike(everything, end - last, end)
            self.strike(self.other_faults, end - last * (1 - WARMING), end)
        self.early = self.workers()
        with self.load.going_on():
            self.strike(self.other_faults, end, end)
        self.late = self.workers()
        assert self.late.keys() == self.early.keys(), f"a worker died by itself\n{self.server.log}"

    def strike(self, faults: dict[str, Callable[[], None]], until: float, end: float) -> None:
        while time.monotonic() < until:
            time.sleep(random.uniform(1, 3))
            name, fault = random.choice(list(faults.items()))
            fault()
            self.faults[name] += 1
            left = max(0, round(end - time.monotonic()))
            sys.stderr.write(f"\r\033[K  {left} s  {self.load.requests:,} answers  {name}")
            sys.stderr.flush()

    # -- what is measured ---------------------------------------------------------------------

    def workers(self) -> dict[int, Usage]:
        answers = self.server.ask_each(self.server.wait_for_workers(), "/stats")
        return usage({pid: answer["held"] for pid, answer in answers.items()})

    def master(self) -> Usage:
        pid = self.server.masters[0]
        return usage({pid: 0})[pid]

    def sockets(self, worker: int) -> int:
        """How many sockets to the servers it has."""
        return sum(
            len(self.server.connections(server.port).get(worker, ()))
            for server in (self._valkey, self._postgres)
        )

    def clients(self) -> int:
        """How many connections both servers have, ours to ask not among them."""
        with redis.Redis.from_url(self._valkey.url) as cache:
            cached: Any = cache.client_list()
        with psycopg.connect(self._postgres.dsn) as database:
            row = database.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
            ).fetchone()
        assert row is not None
        return len(cached) - 1 + int(row[0]) - 1


def usage(held: dict[int, int]) -> dict[int, Usage]:
    """By the processes' ids, with the number of descriptors that each pool's connections have."""
    end = time.monotonic() + AT_REST
    fewest = {pid: descriptors(pid) for pid in held}
    while time.monotonic() < end:
        time.sleep(0.1)
        fewest = {pid: min(number, descriptors(pid)) for pid, number in fewest.items()}
    return {pid: Usage(fewest[pid] - number, memory(pid)) for pid, number in held.items()}


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("minutes", type=float, nargs="?", default=10.0)
    parser.add_argument("--dry", action="store_true", help="print, and record nothing")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey, postgres = Valkey(), Postgres()
        stack.callback(valkey.stop)
        stack.callback(postgres.stop)
        found = soak(Soak(folder, valkey, postgres), options.minutes)
    sys.stderr.write("\n")
    sys.stdout.write("\n".join(record.soak_table(found)) + "\n")
    if not options.dry:
        record.write("soak", found)
    sys.exit(not is_well(found))


def soak(soaked: Soak, minutes: float) -> dict[str, Any]:
    with soaked.server as server:
        soaked.reload()  # by its end gunicorn has opened what it needs
        early = soaked.master()
        soaked.run(minutes * 60)
        late = soaked.master()
        answers = server.ask_each(soaked.late, "/stats")
        strays = [soaked.sockets(pid) - int(answer["held"]) for pid, answer in answers.items()]
        pairs = [(early, late), *((soaked.early[pid], soaked.late[pid]) for pid in soaked.early)]
        more = [max(0, after.descriptors - before.descriptors) for before, after in pairs]
        master, *workers = [round(after.memory / before.memory, 3) for before, after in pairs]
        load = soaked.load
        found = {
            "minutes": minutes,
            "requests": load.requests,
            "forks": load.forks,
            "errors": sum(load.errors.values()),
            "faults": dict(sorted(soaked.faults.items())),
            "astray": load.astray,
            "hangs": load.hangs,
            "places lost": sum(answer["lost"] for answer in answers.values()),
            # A worker has a socket for each connection of its pools, and no more of other
            # descriptors than it had; nor has the master.
            "descriptors leaked": sum(more) + sum(max(0, number) for number in strays),
            "recovery": round(max(soaked.recoveries, default=0.0), 2),
            "recoveries": len(soaked.recoveries),
            "memory": master,
            "workers' memory": max(workers),
        }
    found["connections left"] = soaked.clients()
    return found


def is_well(found: dict[str, Any]) -> bool:
    return (
        not any(found[name] for name in record.NOTHING)
        and found["recovery"] < RECOVERY
        and max(found["memory"], found["workers' memory"]) < GROWTH
        and min(found["requests"], found["forks"]) > 0
        and found["errors"] < ERRORS * found["requests"]
        and (
            found["minutes"] < EVERYTHING or min(*found["faults"].values(), found["recoveries"]) > 0
        )
    )


if __name__ == "__main__":
    main()
