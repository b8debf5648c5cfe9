"""What a daemon does at its start: it closes all descriptors, and opens files of its own."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Protocol

from forksafe_pool.conformance.children import open_descriptors
from forksafe_pool.conformance.descriptors import WORK, Logs, OwnFiles, in_place_of


class _Pairs(OwnFiles):
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
        self.written += 1

    def damage(self) -> list[str]:
        found = self.moved()
        for reader, writer in self.ends if not found else []:
            held = b""
            with contextlib.suppress(BlockingIOError):
                held = os.read(reader, 10000)
            if held != WORK * self.written:
                found.append(f"{reader} and {writer} hold {held!r}")
        self.written = 0
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


class Files(Protocol):
    """What a daemon writes to."""

    def open(self) -> int: ...

    def write(self) -> None: ...

    def damage(self) -> list[str]: ...


KINDS: dict[str, Callable[[], Files]] = {"files": Logs, "pipes": Pipes, "sockets": Sockets}


def others_in_place_of(numbers: set[int], kind: str) -> Files:
    """Close these, and give every one of their numbers to a file of one's own."""
    return in_place_of(numbers, KINDS[kind])


class Mixed:
    """Some of each kind."""

    def __init__(self) -> None:
        self._kinds = [make() for make in KINDS.values()]
        self._turn = 0

    def open(self) -> int:
        self._turn += 1
        return self._kinds[self._turn % len(self._kinds)].open()

    def write(self) -> None:
        for kind in self._kinds:
            kind.write()

    def damage(self) -> list[str]:
        return [damage for kind in self._kinds for damage in kind.damage()]


def mixed_in_place_of(numbers: set[int]) -> Mixed:
    return in_place_of(numbers, Mixed)


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
