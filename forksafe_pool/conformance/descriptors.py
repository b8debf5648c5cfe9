"""What a daemon does at its start: it closes all descriptors, and opens files of its own."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable

from forksafe_pool.conformance.children import open_descriptors

WORK = b"working\n"


class Logs:
    """Files that somebody appends to, and that nobody else is to touch."""

    def __init__(self) -> None:
        self._leads_to: dict[int, tuple[int, int]] = {}
        self._written = 0

    @classmethod
    def in_place_of(cls, numbers: Iterable[int]) -> Logs:
        """Close these descriptors, and give each of their numbers to a file."""
        wanted = set(numbers)
        for number in wanted:
            with contextlib.suppress(OSError):
                os.close(number)
        logs = cls()
        # Each file gets the lowest number that is free.
        while wanted - open_descriptors():
            logs.open()
        return logs

    def open(self) -> int:
        number, path = tempfile.mkstemp()
        os.unlink(path)
        self._leads_to[number] = _identity(number)
        return number

    def write(self) -> None:
        for number in self._leads_to:
            os.write(number, WORK)
        self._written += 1

    def damage(self) -> list[str]:
        """What others have done to them; empty where nobody has."""
        return [found for number in self._leads_to for found in self._damage_of(number)]

    def _damage_of(self, number: int) -> list[str]:
        try:
            if _identity(number) != self._leads_to[number]:
                return [f"{number} leads elsewhere"]
        except OSError:
            return [f"{number} is closed"]
        found = []
        position = os.lseek(number, 0, os.SEEK_CUR)
        held = os.pread(number, 10000, 0)
        if held != WORK * self._written:
            found.append(f"{number} holds {held!r}")
        if position != len(held):
            found.append(f"{number} was read or written: it stands at {position}")
        return found


def _identity(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino
