"""What an integration supplies to the conformance suite."""

from __future__ import annotations

import gc
import unittest
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from forksafe_pool import PoolClosed, PoolStats, PoolTimeout
from forksafe_pool.conformance.children import FORKS, WAYS, open_sockets

#: Seconds that a pool of a test may wait: more than anything takes.
PATIENCE = 20.0


class Killed(BaseException):
    """As SystemExit is, which gunicorn raises in a request that takes too long."""


#: A test with a parameter of one of these names is run once for each of its values.
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
    """What the suite uses of a pool: `forksafe_pool.Pool` has it; anything else needs an adapter.

    ``close(timeout)`` closes what is idle. ``resize`` may be missing: see `Hooks.resizes`.
    """

    def acquire(self) -> Any: ...
    def release(self, conn: Any) -> None: ...
    def discard(self, conn: Any) -> None: ...
    def connection(self) -> AbstractContextManager[Any]: ...
    def close(self, timeout: float) -> object: ...
    def drain(self) -> None: ...
    def stats(self) -> PoolStats: ...


class Hooks:
    """What a test class has to say of its driver. Three methods are required.

    An instance may be sent to a program of its own, see `exits`: keep on ``self`` only what can be
    pickled, such as a server's address, and connect where you need a connection.
    """

    #: The server's port on 127.0.0.1. None, as for a file: the tests that put something between
    #: the client and the server are skipped.
    port: int | None = None
    #: What the pool raises where nobody listens.
    connect_error: type[BaseException] = OSError
    #: What it raises where all connections are in use.
    exhausted_error: type[BaseException] = PoolTimeout
    #: What it raises after ``close``. None, as redis-py's pools: it stays usable.
    closed_error: type[BaseException] | None = PoolClosed
    #: Whether ``acquire`` waits for a connection that is in use.
    waits = True
    #: Whether a block that is ended by a BaseException such as SystemExit closes its connection.
    closes_killed_blocks = True
    #: Whether the pool has ``resize(max_size)``.
    resizes = True
    #: Whether ``stats().foreign_releases`` counts what the pool was given and does not hold.
    counts_foreign_releases = True
    #: Whether the pool finds the descriptor of a connection, and so can cut it off in a child.
    can_be_severed = True
    #: Whether a connection that is dropped without being closed warns, as a plain socket does.
    warns_when_dropped = False

    # -- required -----------------------------------------------------------------------------

    def make_pool(self, *, port: int | None = None, **options: Any) -> Any:
        """A new pool, see `PoolUnderTest`.

        Parameters:
            port: where to connect to, instead of `port`.
            options: ``max_size``, ``timeout`` and ``check_after``, as of `forksafe_pool.Pool`.
        """
        raise NotImplementedError

    def echo(self, conn: Any, text: str) -> str:
        """Have the server say ``text``, a few letters and digits, and return what it says.

        The next reply on the connection, whosever it is: that is what the suite looks for.
        """
        raise NotImplementedError

    def session_id(self, conn: Any) -> Any:
        """What the server calls this connection: a backend's pid, a CLIENT ID. Can be pickled."""
        raise NotImplementedError

    # -- optional -----------------------------------------------------------------------------

    def begin(self, conn: Any) -> None:
        """Leave something unfinished on the connection that nobody else may see or end: an open
        transaction, a reply that was not read."""

    def finish(self, conn: Any) -> bool:
        """End what `begin` left. Whether it was there, undisturbed; False on a clean connection."""
        return True

    def close(self, conn: Any) -> None:
        """Close a connection as the driver's users do."""
        conn.close()

    def killer(self, conn: Any) -> Callable[[], object]:
        """A function that has the server close the session of ``conn``, and returns when the client
        could notice. It may be called when ``conn`` has been given back."""
        raise NotImplementedError

    def lives(self, session: Any) -> bool:
        """Whether the server still has the session with this `session_id`."""
        raise NotImplementedError

    # -- for the tests ------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """pytest calls this for every test of the class, and needs nobody to register it."""
        for name, values in PARAMETERS.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(values.values()), ids=list(values))

    def need(self, name: str) -> None:
        """Skip the test where the optional hook ``name`` is not supplied."""
        found = getattr(self, name)
        if getattr(found, "__func__", found) is getattr(Hooks, name):
            raise unittest.SkipTest(f"{type(self).__name__} does not supply {name}")

    def need_waits(self) -> None:
        if not self.waits:
            raise unittest.SkipTest("its acquire does not wait")

    @contextmanager
    def pool(self, max_size: int = 2, **options: Any) -> Iterator[Any]:
        """A pool for the length of a block. The collector first frees what other tests have left,
        whose finalizers would run in the children at any moment."""
        gc.collect()
        pool = self.make_pool(**{"max_size": max_size, "timeout": PATIENCE, **options})
        try:
            yield pool
        finally:
            pool.close(timeout=0)

    def next_session(self, pool: PoolUnderTest) -> Any:
        """The session that the pool lends to its next user, who gets the right replies."""
        with pool.connection() as conn:
            assert self.echo(conn, "next") == "next", "the next user got somebody else's reply"
            return self.session_id(conn)


class Parent:
    """A process with one idle connection, and one in use on which something is unfinished."""

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
        #: As `open_sockets` tells them.
        self.sockets = open_sockets() - before

    def left_in_child(self) -> tuple[set[Any], set[str]]:
        """For a child: which of its parent's sessions it is lent, and which of its sockets it has
        open still. Both are to be empty."""
        lent = {self._suite.next_session(self.pool)}
        return lent & self.sessions, open_sockets() & self.sockets

    def go_on(self) -> None:
        """Raises AssertionError, or the driver's error, where somebody disturbed the parent."""
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
