"""What stands in for a driver; some of it is found by name, as ``"package.module:function"``."""

from __future__ import annotations


class FakeConnection:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Connections:
    """A ``connect`` that remembers what it made."""

    def __init__(self) -> None:
        self.made: list[FakeConnection] = []

    def __call__(self) -> FakeConnection:
        self.made.append(FakeConnection())
        return self.made[-1]


configured: list[FakeConnection] = []


def connect() -> FakeConnection:
    return FakeConnection()


def configure(conn: FakeConnection) -> None:
    configured.append(conn)


def evict_on(error: BaseException) -> bool:
    return isinstance(error, LookupError)
