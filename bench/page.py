"""``docs/benchmarks.md``, from what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import explained
from bench.rounds import Claim, Table

HEAD = """\
# Benchmarks

Written by `make bench`: CPython {python}, {cores} cores, {system}. Each piece of work is done in
turn by every contender, A B C A B C …, in {processes} processes one after the other with {rounds}
rounds each. Every figure is the median of the rounds. A ratio is the median of the rounds' own
ratios, with the range in which nine of ten rounds lie. Times vary from machine to machine, and on
one that others use too from run to run: only the ratios are claims. `make bench ARGS=--verify` runs
everything again, and tells which ratio comes out of its range. What every round gave is in
[benchmarks.json](benchmarks.json).

redis-py {redis}, psycopg_pool {psycopg_pool}, SQLAlchemy {sqlalchemy}, urllib3 {urllib3},
pymemcache {pymemcache}.
"""


def write(tables: list[Table], machine: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """The page; ``drawn`` are the files of the tables' plots, by name."""
    parts = [HEAD.format(**machine), "## Targets\n", *targets(tables), ""]
    for table in tables:
        parts += [f"## {table.title[0].upper()}{table.title[1:]}\n", f"{table.about}\n"]
        parts += [*rows(table), ""]
        if table.name in drawn:
            parts += [f"![{table.title}]({drawn[table.name]})\n"]
        if table.name in explained.SHORT:
            parts += [f"{explained.SHORT[table.name]}\n"]
    return "\n".join(parts).rstrip() + "\n"


def targets(tables: list[Table]) -> list[str]:
    lines = ["| work | ratio to | target | measured | met |", "| --- | --- | --- | --- | --- |"]
    for table in tables:
        for claim in table.claims:
            ratio = table.ratio(claim.over, claim.under)
            met = "yes" if claim.is_met_by(ratio.median) else "**no**"
            lines.append(
                f"| {table.title} | {words(table, claim)} | {claim.target} | {ratio} | {met} |"
            )
    return lines


def words(table: Table, claim: Claim) -> str:
    """``faster than`` where the peer's time is above ours."""
    return f"faster {claim.text}" if claim.text.startswith("than ") else claim.text


def rows(table: Table) -> list[str]:
    better = "more is better" if table.more_is_better else "less is better"
    lines = [
        f"| | {table.unit}, {better} | ratio to {table.ours} |",
        "| --- | ---: | ---: |",
    ]
    for name in sorted(table.figures, key=table.median, reverse=table.more_is_better):
        median, ratio = table.median(name), str(table.ratio(name, table.ours))
        shown = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
        mark = "**" if name == table.ours else ""
        ratio = "1" if name == table.ours else ratio
        lines.append(f"| {mark}{name}{mark} | {shown} | {ratio} |")
    return lines
