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
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
_CONF = "preload_app = True\nfrom forksafe_gunicorn import install\ninstall(globals())\n"


class Soak:
    def __init__(self, folder: Path, valkey: Valkey, postgres: Postgres) -> None:
        self._valkey, self._postgres = valkey, postgres
        self.faults: Counter[str] = Counter()
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
        self.faults_to_choose: dict[str, Callable[[], None]] = {
            "a worker killed": self.kill_worker,
            "a reload": self.reload,
            "Valkey killed and started again": lambda: self.restart(valkey),
            "PostgreSQL killed and started again": lambda: self.restart(postgres),
            "Valkey silent for a while": lambda: self.freeze(valkey),
            "every Valkey connection closed": self.cut_valkey,
            "every PostgreSQL session terminated": self.cut_postgres,
        }

    # -- faults -------------------------------------------------------------------------------

    def strike(self) -> str:
        name = random.choice(list(self.faults_to_choose))
        self.faults_to_choose[name]()
        self.faults[name] += 1
        return name

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
        self.load = Load(self.server.port, VISITORS)
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(random.uniform(1, 3))
                name = self.strike()
                left = max(0, round(end - time.monotonic()))
                sys.stderr.write(f"\r\033[K  {left} s  {self.load.requests:,} answers  {name}")
                sys.stderr.flush()
        finally:
            self.load.stop()

    def sockets(self, workers: set[int]) -> int:
        """How many sockets to the servers these processes have."""
        return sum(
            len(ports)
            for server in (self._valkey, self._postgres)
            for pid, ports in self.server.connections(server.port).items()
            if pid in workers
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

    def master(self) -> tuple[int, int]:
        """The master's sockets, and its resident memory in kB."""
        pid = self.server.masters[0]
        status = Path(f"/proc/{pid}/status").read_text()
        memory = int(status.partition("VmRSS:")[2].split()[0])
        targets = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
        return sum(target.startswith("socket:") for target in targets), memory


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
        sockets, memory = soaked.master()
        soaked.run(minutes * 60)
        workers = server.wait_for_workers()
        answers = server.ask_each(workers, "/stats").values()
        held = sum(answer["total"] for answer in answers)
        later_sockets, later_memory = soaked.master()
        load = soaked.load
        found = {
            "minutes": minutes,
            "requests": load.requests,
            "forks": load.forks,
            "errors": sum(load.errors.values()),
            "faults": dict(sorted(soaked.faults.items())),
            "astray": load.astray,
            "hangs": load.hangs,
            "places lost": sum(answer["in_use"] + answer["over"] for answer in answers),
            # A worker has a socket for each connection of its pools, the master what it had.
            "descriptors leaked": max(0, later_sockets - sockets)
            + max(0, soaked.sockets(workers) - held),
            "recovery": round(max(soaked.recoveries, default=0.0), 2),
            "recoveries": len(soaked.recoveries),
            "memory": round(later_memory / memory, 3),
        }
    found["connections left"] = soaked.clients()
    return found


def is_well(found: dict[str, Any]) -> bool:
    nothing = ("astray", "hangs", "places lost", "descriptors leaked", "connections left")
    return not any(found[name] for name in nothing) and found["recovery"] < RECOVERY


if __name__ == "__main__":
    main()
