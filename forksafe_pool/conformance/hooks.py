"""What an integration supplies to the conformance suite."""

from __future__ import annotations

import gc
import unittest
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from forksafe_pool import PoolClosed, PoolStats, PoolTimeout
from forksafe_pool.conformance.children import FORKS, WAYS, open_sockets

#: Seconds that a test's pool may wait: longer than anything takes.
PATIENCE = 20.0


class Killed(BaseException):
    """Stands for SystemExit, which gunicorn raises in a request that takes too long."""


#: A test with a parameter of one of these names runs once for each value.
PARAMETERS: dict[str, dict[str, Any]] = {
    "fork": FORKS,
    "in_child": WAYS,
    "fork_with_hooks": {"os.fork": WAYS["os.fork"], "multiprocessing": WAYS["multiprocessing"]},
    "error": {"Exception": ZeroDivisionError, "BaseException": Killed},
    "end": {"no error": None, "Exception": ZeroDivisionError, "BaseException": Killed},
    "used": {"unused": False, "used": True},
    "check_after": {"unchecked": 60.0, "checked": 0.0},
    "noticed": {"noticed": True, "unnoticed": False},
}


class PoolUnderTest(Protocol):
    """The pool's interface, as `forksafe_pool.Pool` has it. Any other pool needs an adapter.

    ``close(timeout)`` closes idle connections. ``resize`` is optional: see `Hooks.resizes`.
    """

    def acquire(self) -> Any: ...
    def release(self, conn: Any) -> None: ...
    def discard(self, conn: Any) -> None: ...
    def connection(self) -> AbstractContextManager[Any]: ...
    def close(self, timeout: float) -> object: ...
    def drain(self) -> None: ...
    def stats(self) -> PoolStats: ...


class Hooks:
    """What a test class supplies about its driver. Three methods are required.

    An instance may be sent to another program, see `exits`: keep only what can be pickled on
    ``self``, such as a server's address, and connect when you need a connection.
    """

    #: The server's port on 127.0.0.1. None, for example for a file: tests that need a relay between
    #: the client and the server are skipped.
    port: int | None = None
    #: The error of the pool if the server's port is closed.
    connect_error: type[BaseException] = OSError
    #: The error if all connections are in use.
    exhausted_error: type[BaseException] = PoolTimeout
    #: The error after ``close``. None if the pool stays usable, as redis-py's do.
    closed_error: type[BaseException] | None = PoolClosed
    #: Whether ``acquire`` waits for a connection that is in use.
    waits = True
    #: Whether a block that a BaseException such as SystemExit ends closes its connection.
    closes_killed_blocks = True
    #: Whether the pool has ``resize(max_size)``.
    resizes = True
    #: Whether ``stats().foreign_releases`` counts releases of what the pool does not hold.
    counts_foreign_releases = True
    #: Whether the pool finds a connection's descriptor, and so can sever it in a child.
    can_be_severed = True
    #: Whether a connection that is dropped unclosed emits a ResourceWarning, as a socket does.
    warns_when_dropped = False

    # -- required -----------------------------------------------------------------------------

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        """Return a new pool, see `PoolUnderTest`.

        Parameters:
            port: where to connect to, instead of `port`.
            options: ``max_size``, ``timeout`` and ``check_after``, as of `forksafe_pool.Pool`.
        """
        raise NotImplementedError

    def echo(self, conn: Any, text: str) -> str:
        """Make the server reply with ``text``, a few letters and digits, and return the reply.

        Return the next reply on the connection, even if it answers something else: the suite looks
        for such replies.
        """
        raise NotImplementedError

    def session_id(self, conn: Any) -> Any:
        """Return the server's id of the connection, for example a backend's pid. It is pickled."""
        raise NotImplementedError

    # -- optional -----------------------------------------------------------------------------

    def begin(self, conn: Any) -> None:
        """Leave work unfinished that nobody else may see or end: an open transaction, or an unread
        reply."""

    def finish(self, conn: Any) -> bool:
        """End what `begin` left. Return whether it was there; False for a clean connection."""
        return True

    def close(self, conn: Any) -> None:
        """Close a connection as the driver's users do."""
        conn.close()

    def killer(self, conn: Any) -> Callable[[], object]:
        """Return a function that makes the server close the session of ``conn``, and that returns
        when the client can detect it. It may be called after ``conn`` was released."""
        raise NotImplementedError

    def lives(self, session: Any) -> bool:
        """Return whether the server still has the session with this `session_id`."""
        raise NotImplementedError

    # -- for the tests ------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Called by pytest for every test of the class, without registration."""
        for name, values in PARAMETERS.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(values.values()), ids=list(values))

    def need(self, name: str) -> None:
        """Skip the test if the optional hook ``name`` is missing."""
        found = getattr(self, name)
        if getattr(found, "__func__", found) is getattr(Hooks, name):
            raise unittest.SkipTest(f"{type(self).__name__} does not supply {name}")

    def need_waits(self) -> None:
        if not self.waits:
            raise unittest.SkipTest("its acquire does not wait")

    @contextmanager
    def pool(self, max_size: int = 2, **options: Any) -> Iterator[Any]:
        """A pool for the duration of a block. Garbage of other tests is collected first: its
        finalizers would run in the children at any moment."""
        gc.collect()
        pool = self.make_pool(**{"max_size": max_size, "timeout": PATIENCE, **options})
        try:
            yield pool
        finally:
            pool.close(timeout=0)

    def next_session(self, pool: PoolUnderTest) -> Any:
        """Return the session of the pool's next user, who must get the right reply."""
        with pool.connection() as conn:
            assert self.echo(conn, "next") == "next", "the next user got somebody else's reply"
            return self.session_id(conn)


class Parent:
    """A process with an idle connection, and one in use with unfinished work."""

    def __init__(self, suite: Hooks, pool: Any) -> None:
        pool.stats()  # after a C-level fork the first use severs
        before = open_sockets()
        self._suite = suite
        self.pool = pool
        idle, self.held = pool.acquire(), pool.acquire()
        self.session = suite.session_id(self.held)
        self.sessions = {self.session, suite.session_id(idle)}
        assert len(self.sessions) == 2, "two connections are one session"
        pool.release(idle)
        suite.begin(self.held)
        #: As `open_sockets` returns them.
        self.sockets = open_sockets() - before

    def left_in_child(self) -> tuple[set[Any], set[str]]:
        """In a child: the parent's sessions that it gets, and the parent's sockets that it still
        has open. Both must be empty."""
        lent = {self._suite.next_session(self.pool)}
        return lent & self.sessions, open_sockets() & self.sockets

    def go_on(self) -> None:
        """Raise AssertionError, or the driver's error, if the parent was disturbed."""
        suite = self._suite
        assert suite.finish(self.held), "what was unfinished on the parent's connection is gone"
        assert suite.echo(self.held, "parent") == "parent", "the parent got somebody else's reply"
        assert suite.session_id(self.held) == self.session
        suite.begin(self.held)

    def finish(self) -> None:
        self.go_on()
        suite = self._suite
        assert suite.finish(self.held)
        assert {self.session, suite.next_session(self.pool)} == self.sessions
        self.pool.release(self.held)
        stats = self.pool.stats()
        assert (stats.in_use, stats.available, stats.foreign_releases) == (0, 2, 0), stats
