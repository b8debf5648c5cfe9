"""What a daemon does at its start: it closes all descriptors, and opens files of its own."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from tests.support.forks import open_descriptors

#: As many bytes for each way to read them.
WORK = b"working\n"


class Files:
    """Files that have the numbers that others had."""

    def write(self) -> None:
        """What a daemon does with them: the pool is to change nothing of it."""

    def damage(self) -> list[str]:
        """What somebody else has done to them; empty where nobody has."""
        raise NotImplementedError


def _leads_to(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino


class _Own(Files):
    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._known: dict[int, tuple[int, int]] = {}
        self._written = 0

    def add(self, *numbers: int) -> None:
        self.numbers += numbers
        self._known.update({number: _leads_to(number) for number in numbers})

    def moved(self) -> list[str]:
        found = []
        for number, known in self._known.items():
            try:
                if _leads_to(number) != known:
                    found.append(f"{number} leads elsewhere")
            except OSError:
                found.append(f"{number} is closed")
        return found


class Logs(_Own):
    """Files on the disk, opened for reading and appending."""

    def open(self) -> int:
        number, path = tempfile.mkstemp()
        os.unlink(path)
        self.add(number)
        return number

    def write(self) -> None:
        for number in self.numbers:
            os.write(number, WORK)
        self._written += 1

    def damage(self) -> list[str]:
        found = self.moved()
        for number in self.numbers if not found else []:
            position = os.lseek(number, 0, os.SEEK_CUR)
            held = os.pread(number, 10000, 0)
            if held != WORK * self._written:
                found.append(f"{number} holds {held!r}")
            if position != len(held):
                found.append(f"{number} was read or written: it stands at {position}")
        return found


class _Pairs(_Own):
    """What is written to one end is read from the other."""

    ends: list[tuple[int, int]]

    def __init__(self) -> None:
        super().__init__()
        self.ends = []

    def pair(self) -> tuple[int, int]:
        raise NotImplementedError

    def open(self) -> int:
        reader, writer = self.pair()
        os.set_blocking(reader, False)
        self.ends.append((reader, writer))
        self.add(reader, writer)
        return max(reader, writer)

    def write(self) -> None:
        for _, writer in self.ends:
            os.write(writer, WORK)
        self._written += 1

    def damage(self) -> list[str]:
        found = self.moved()
        for reader, writer in self.ends if not found else []:
            held = b""
            with contextlib.suppress(BlockingIOError):
                held = os.read(reader, 10000)
            if held != WORK * self._written:
                found.append(f"{reader} and {writer} hold {held!r}")
        self._written = 0
        return found


class Pipes(_Pairs):
    def pair(self) -> tuple[int, int]:
        return os.pipe()


class Sockets(_Pairs):
    """Connected, as a connection's are."""

    def __init__(self) -> None:
        super().__init__()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.add(self._listener.fileno())

    def pair(self) -> tuple[int, int]:
        one = socket.create_connection(self._listener.getsockname())
        other, _ = self._listener.accept()
        return one.detach(), other.detach()


KINDS: dict[str, Callable[[], Any]] = {"files": Logs, "pipes": Pipes, "sockets": Sockets}


def close_all(numbers: Iterable[int]) -> None:
    for number in numbers:
        # gevent defers os.close for a number that its loop watches; it may be reused by then.
        os.closerange(number, number + 1)


def others_in_place_of(numbers: set[int], kind: str) -> Files:
    """Close these, and give every one of their numbers to a file of one's own."""
    close_all(numbers)
    return _fill(numbers, KINDS[kind]())  # type: ignore[no-any-return]


def _fill(numbers: set[int], files: Any) -> Any:
    # Each gets the lowest number that is free: so many are enough.
    opened = 0
    while missing := numbers - open_descriptors():
        if max(missing) > 1000 or opened > max(missing):
            raise AssertionError(f"no file gets the numbers {missing}")
        files.open()
        opened += 1
    return files


class Mixed(Files):
    """Some of each kind."""

    def __init__(self) -> None:
        self._kinds = [make() for make in KINDS.values()]
        self._turn = 0

    def open(self) -> int:
        self._turn += 1
        return self._kinds[self._turn % len(self._kinds)].open()  # type: ignore[no-any-return]

    def write(self) -> None:
        for kind in self._kinds:
            kind.write()

    def damage(self) -> list[str]:
        return [damage for kind in self._kinds for damage in kind.damage()]


def mixed_in_place_of(numbers: set[int]) -> Mixed:
    close_all(numbers)
    return _fill(numbers, Mixed())  # type: ignore[no-any-return]


def but_of_loops(numbers: set[int]) -> set[int]:
    """Without what an event loop is made of: gevent's goes on in a child."""
    return {
        number
        for number in numbers
        if not os.readlink(f"/proc/self/fd/{number}").startswith("anon_inode:")
    }


def all_but_standard() -> set[int]:
    """What a daemon closes. To be asked before a fork, so that a test can still be reported to."""
    return {number for number in open_descriptors() if number > 2}
