"""Which file imports which: at run time, in functions, and for types alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.programs import ROOT


def files(*folders: str) -> dict[str, Path]:
    """Each module's name and file."""
    found = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(part for part in parts if part not in ("integrations", "__init__"))
            found[name] = path
    return found


def imports(path: Path) -> Iterator[str]:
    """The full names that a file imports, of modules and of what is in them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph(modules: dict[str, Path]) -> dict[str, set[str]]:
    """For each module those of ``modules`` that it imports."""
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        found[name] = set()
        for imported in imports(path):
            target = imported if imported in modules else imported.rpartition(".")[0]
            if target in modules and target != name:
                found[name].add(target)
    return found


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The groups of modules that import each other, directly or not."""
    reach = {name: _reachable(name, arrows) for name in arrows}
    groups = {
        frozenset(other for other in reach[name] if name in reach[other])
        for name in arrows
        if name in reach[name]
    }
    return sorted(sorted(group) for group in groups)


def _reachable(name: str, arrows: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = list(arrows[name])
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += arrows[one]
    return found
