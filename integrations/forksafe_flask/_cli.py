"""``flask forksafe-pool``."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import AppGroup

_FIELDS = (
    *("pid", "max_size", "total", "available", "in_use", "waiting"),
    *("acquired", "opened", "closed", "foreign_releases", "severed"),
)

group = AppGroup("forksafe-pool", help="Look at the app's connection pools.")


@group.command("stats")
def stats() -> None:
    """Print the numbers of this process's pools; each worker of a server has its own."""
    rows = [["name", *(field.removesuffix("_size").replace("_", " ") for field in _FIELDS)]]
    for name, numbers in current_app.extensions["forksafe_pool"].stats().items():
        rows.append([name, *(str(getattr(numbers, field)) for field in _FIELDS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        aligned = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        click.echo("  ".join([name.ljust(widths[0]), *aligned]))
