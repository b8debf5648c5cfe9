"""A pool in the state that most forks find it in."""

from __future__ import annotations

from forksafe_pool import Pool
from tests.forks.servers import Server
from tests.support.forks import open_sockets

LIMIT = 20.0


class Used:
    """A pool with one connection in use and an idle one."""

    def __init__(self, server: Server) -> None:
        before = open_sockets()
        self.pool = Pool(server.connect, max_size=2, timeout=LIMIT)
        idle, self.held = self.pool.acquire(), self.pool.acquire()
        self.names = {idle.getsockname(), self.held.getsockname()}
        self.pool.release(idle)
        self.sockets = open_sockets() - before
        assert len(self.sockets) == 2

    def use_in_child(self) -> tuple[bool, set[str], int]:
        """Whether its connections are its own; what it has of its parent's; what it severed."""
        self.pool.release(self.held)
        with self.pool.connection() as one, self.pool.connection() as other:
            own = self.names.isdisjoint({one.getsockname(), other.getsockname()})
            return own, open_sockets() & self.sockets, self.pool.stats().severed

    def finish(self) -> None:
        assert open_sockets() >= self.sockets
        self.pool.release(self.held)
        with self.pool.connection() as one, self.pool.connection() as other:
            assert {one.getsockname(), other.getsockname()} == self.names
        stats = self.pool.stats()
        assert (stats.total, stats.opened, stats.severed, stats.foreign_releases) == (2, 2, 0, 0)
        self.pool.close()
