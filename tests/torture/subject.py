"""What is tortured: a driver's connections in some pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

#: Connections that a pool may have: one idle, one in use, one for whoever asks.
SIZE = 3
#: Seconds that a pool may wait for a connection.
PATIENCE = 2.0


class Driver(ABC):
    """What is done with one driver's connections, whatever pool they come from."""

    #: As the tables call it.
    name: ClassVar[str]
    #: By its name in `servers`.
    server: ClassVar[str]

    def __init__(self, address: str) -> None:
        self.address = address

    @abstractmethod
    def connect(self) -> Any: ...

    @abstractmethod
    def ask(self, conn: Any, word: str) -> str:
        """What the server says to ``word``: the same, where nothing goes wrong."""

    @abstractmethod
    def session(self, conn: Any) -> object:
        """What the server, or else the kernel, knows the connection by."""

    @abstractmethod
    def begin(self, conn: Any) -> object:
        """Begin what a lost or a shared session would spoil: a transaction, where there are any."""

    @abstractmethod
    def spoil(self, conn: Any, begun: Any) -> bool:
        """Do to what `begin` returned what its owner is to notice, if its session can tell.

        Whether it was in that very session; an error, where there is no way into it.
        """

    @abstractmethod
    def finish(self, conn: Any, begun: Any) -> bool:
        """Whether what `begin` returned has ended as it should."""


class Pool(ABC):
    """One pool, in the process that made it and in those that inherit it."""

    #: As its users write it.
    name: ClassVar[str]
    ours: ClassVar[bool] = False

    @abstractmethod
    def __init__(self, driver: Any) -> None: ...

    @abstractmethod
    def acquire(self) -> Any: ...

    @abstractmethod
    def release(self, conn: Any) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    @abstractmethod
    def locks(self) -> dict[str, Any]:
        """Its locks, by name."""

    def hold(self, driver: Any) -> Held:
        """Begin something on a connection that stays in use."""
        conn = self.acquire()
        return Held(self, driver, conn, driver.begin(conn))


class Held:
    """A connection in use, and what was begun on it."""

    def __init__(self, pool: Pool, driver: Driver, conn: Any, begun: Any) -> None:
        self.conn = conn
        self._pool = pool
        self._driver = driver
        self._begun = begun

    def use(self) -> bool:
        """What a child does that believes it to be its own; whether it reached its parent's."""
        return self._driver.spoil(self.conn, self._begun)

    def release(self) -> None:
        self._pool.release(self.conn)

    def finish(self) -> bool:
        return self._driver.finish(self.conn, self._begun)


#: By their names, since gevent has its own.
_LOCKS = ("lock", "Lock", "LockType", "RLock", "Condition", "Semaphore", "BoundedSemaphore")


def find_locks(**holders: Any) -> dict[str, Any]:
    """The locks among the attributes of ``holders``, which name what has them.

    Conditions that share a lock are one: whoever holds it holds them all.
    """
    found: dict[int, tuple[str, Any]] = {}
    for name, holder in holders.items():
        for attribute, value in getattr(holder, "__dict__", {}).items():
            if type(value).__name__ in _LOCKS:
                lock = getattr(value, "_lock", value)
                found.setdefault(id(lock), (f"{name}.{attribute}", value))
    return dict(found.values())
