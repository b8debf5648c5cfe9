"""What a daemon does when it starts: it closes all descriptors, and opens files of its own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from forksafe_pool.conformance.children import open_descriptors

#: Every write has the same length, so that a file's length tells the number of writes.
WORK = b"working\n"


class Opens(Protocol):
    """Whatever opens files."""

    def open(self) -> int:
        """Open at least one file, and return the highest new descriptor."""


F = TypeVar("F", bound=Opens)


def close_all(numbers: Iterable[int]) -> None:
    for number in numbers:
        # gevent defers os.close for a number that its loop watches; it may be reused by then.
        os.closerange(number, number + 1)


def in_place_of(numbers: Iterable[int], make: Callable[[], F]) -> F:
    """Close these descriptors; then open files of ``make()`` until each number is in use again."""
    wanted = set(numbers)
    close_all(wanted)
    files = make()
    # Each file gets the lowest number that is free: so many are enough.
    opened = 0
    while missing := wanted - open_descriptors():
        if max(missing) > 1000 or opened > max(missing):
            raise AssertionError(f"no file gets the numbers {missing}")
        files.open()
        opened += 1
    return files


class OwnFiles:
    """Files of the process's own, which nobody else may close, redirect, read or write."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.written = 0
        self._known: dict[int, tuple[int, int]] = {}

    def add(self, *numbers: int) -> None:
        self.numbers += numbers
        self._known.update({number: _leads_to(number) for number in numbers})

    def moved(self) -> list[str]:
        """Which of them were closed or redirected."""
        found = []
        for number, known in self._known.items():
            try:
                if _leads_to(number) != known:
                    found.append(f"{number} leads elsewhere")
            except OSError:
                found.append(f"{number} is closed")
        return found


class Logs(OwnFiles):
    """Files on disk, opened for reading and appending."""

    def open(self) -> int:
        number, path = tempfile.mkstemp()
        os.unlink(path)
        self.add(number)
        return number

    def write(self) -> None:
        for number in self.numbers:
            os.write(number, WORK)
        self.written += 1

    def damage(self) -> list[str]:
        """What others have done to the files; empty if nothing."""
        found = self.moved()
        for number in self.numbers if not found else []:
            position = os.lseek(number, 0, os.SEEK_CUR)
            held = os.pread(number, 10000, 0)
            if held != WORK * self.written:
                found.append(f"{number} holds {held!r}")
            if position != len(held):
                found.append(f"{number} was read or written: it stands at {position}")
        return found


def _leads_to(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino
