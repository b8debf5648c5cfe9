"""The pool in a child, and in a child whose making was untimely. No process is forked here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from typing import Any

import pytest

from forksafe_pool import Pool, PoolClosed
from forksafe_pool._fork import sever as _sever
from forksafe_pool._ledger import Ledger, Waiter
from tests.forksafe_pool.fakes import (
    Connections,
    FakeConnection,
    forbid_lock,
    pretend_fork,
    use,
)
from tests.forksafe_pool.threads import LIMIT, together, wait_in_line


class Severing:
    """A ``fileno`` that remembers whose descriptor was asked for to sever it."""

    def __init__(self) -> None:
        self.asked: list[FakeConnection] = []

    def __call__(self, conn: FakeConnection) -> int:
        # By way of Driver.fileno, and of a class that extends this one.
        callers = {sys._getframe(depth).f_code.co_name for depth in range(1, 5)}
        if not {"record", "record_descriptor", "owns_descriptor"} & callers:
            self.asked.append(conn)
        return -1


class Interrupted(Severing):
    """Raises ``error``, after it was asked, where ``strikes(conn)``."""

    def __init__(self, error: BaseException, strikes: Callable[[FakeConnection], bool]) -> None:
        super().__init__()
        self._error = error
        self._strikes = strikes

    def __call__(self, conn: FakeConnection) -> int:
        super().__call__(conn)
        if self._strikes(conn):
            raise self._error
        return -1


@pytest.fixture
def severing() -> Severing:
    return Severing()


def test_a_child_severs_all_that_was_open_and_starts_from_nothing(
    connections: Connections, severing: Severing
) -> None:
    pool = Pool(connections, max_size=3, timeout=0, fileno=severing)
    idle, busy, gone = (pool.acquire() for _ in range(3))
    pool.release(idle)
    pool.discard(gone)
    pretend_fork(pool)
    assert pool.stats().total == 0
    assert pool.stats().severed == 2
    assert set(severing.asked) == {idle, busy}
    conns = [pool.acquire() for _ in range(3)]
    assert not {idle, busy, gone} & set(conns)
    assert len(severing.asked) == 2  # once


def test_an_inherited_idle_connection_is_closed_later_one_in_use_never(
    connections: Connections, severing: Severing
) -> None:
    pool = Pool(connections, fileno=severing)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    pretend_fork(pool)
    pool.stats()
    assert not idle.closed  # an at-fork hook does no I/O
    use(pool)
    assert idle.times_closed == 1
    assert not busy.closed
    assert pool.stats().closed == 0


def test_another_thread_may_close_the_last_severed_one_first(
    connections: Connections, severing: Severing
) -> None:
    class Raced(list[FakeConnection]):
        def __bool__(self) -> bool:
            raced = len(self) > 0
            self.clear()
            return raced

    pool = Pool(connections, fileno=severing)
    use(pool)
    pretend_fork(pool)
    ledger = pool._checkpid()
    ledger.severed_idle = Raced(ledger.severed_idle)
    use(pool)


def test_what_cannot_be_severed_is_kept_alive_and_not_closed(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(_sever, "_kept", kept)
    pool = Pool(connections)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    pretend_fork(pool)
    use(pool)
    assert kept == [idle, busy]
    assert not idle.closed
    assert pool.stats().severed == 2


def test_no_inherited_lock_is_touched(connections: Connections, severing: Severing) -> None:
    pool = Pool(connections, max_size=1, timeout=LIMIT, fileno=severing)
    conn = pool.acquire()
    waiter = wait_in_line(pool, pool.acquire)
    inherited = pool._ledger
    forbid_lock(pool)
    pretend_fork(pool)
    pool.release(conn)
    pool.discard(conn)
    pool.discard(pool.acquire())
    use(pool)
    pool.fill()
    repr(pool)
    assert pool.stats().waiting == 0
    pool.close()
    # Let the thread go, which a child does not have.
    inherited.close_queue()
    with pytest.raises(PoolClosed):
        waiter.result()


def test_threads_that_race_to_be_the_first_rebuild_once(
    connections: Connections, severing: Severing
) -> None:
    for _ in range(20):
        pool = Pool(connections, max_size=8, fileno=severing)
        conns = [pool.acquire() for _ in range(5)]
        pool.release(conns[0])
        severing.asked.clear()
        pretend_fork(pool)

        def first_use(_: int, pool: Pool[FakeConnection] = pool) -> Ledger[FakeConnection]:
            use(pool)
            return pool._checkpid()

        assert len(set(map(id, together(8, first_use)))) == 1
        assert sorted(map(id, severing.asked)) == sorted(map(id, conns))
        assert pool.stats().severed == 5
        assert conns[0].times_closed == 1


def test_who_loses_that_race_uses_the_ledger_of_who_won(
    connections: Connections, severing: Severing
) -> None:
    pool = Pool(connections, fileno=severing)
    pool.acquire()
    winners: Ledger[FakeConnection] = Ledger(pool.max_size)
    pool._ledger.notes["heir"] = winners
    pretend_fork(pool)
    use(pool)
    assert pool._ledger is winners
    assert not severing.asked  # the winner's to do


def test_a_fork_in_the_middle_of_a_rebuild_leaves_the_rest_to_the_next(
    connections: Connections,
) -> None:
    class ForkedMeanwhile(BaseException):
        """The process that was rebuilding ends here; its child goes on elsewhere."""

    forking = False
    severing = Interrupted(ForkedMeanwhile(), lambda conn: forking and conn.number == 1)
    pool = Pool(connections, max_size=4, fileno=severing)
    conns = [pool.acquire() for _ in range(4)]
    pretend_fork(pool)
    forking = True
    with pytest.raises(ForkedMeanwhile):
        pool.stats()
    pretend_fork(pool)
    forking = False
    assert pool.stats().severed == 3
    assert severing.asked == [conns[0], *[conns[1]] * 4, conns[2], conns[3]]
    assert pool._ledger.ancestor is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_signal_s_exception_leaves_nothing_to_be_severed(
    connections: Connections, error: type[BaseException]
) -> None:
    """It strikes once, and reaches the caller; nobody comes back for what is left."""
    struck = Interrupted(error(), lambda _: len(struck.asked) == 2)
    pool = Pool(connections, max_size=4, fileno=struck)
    conns = [pool.acquire() for _ in range(4)]
    pretend_fork(pool)
    with pytest.raises(error):
        pool.stats()
    assert struck.asked == [conns[0], *[conns[1]] * 2, conns[2], conns[3]]
    assert pool.stats().severed == 4


def test_what_a_child_has_not_freed_its_own_child_frees(
    connections: Connections, severing: Severing
) -> None:
    """Outside the at-fork hook: a driver's finalizer may do anything."""
    pool = Pool(connections, fileno=severing)
    idle, busy = pool.acquire(), pool.acquire()
    pool.release(idle)
    for _ in range(2):
        pretend_fork(pool)
        pool.stats()
        assert pool._ledger.severed_idle == [idle]
        assert pool._ledger.severed_in_use == [busy]
    use(pool)
    assert (idle.times_closed, busy.times_closed) == (1, 0)


