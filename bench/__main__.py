"""The same work done by forksafe_pool and by its peers, in one run.

make bench                            everything, written to docs/benchmarks.md
make bench ARGS="--only threads"      some of it, printed
make bench ARGS=--verify              everything again, compared with what docs/benchmarks.json has
make bench ARGS=--smoke               everything once, to see that it works
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench import page, plots
from bench.rounds import FULL, SMOKE, Effort, Table

DOCS = Path(__file__).parents[1] / "docs"
#: Each measures everything, one after the other.
PROCESSES = 5
#: In the order of the page.
MODULES = ("one_thread", "redis_get", "threads", "forks", "web", "memory", "growth")


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    if options.only or options.smoke:
        return show(measure(options), options.json)
    tables = measure_in_new_processes(options.rounds)
    return verify(tables) if options.verify else publish(tables, machine(options.rounds))


def measure(options: argparse.Namespace) -> list[Table]:
    effort = SMOKE if options.smoke else Effort(options.rounds, FULL.seconds)
    return [
        table
        for name in options.only or MODULES
        for table in importlib.import_module(f"bench.{name}").measure(effort)
    ]


def measure_in_new_processes(rounds: int) -> list[Table]:
    """What several processes measured: where each one's memory happens to lie makes a difference
    that stays for as long as it runs, and is part of the spread.
    """
    tables: dict[str, Table] = {}
    with TemporaryDirectory() as folder:
        for number in range(PROCESSES):
            for name in MODULES:
                kept = Path(folder, f"{name}-{number}.json")
                say(f"{name}, process {number + 1} of {PROCESSES}")
                part = ["--only", name, "--rounds", str(rounds), "--json", str(kept)]
                subprocess.run([sys.executable, "-m", "bench", *part], check=True)
                for table in map(Table.from_json, json.loads(kept.read_text())):
                    if table.name in tables:
                        tables[table.name].add(table)
                    else:
                        tables[table.name] = table
    return list(tables.values())


def show(tables: list[Table], kept: Path | None) -> int:
    if kept is not None:
        kept.write_text(json.dumps([table.as_json() for table in tables]))
        return 0
    say("\n".join(line for table in tables for line in ("", table.title, *page.rows(table))))
    say("\n".join(page.targets(tables)))
    return 0


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MODULES, help="these alone")
    parser.add_argument("--rounds", type=int, default=FULL.rounds, help="in each process")
    parser.add_argument("--smoke", action="store_true", help="one short round")
    parser.add_argument("--json", type=Path, help="write what --only measures to this file")
    parser.add_argument("--verify", action="store_true", help="compare with what is published")
    options = parser.parse_args(argv)
    if options.json and not options.only:
        parser.error("--json goes with --only")
    return options


def machine(rounds: int) -> dict[str, Any]:
    names = ("redis", "psycopg_pool", "sqlalchemy", "urllib3", "pymemcache")
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "processes": PROCESSES,
        "rounds": rounds,
        **{name: importlib.metadata.version(name) for name in names},
    }


def publish(tables: list[Table], machine: dict[str, Any]) -> int:
    kept = {"machine": machine, "tables": [table.as_json() for table in tables]}
    (DOCS / "benchmarks.json").write_text(json.dumps(rounded(kept), indent=1) + "\n")
    drawn = plots.draw(tables, DOCS / "benchmarks")
    (DOCS / "benchmarks.md").write_text(page.write(tables, machine, drawn))
    say("\n".join(page.targets(tables)))
    return 0


def rounded(value: Any) -> Any:
    """Figures to five digits: more are noise."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value


def verify(tables: list[Table]) -> int:
    """Whether each ratio that is published comes out within its range again."""
    kept = json.loads((DOCS / "benchmarks.json").read_text())["tables"]
    published = {table.name: table for table in map(Table.from_json, kept)}
    outside = 0
    for table in tables:
        for claim in table.claims:
            was = published[table.name].ratio(claim.over, claim.under)
            now = table.ratio(claim.over, claim.under).median
            within = was.holds(now)
            outside += not within
            said = "within" if within else "OUTSIDE"
            say(f"{said:8} {table.title}, {claim.text}: {was}, now {now:.2f}")
    say(f"{outside} outside of their range")
    return min(outside, 1)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
