"""A value that each process makes for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from forksafe_pool._fork.sentinel import sentinel

T = TypeVar("T")


class _Cell(Generic[T]):
    """One process's value, and the cells of its children."""

    __slots__ = ("alive", "heirs", "value")

    def __init__(self, value: T) -> None:
        self.alive = sentinel()
        self.value = value
        #: "heir": the cell of a child. setdefault() elects one if threads race.
        self.heirs: dict[str, _Cell[T]] = {}


class ProcessLocal(Generic[T]):
    """A value that each process makes for itself, on first use.

    A child never sees its parent's value: neither a lock that was held during the fork, nor a flag
    that the parent has set. This holds for every kind of fork, including those in which Python's
    at-fork hooks do not run. Threads that race to be first all get the same value.

    Parameters:
        make: ``make()`` creates a value. If threads race it may be called more than once, and only
            one result is used; it should have no side effects.
    """

    __slots__ = ("_cell", "_first", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._cell: _Cell[T] | None = None
        self._first: dict[str, _Cell[T]] = {}

    def get(self) -> T:
        """This process's value."""
        cell = self._cell
        while cell is None or not cell.alive:  # again if a fork happens in between
            heirs = self._first if cell is None else cell.heirs
            cell = heirs.setdefault("heir", _Cell(self._make()))
        self._cell = cell
        return cell.value
