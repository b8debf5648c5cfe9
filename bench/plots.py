"""A plot for each table: bars, or a line where the work grows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from bench.rounds import Table

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "forksafe_pool"  # the same figures, the same file

import matplotlib.pyplot as pyplot  # noqa: E402 - after the choice of what draws

OURS, PEERS = "#1f77b4", "#b0b7bf"
#: How much longer the longest bar may be than the shortest before the scale is logarithmic.
LONG = 50


def draw(tables: list[Table], folder: Path) -> dict[str, str]:
    """Draw into ``folder``; returns the files, relative to its parent, by the tables' names."""
    folder.mkdir(exist_ok=True)
    drawn = {}
    for table in tables:
        if len(table.figures) < 2:
            continue
        file = folder / f"{table.name}.svg"
        figure = lines(table) if table.name.startswith("growth") else bars(table)
        figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")
        pyplot.close(figure)
        drawn[table.name] = f"{folder.name}/{file.name}"
    return drawn


def bars(table: Table) -> Any:
    names = sorted(table.figures, key=table.median, reverse=not table.more_is_better)
    medians = [table.median(name) for name in names]
    figure, axes = pyplot.subplots(figsize=(7, 0.4 * len(names) + 1))
    axes.barh(names, medians, color=[OURS if name == table.ours else PEERS for name in names])
    for row, name in enumerate(names):
        spread = sorted(table.figures[name])
        margin = len(spread) // 20
        axes.plot([spread[margin], spread[-1 - margin]], [row, row], color="black", linewidth=1)
    if max(medians) > LONG * max(min(medians), 1e-9) and min(medians) > 0:
        axes.set_xscale("log")
    return finish(figure, axes, table)


def lines(table: Table) -> Any:
    """From zero: what does not grow is a level line."""
    names = list(table.figures)
    figure, axes = pyplot.subplots(figsize=(7, 3))
    axes.plot(names, [table.median(name) for name in names], color=OURS, marker="o")
    spreads = [sorted(table.figures[name]) for name in names]
    axes.fill_between(
        names,
        [spread[len(spread) // 20] for spread in spreads],
        [spread[-1 - len(spread) // 20] for spread in spreads],
        color=OURS,
        alpha=0.2,
    )
    axes.set_ylim(bottom=0)
    axes.set_ylabel(table.unit)
    axes.set_title(table.title)
    return figure


def finish(figure: Any, axes: Any, table: Table) -> Any:
    better = "more is better" if table.more_is_better else "less is better"
    axes.set_xlabel(f"{table.unit}, {better}")
    axes.set_title(table.title.replace("`", ""))
    axes.spines[["top", "right"]].set_visible(False)
    return figure
