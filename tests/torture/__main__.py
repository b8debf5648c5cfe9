"""Every driver, every way to fork, every misdeed: ours beside its peers.

make torture                         the whole matrix, written to docs/torture.md
make torture ARGS="--only psycopg"   a part of it, printed
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Callable

from tests.support.programs import ROOT
from tests.torture import cell, matrix, record, report, servers, suites, ways
from tests.torture.report import Found
from tests.torture.subject import Driver, Pool

#: Seconds for a child. Nothing takes a tenth of it but what hangs.
LIMIT = 4.0


def main() -> None:
    options = arguments()
    chosen = [
        (driver, pool)
        for driver, pools in matrix.MATRIX
        for pool in pools
        if driver.server not in servers.MISSING
        and options.only in f"{driver.name} {pool.name}"
        and (pool.ours or not options.ours)
    ]
    missing = {**servers.MISSING, **ways.missing()}
    for name, reason in missing.items():
        say(f"left out, {name}: {reason}")
    found = run(chosen, options.limit)
    bad = [one for one in found if one.ours and one.bad]
    for one in bad:
        say(f"{one.driver}, {one.pool}: {one.way}, {one.misdeed}: {one.bad}")
    if options.only or options.ours or missing:
        sys.stdout.write("\n".join(report.page(found, {"missing": missing})) + "\n")
        sys.exit(bool(bad))
    results = {name: run_suites(chosen) for name, chosen in suites.ALL.items()}
    about = {"python": platform.python_version(), "cores": os.cpu_count()}
    record.write("matrix", record.pack(found, **about, **results))
    say(f"written: {record.PAGE.relative_to(ROOT)}\n")
    failed = sum(counts["failed"] for part in results.values() for _, counts in part.values())
    sys.exit(bool(bad) or bool(failed))


def run_suites(chosen: dict[str, str]) -> report.Results:
    results = {}
    for name, path in chosen.items():
        say(f"  {name}")
        results[name] = (path, suites.run(path))
    return results


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--only", default="", help="of drivers and pools whose names hold this")
    parser.add_argument("--ours", action="store_true", help="without the peers")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for a child")
    return parser.parse_args()


def run(chosen: list[tuple[type[Driver], type[Pool]]], limit: float) -> list[Found]:
    """Everything, in the order of the matrix."""
    names = [
        f"{way}/{misdeed}" for way in ways.possible() for misdeed in (*cell.MISDEEDS, cell.LOCK)
    ]
    progress = Progress(len(chosen) * len(names))
    with (
        servers.running({driver.server for driver, _ in chosen}) as addresses,
        concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as executor,  # many hang
    ):
        parts = [
            executor.submit(
                run_some, driver, pool, addresses[driver.server], limit, part, progress.step
            )
            for driver, pool in chosen
            for part in (
                [name for name in names if not name.startswith("gevent/")],
                [name for name in names if name.startswith("gevent/")],
            )
        ]
        return [one for part in parts for one in part.result()]


def run_some(
    driver: type[Driver],
    pool: type[Pool],
    address: str,
    limit: float,
    names: list[str],
    step: Callable[[str], None] = lambda what: None,
) -> list[Found]:
    names = [name for name in names if name.split("/")[0] in ways.possible()]
    command = ["-m", "tests.torture.zygote", driver.name, pool.name, address, str(limit), *names]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "integrations"))),
    }
    found = []
    with subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # children that meet their end have much to say
        text=True,
        env=environment,
    ) as zygote:
        for line in zygote.stdout or ():
            name, letters = line.rstrip("\n").split("\t")
            way, misdeed = name.split("/")
            found.append(Found(driver.name, pool.name, pool.ours, way, misdeed, letters))
            step(f"{driver.name}, {pool.name}")
    if len(found) != len(names):
        raise RuntimeError(
            f"{pool.name} of {driver.name}: {len(found)} of {len(names)} cells were run; where "
            "there are none, it does not work without a fork either"
        )
    return found


class Progress:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def step(self, what: str) -> None:
        with self._lock:
            self._done += 1
            if sys.stderr.isatty() or self._done % 500 == 0 or self._done == self._total:
                end = "" if sys.stderr.isatty() else "\n"
                sys.stderr.write(f"\r\033[K  {self._done} of {self._total}  {what}{end}")
                sys.stderr.flush()


def say(line: str) -> None:
    sys.stderr.write(f"\n{line}")


if __name__ == "__main__":
    main()