def test_a_block_that_ends_in_a_child_asks_for_no_reset(
    connections: Connections, severing: Severing
) -> None:
    """It would go out on the parent's. No hook has run: the block is the first to ask."""
    resets: list[FakeConnection] = []
    pool = Pool(connections, fileno=severing, reset=resets.append)
    for error in (None, ValueError(), SystemExit()):
        with contextlib.suppress(BaseException), pool.connection() as conn:
            pretend_fork(pool)
            if error is not None:
                raise error
        assert severing.asked == [conn]
        severing.asked.clear()
    assert resets == []
    assert connections.open == connections.made
    assert (pool.stats().total, pool.stats().foreign_releases) == (0, 1)


def test_connections_of_several_generations_are_foreign(
    connections: Connections, severing: Severing
) -> None:
    pool = Pool(connections, max_size=2, fileno=severing)
    generations = []
    for _ in range(4):
        generations.append(pool.acquire())
        pretend_fork(pool)
    for conn in generations:
        pool.release(conn)
    assert pool.stats().foreign_releases == 4
    assert pool.stats().total == 0
    assert severing.asked == generations


def test_a_fork_inside_connect_makes_another_connection(
    connections: Connections, severing: Severing
) -> None:
    forks = [True]

    def connect() -> FakeConnection:
        conn = connections()
        if forks:
            forks.clear()
            pretend_fork(pool)
            pool.stats()  # as the hook does
        return conn

    pool = Pool(connect, max_size=1, fileno=severing)
    conn = pool.acquire()
    assert conn is connections.made[1]
    # The first one is the parent's too.
    assert severing.asked == [connections.made[0]]
    assert not connections.made[0].closed
    assert (pool.stats().total, pool.stats().opened) == (1, 1)


def test_what_was_made_while_it_forked_and_cannot_be_severed_is_kept_alive(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[object] = []
    monkeypatch.setattr(_sever, "_kept", kept)
    forks = [True]

    def connect() -> FakeConnection:
        conn = connections()
        if forks:
            forks.clear()
            pretend_fork(pool)
        return conn

    pool = Pool(connect)
    pool.acquire()
    assert kept == [connections.made[0]]


@pytest.mark.parametrize("where", ["connect", "configure", "check", "reset", "close"])
def test_who_comes_back_from_a_callback_in_a_child_touches_no_inherited_lock(
    connections: Connections, severing: Severing, where: str
) -> None:
    """A greenlet does: it goes on in the child as well."""
    armed: list[Pool[FakeConnection]] = []

    def fork(*_: FakeConnection) -> None:
        if armed:
            pool = armed.pop()
            pool._ledger.waiters.append(Waiter())  # somebody waits by now, as far as it can see
            forbid_lock(pool)
            pretend_fork(pool)
            pool.stats()
            raise SystemExit("the worker is told to end")

    def connect() -> FakeConnection:
        if where == "connect":
            fork()
        return connections()

    callbacks: dict[str, Any] = {} if where == "connect" else {where: fork}
    pool = Pool(connect, max_size=2, check_after=0, fileno=severing, **callbacks)
    blocker = pool.acquire()
    if where == "check":
        use(pool)
    conn: Any = pool.acquire() if where in ("reset", "close") else None
    armed.append(pool)
    comes_back = {
        "reset": lambda: pool.release(conn),
        "close": lambda: pool.discard(conn),
    }.get(where, pool.acquire)
    with pytest.raises(SystemExit):
        comes_back()
    assert pool.stats().total == 0
    assert not blocker.closed
