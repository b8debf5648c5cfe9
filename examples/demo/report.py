"""What is shown: progress while it runs, the two runs side by side, and the verdict."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from time import monotonic
from typing import NamedTuple

from examples.demo.load import Load
from examples.demo.run import Result

HEADS = ("", "one shared connection", "forksafe_pool")
_BAR = 24


class Bar:
    """A line that is drawn again and again on a terminal; elsewhere a plain line now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._live = sys.stderr.isatty()
        self._next = 0.0

    def show(self, done: float, load: Load) -> None:
        if monotonic() < self._next and done < 1.0:
            return
        self._next = monotonic() + (0.1 if self._live else 2.0)
        numbers = (
            f"{load.requests:6,} requests, {load.wrong:5,} wrong, {load.errors.total():3} errors"
        )
        if self._live:
            full = round(done * _BAR)
            bar = "█" * full + "░" * (_BAR - full)
            print(f"\r\033[K  {bar} {numbers}", end="", file=sys.stderr, flush=True)
        elif done < 1.0:
            print(f"  {done:4.0%} {numbers}", file=sys.stderr, flush=True)

    def event(self, what: str) -> None:
        clear = "\r\033[K" if self._live else ""
        print(f"{clear}  {what}", file=sys.stderr, flush=True)

    def __enter__(self) -> Bar:
        print(f"\n{self._name}", file=sys.stderr, flush=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            print(file=sys.stderr, flush=True)


class Row(NamedTuple):
    title: str
    shared: str
    ours: str
    telling: bool = False


def table(shared: Result, ours: Result, *, markdown: bool) -> str:
    rows = _rows(shared, ours)
    return _as_markdown(rows) if markdown else _as_text(rows)


def _rows(shared: Result, ours: Result) -> list[Row]:
    def row(title: str, cell: Callable[[Result], str], telling: bool = False) -> Row:
        return Row(title, cell(shared), cell(ours), telling)

    rows = [
        row("requests answered", lambda r: f"{r.answered:,}"),
        row("wrong replies", lambda r: _part(r.wrong, r.answered), True),
        row("… of these, another visitor's data", lambda r: _part(r.anothers, r.answered), True),
        row("errors", lambda r: f"{r.errors.total():,}", True),
        row("cut off by the kill, and sent again", lambda r: f"{r.cut_by_kill:,}"),
        row("cut off by the reload, and sent again", lambda r: f"{r.cut_by_reload:,}"),
        row("Redis connections of each worker", lambda r: _list(r.per_worker)),
        row("connections shared by processes", lambda r: _number(r.shared), True),
        row("inherited sockets open in workers", lambda r: _number(r.inherited), True),
    ]
    return rows if shared.cut_by_reload or ours.cut_by_reload else rows[:5] + rows[6:]


def _as_markdown(rows: list[Row]) -> str:
    lines = [" | ".join(HEADS), "--- | ---: | ---:"]
    for row in rows:
        mark = "**" if row.telling else ""
        lines.append(" | ".join(f"{mark}{cell}{mark}" for cell in row[:3]))
    return "\n".join(f"| {line} |".replace("|  |", "| |") for line in lines)


def _as_text(rows: list[Row]) -> str:
    columns = zip(HEADS, *(row[:3] for row in rows), strict=True)
    widths = [max(map(len, column)) for column in columns]

    def line(row: Row) -> str:
        shared, ours = row.shared.rjust(widths[1]), row.ours.rjust(widths[2])
        if row.telling:
            shared, ours = _colour(shared), _colour(ours)
        return f"  {row.title.ljust(widths[0])}   {shared}   {ours}"

    rule = "  " + "─" * (sum(widths) + 6)
    return "\n".join([line(Row(*HEADS)), rule, *map(line, rows)])


def summary(shared: Result, ours: Result) -> str:
    lines = []
    if ours.looks:
        lines.append(
            f"Sockets, by /proc and CLIENT LIST: the worst of {shared.looks} looks in the first "
            f"run, of {ours.looks} in the second."
        )
    if shared.wrong:
        lines.append(
            f"One shared connection: {shared.wrong:,} visitors got a wrong reply, "
            f"{shared.anothers:,} of them another visitor's data."
        )
    failed = [f"FAILED: {complaint}" for complaint in complaints(ours)]
    return "\n".join(
        lines + (failed or ["forksafe_pool: every visitor got their own data, without an error."])
    )


def complaints(ours: Result) -> list[str]:
    """Why the run of forksafe_pool does not prove what it should. Empty: it does."""
    found = {
        f"{ours.wrong} wrong replies": ours.wrong,
        f"{ours.errors.total()} errors: {dict(ours.errors)}": ours.errors,
        f"only {ours.requests} requests": ours.requests < 20 * ours.seconds,
        "no worker was killed and replaced": not ours.killed,
        "the workers were not replaced by the reload, or a new one did not answer": (
            not ours.reloaded
        ),
        f"{ours.shared} connections are shared by processes": ours.shared,
        f"{ours.inherited} inherited sockets are open in workers": ours.inherited,
        "the master had no connection to inherit": ours.masters == 0,
        "a worker has no connection": ours.per_worker is not None
        and (len([count for count in ours.per_worker if count]) < ours.workers),
    }
    return [complaint for complaint, is_so in found.items() if is_so]


def _part(count: int, of: int) -> str:
    return f"{count:,} ({count / of:.0%})" if count else "0"


def _number(number: int | None) -> str:
    return "n/a" if number is None else f"{number:,}"


def _list(numbers: list[int] | None) -> str:
    return "n/a" if numbers is None else ", ".join(map(str, numbers)) or "none"


def _colour(cell: str) -> str:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return cell
    colour = "32" if cell.strip() == "0" else "0" if cell.strip() == "n/a" else "31"
    return f"\033[1;{colour}m{cell}\033[0m"
