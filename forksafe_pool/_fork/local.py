"""A value that each process makes for itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from forksafe_pool._fork.sentinel import sentinel

T = TypeVar("T")


class _Cell(Generic[T]):
    """The value of one process, and of the processes that are forked from it."""

    __slots__ = ("alive", "heirs", "value")

    def __init__(self, value: T) -> None:
        self.alive = sentinel()
        self.value = value
        #: "heir": the cell of a child. setdefault() elects one where threads race.
        self.heirs: dict[str, _Cell[T]] = {}


class ProcessLocal(Generic[T]):
    """A value that each process makes for itself, on first use.

    A child never sees its parent's: neither a lock that was held at the moment of the fork nor a
    note of what the parent has done already. However the process was forked, also where no hook of
    Python's ran. Threads that race to be the first all get the same value.

    Parameters:
        make: ``make()`` makes a value. Where threads race it may be called more than once, and one
            of the results is used; so it should have no effect but its result.
    """

    __slots__ = ("_cell", "_first", "_make")

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._cell: _Cell[T] | None = None
        self._first: dict[str, _Cell[T]] = {}

    def get(self) -> T:
        """This process's value."""
        cell = self._cell
        while cell is None or not cell.alive:  # again where a fork strikes in the middle
            heirs = self._first if cell is None else cell.heirs
            cell = heirs.setdefault("heir", _Cell(self._make()))
        self._cell = cell
        return cell.value
