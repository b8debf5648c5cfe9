"""The tables of ``docs/torture.md``."""

from __future__ import annotations

import os
import platform
from collections import Counter
from dataclasses import dataclass
from typing import Any

from tests.torture import cell
from tests.torture.ways import WITHOUT_HOOKS


@dataclass(frozen=True)
class Found:
    """What became of one cell: no letters, and all is well."""

    driver: str
    pool: str
    ours: bool
    way: str
    misdeed: str
    letters: str

    @property
    def unavoidable(self) -> str:
        """Letters that say nothing of the pool, which could do nothing: see `OUT_OF_REACH`."""
        if (
            self.misdeed != "uses a connection in use"
            or self.way not in WITHOUT_HOOKS
            or self.pool not in BARE
        ):
            return ""
        # memcached knows of no sessions: there is nothing to lose.
        return "X" if self.driver == "pymemcache" else "SX"

    @property
    def bad(self) -> str:
        """The letters that the pool has to answer for."""
        return "".join(letter for letter in self.letters if letter not in self.unavoidable)


#: Ours that hand out a driver's own connections, which cannot ask whether the process was forked.
BARE = ("forksafe_pool.Pool", "forksafe_dbapi.Pool")

ABOUT = """\
# Torture

Written by `make torture`, which runs every driver, in our pool and in its peers', with every way
to fork and every misdeed: {cells:,} cells, each in processes of its own, against real servers.
This run: CPython {python}, Linux, {cores} cores.

The parent has a pool with one idle connection and one in use, on which a transaction (redis-py: a
watching pipeline, or a subscription) is under way. It forks, and goes on working while the child
does the misdeed.
"""

ASIDE = """\
Not crossed with every driver, but covered by tests of their own, listed below: multiprocessing's
spawn, gunicorn and its dirty workers, uWSGI, Celery, and RQ. `tests/servers` adds UNIX sockets and
mysqlclient over TLS; SQLAlchemy is run over TLS with psycopg alone. PyMongo's pool is run against a
server of the tests' own that speaks its protocol, since neither PyPI nor Debian has a MongoDB
server.
"""

OUT_OF_REACH = """\
## What is out of reach

*Uses a connection in use*, after a C-level fork, of forksafe_pool.Pool and forksafe_dbapi.Pool: X,
and S where there is something to lose, in {known} of our cells. They hand out the driver's own
connections, which know of no pool. No hook runs, and the child works on its parent's connection
before it asks the pool for anything: there is no moment in which a pool could act. After any other
fork, and as soon as the pool was asked for anything, such a connection is dead in the child. Those
of forksafe_redis, forksafe_psycopg and forksafe_sqlalchemy ask for themselves.

In the C-level forks of *thread storm* the other threads hold connections and wait: where threads
fight for the GIL, CPython's own child hangs, whatever the pool.
"""


Results = dict[str, tuple[str, dict[str, int]]]


def page(found: list[Found], about: dict[str, Any]) -> list[str]:
    """The matrix; ``about`` tells where it ran, and what other tests found."""
    ways = ordered([one.way for one in found])
    return [
        ABOUT.format(
            cells=len(found),
            python=about.get("python", platform.python_version()),
            cores=about.get("cores", os.cpu_count()),
        ),
        ASIDE,
        *(f"Left out, {what}: {reason}.\n" for what, reason in about.get("missing", {}).items()),
        *by_letter(found),
        "",
        "## By driver, pool and misdeed",
        "",
        f"`ok`, or each letter with the number of ways to fork, of {len(ways)}, in which it was",
        "found.",
        "",
        *by_misdeed(found),
        "",
        "## By way to fork",
        "",
        *by_way(found),
        "",
        *by_suite("Servers, frameworks and the wire", FORKING, about.get("suites", {})),
        *by_suite("Faults", FAULTS, about.get("faults", {})),
        OUT_OF_REACH.format(known=sum(map(is_known, found))),
    ]


def is_known(one: Found) -> bool:
    """Whether something was found that no pool could do anything about."""
    return any(letter in one.letters for letter in one.unavoidable)


def meanings() -> dict[str, str]:
    """The letters, from where they are told."""
    lines = (line.strip() for line in (cell.__doc__ or "").splitlines())
    return {line[0]: line[1:].strip() for line in lines if line[1:5] == " " * 4}


def ordered(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def by_misdeed(found: list[Found]) -> list[str]:
    """Drivers and pools by misdeeds: how often, of all ways to fork, what went wrong."""
    misdeeds = ordered([one.misdeed for one in found])
    lines = [
        "| driver | pool | " + " | ".join(misdeeds) + " |",
        "| --- | --- |" + " --- |" * len(misdeeds),
    ]
    for driver, pool in dict.fromkeys((one.driver, one.pool) for one in found):
        row = [one for one in found if (one.driver, one.pool) == (driver, pool)]
        name = f"**{pool}**" if row[0].ours else pool
        cells = [summary([one for one in row if one.misdeed == misdeed]) for misdeed in misdeeds]
        lines.append(f"| {driver} | {name} | " + " | ".join(cells) + " |")
    return lines


def summary(cells: list[Found]) -> str:
    """``ok``; or each letter with the number of ways to fork in which it was found."""
    if not cells:
        return ""
    counts = Counter(letter for one in cells for letter in one.letters)
    if not counts:
        return "ok"
    return " ".join(f"{letter} {counts[letter]}" for letter in sorted(counts))


def by_way(found: list[Found]) -> list[str]:
    """Ways to fork by misdeeds' outcomes, ours beside the peers'."""
    lines = ["| way to fork | forksafe_pool | peers |", "| --- | ---: | ---: |"]
    for way in ordered([one.way for one in found]):
        row = [one for one in found if one.way == way]
        lines.append(f"| {way} | {share(row, ours=True)} | {share(row, ours=False)} |")
    lines.append(f"| **all** | **{share(found, ours=True)}** | **{share(found, ours=False)}** |")
    return lines


def share(cells: list[Found], *, ours: bool) -> str:
    mine = [one for one in cells if one.ours == ours]
    return f"{sum(not one.letters for one in mine):,} of {len(mine):,} well"


def by_letter(found: list[Found]) -> list[str]:
    lines = ["| | what was found | forksafe_pool | peers |", "| --- | --- | ---: | ---: |"]
    for letter, meaning in meanings().items():
        ours, peers = (
            sum(letter in one.letters for one in found if one.ours == mine)
            for mine in (True, False)
        )
        lines.append(f"| {letter} | {meaning} | {ours:,} | {peers:,} |")
    return lines


FORKING = """\
What forks by itself has real processes of its own in its tests, as has what watches, by
`strace` and the kernel's counters, that no child sends a byte on an inherited socket."""

FAULTS = """\
Real servers that are killed, stopped, cut off, and a proxy that drops, cuts and refuses; requests
that are killed in the middle of a reply; and whatever a person might type wrongly."""


def by_suite(title: str, about: str, suites: Results) -> list[str]:
    """What has tests of its own, by its name and where they are."""
    if not suites:
        return []
    return [
        f"## {title}",
        "",
        about,
        "",
        "| what | tests | passed | failed | skipped |",
        "| --- | --- | ---: | ---: | ---: |",
        *(
            f"| {name} | `{path}` | {counts['tests'] - counts['failed'] - counts['skipped']} "
            f"| {counts['failed']} | {counts['skipped']} |"
            for name, (path, counts) in suites.items()
        ),
        "",
    ]
