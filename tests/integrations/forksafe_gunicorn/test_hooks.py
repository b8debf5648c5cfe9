"""The hooks by themselves, each in a forked child of its own: they work on every pool there is."""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

import forksafe_gunicorn
import forksafe_pool
from forksafe_pool import Pool, workers
from tests.support.forks import c_fork, in_child, open_sockets


class Connection:
    """Counts as a connection."""

    def fileno(self) -> int:
        return -1

    def close(self) -> None: ...


class Log:
    """Takes down what a worker's log is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def _take(self, message: str, *args: object, exc_info: bool = False) -> None:
        self.lines.append(message % args)

    debug = warning = error = _take


class BrokenLog:
    def __getattr__(self, name: str) -> Any:
        raise OSError("no space left on device")


class Worker:
    def __init__(self, pid: int | None = None, timeout: int = 30, log: Any = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self.cfg = self
        self.timeout = timeout
        self.log = Log() if log is None else log


def only(*pools: Pool[Any]) -> None:
    """In a child: forget the pools of other tests."""
    find_pools_with(lambda: list(pools))


def find_pools_with(function: Callable[[], list[Pool[Any]]]) -> None:
    for module in (forksafe_pool, workers):
        module.pools = function  # type: ignore[attr-defined]


def refuse() -> Connection:
    raise ConnectionRefusedError("nobody listens")


def fail(*_: object) -> Any:
    raise RuntimeError("no pools today")


# -- post_fork ------------------------------------------------------------------------------------


def test_post_fork_severs_where_no_at_fork_hook_ran(redis_url: str) -> None:
    address = urlsplit(redis_url)
    pool = Pool(lambda: socket.create_connection((address.hostname, address.port)))
    with pool.connection() as conn:
        inherited = os.readlink(f"/proc/self/fd/{conn.fileno()}")

    def child() -> tuple[bool, bool]:
        before = inherited in open_sockets()
        forksafe_gunicorn.post_fork(None, Worker())
        return before, inherited in open_sockets()

    assert in_child(child, c_fork) == (True, False)
    assert pool.stats().available == 1
    pool.close()


# -- post_worker_init -----------------------------------------------------------------------------


def test_post_worker_init_fills_up_to_min_size() -> None:
    def child() -> list[int]:
        pools = [Pool(Connection, min_size=size) for size in (0, 1, 3)]
        only(*pools)
        forksafe_gunicorn.post_worker_init(Worker(timeout=0))
        return [pool.stats().available for pool in pools]

    assert in_child(child) == [0, 1, 3]


def test_a_pool_that_cannot_connect_warns_and_leaves_the_others_alone() -> None:
    def child() -> tuple[list[str], int]:
        broken = Pool(refuse, min_size=2, name="broken")
        fine = Pool(Connection, min_size=2)
        only(broken, fine)
        worker = Worker(timeout=0)
        forksafe_gunicorn.post_worker_init(worker)
        return worker.log.lines, fine.stats().available

    lines, available = in_child(child)
    assert available == 2
    assert lines == [
        "forksafe_pool: broken could not be filled up to 2 connections, and connects when it is "
        "used: ConnectionRefusedError('nobody listens')"
    ]


def test_a_pool_closed_on_purpose_is_left_closed_without_a_word() -> None:
    def child() -> list[str]:
        pool = Pool(Connection, min_size=2)
        pool.close()
        only(pool)
        worker = Worker(timeout=0)
        forksafe_gunicorn.post_worker_init(worker)
        return list(worker.log.lines)

    assert in_child(child) == []


@pytest.mark.parametrize(
    ("waits", "limit", "warned"),
    [
        (None, 30, "for ever"),
        (30.0, 30, "for 30 s"),
        (31.5, 30, "for 31.5 s"),
        (29.9, 30, None),
        (0, 30, None),
        (None, 0, None),
        (60, 0, None),
    ],
)
def test_timeouts_are_compared(waits: float | None, limit: int, warned: str | None) -> None:
    def child() -> list[str]:
        pool = Pool(Connection, timeout=waits, name="cache")
        only(pool)
        worker = Worker(timeout=limit)
        forksafe_gunicorn.post_worker_init(worker)
        return list(worker.log.lines)

    lines = in_child(child)
    if warned is None:
        assert lines == []
    else:
        assert len(lines) == 1
        assert f"may wait {warned} for a connection from cache" in lines[0]
        assert f"gunicorn's timeout is {limit} s" in lines[0]


# -- worker_exit ----------------------------------------------------------------------------------


def test_worker_exit_closes_every_pool() -> None:
    def child() -> tuple[list[int], list[str]]:
        pools = [Pool(Connection, min_size=2), Pool(Connection, min_size=1)]
        for pool in pools:
            pool.fill()
        only(*pools)
        forksafe_gunicorn.worker_exit(None, Worker())
        return [pool.stats().total for pool in pools], [repr(pool) for pool in pools]

    totals, states = in_child(child)
    assert totals == [0, 0]
    assert all("closed" in state for state in states)


def test_worker_exit_closes_all_that_is_idle_before_it_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The one in use comes back only when the idle one of the next pool has been closed."""
    patient = functools.partial(workers.worker_stopping, timeout=15.0)
    monkeypatch.setattr(workers, "worker_stopping", patient)  # a thread has to run meanwhile
    idle_closed = threading.Event()

    class Idle(Connection):
        def close(self) -> None:
            idle_closed.set()

    class Observed(Pool[Connection]):
        def close(self, timeout: float | None = 5.0) -> bool:
            results.append(super().close(timeout))
            return results[-1]

    results: list[bool] = []

    def child() -> list[bool]:
        busy, idle = Observed(Connection), Pool(Idle, min_size=1)
        held = busy.acquire()
        idle.fill()

        def give_back() -> None:
            idle_closed.wait()
            busy.release(held)

        threading.Thread(target=give_back, daemon=True).start()
        only(busy, idle)
        forksafe_gunicorn.worker_exit(None, Worker())
        return results

    assert in_child(child) == [False, True]


def test_worker_exit_does_not_wait_for_ever() -> None:
    def child() -> list[int]:
        pools = [Pool(Connection) for _ in range(3)]
        held = [pool.acquire() for pool in pools]
        only(*pools)
        forksafe_gunicorn.worker_exit(None, Worker())
        return [pool.stats().in_use for pool in pools] + [len(held)]

    assert in_child(child) == [1, 1, 1, 3]


def test_worker_exit_bounds_the_waiting_of_all_pools_together() -> None:
    def child() -> float:
        waits: list[float] = []

        class Slow(Pool[Connection]):
            def close(self, timeout: float | None = 5.0) -> bool:
                assert timeout is not None
                waits.append(timeout)
                return super().close(timeout)

        pools = [Slow(Connection) for _ in range(3)]
        held = [pool.acquire() for pool in pools]
        only(*pools)
        forksafe_gunicorn.worker_exit(None, Worker())
        assert len(held) == 3
        return sum(waits)

    # Were they given a second each, it would be three.
    assert in_child(child) < 2


def test_worker_exit_in_the_arbiter_does_nothing() -> None:
    def child() -> tuple[int, str]:
        pool = Pool(Connection, min_size=2)
        pool.fill()
        only(pool)
        forksafe_gunicorn.worker_exit(None, Worker(pid=os.getppid()))
        return pool.stats().available, repr(pool)

    available, state = in_child(child)
    assert available == 2
    assert "closed" not in state


# -- child_exit -----------------------------------------------------------------------------------


def test_child_exit_leaves_the_arbiters_pools_alone() -> None:
    def child() -> tuple[int, list[str]]:
        pool = Pool(Connection, min_size=2)
        pool.fill()
        only(pool)
        worker = Worker(pid=4711)
        forksafe_gunicorn.child_exit(None, worker)
        return pool.stats().available, worker.log.lines

    assert in_child(child) == (
        2,
        ["forksafe_pool: worker 4711 has ended, and its connections with it"],
    )


# -- none of them raises --------------------------------------------------------------------------


def call_all(worker: Any) -> None:
    forksafe_gunicorn.post_fork(None, worker)
    forksafe_gunicorn.post_worker_init(worker)
    forksafe_gunicorn.worker_exit(None, worker)
    forksafe_gunicorn.child_exit(None, worker)


def test_a_failure_is_logged_and_goes_no_further() -> None:
    def child() -> list[str]:
        find_pools_with(fail)
        worker = Worker()
        forksafe_gunicorn.post_fork(None, worker)
        forksafe_gunicorn.post_worker_init(worker)
        forksafe_gunicorn.worker_exit(None, worker)
        worker.pid = 4711
        forksafe_gunicorn.child_exit(None, worker)
        return list(worker.log.lines)

    assert in_child(child) == [
        "forksafe_pool: the hook post_fork failed, the server goes on",
        "forksafe_pool: the hook post_worker_init failed, the server goes on",
        "forksafe_pool: the hook worker_exit failed, the server goes on",
        "forksafe_pool: worker 4711 has ended, and its connections with it",
    ]


def test_one_pool_that_fails_does_not_keep_the_others_from_closing() -> None:
    def child() -> tuple[int, int]:
        first, second = Pool(Connection, min_size=1), Pool(Connection, min_size=1)
        first.close = fail  # type: ignore[assignment, method-assign]
        first.fill()
        second.fill()
        only(first, second)
        worker = Worker()
        forksafe_gunicorn.worker_exit(None, worker)
        return second.stats().total, len(worker.log.lines)

    total, failures = in_child(child)
    assert total == 0
    assert failures > 0


def test_a_broken_log_is_replaced_by_pythons() -> None:
    def child() -> list[str]:
        find_pools_with(fail)
        lines: list[str] = []

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                lines.append(record.getMessage())

        logging.getLogger("forksafe_gunicorn").addHandler(Handler())
        call_all(Worker(log=BrokenLog()))
        return lines

    assert in_child(child) == [
        f"forksafe_pool: the hook {hook} failed, the server goes on"
        for hook in ("post_fork", "post_worker_init", "worker_exit")
    ]


@pytest.mark.parametrize("worker", [None, object(), Worker(log=BrokenLog())])
def test_no_worker_is_too_strange(worker: Any) -> None:
    def child() -> None:
        def emit(self: logging.Handler, record: logging.LogRecord) -> None:
            raise OSError("no space left on device")

        handler = logging.Handler()
        handler.emit = emit.__get__(handler)  # type: ignore[method-assign]
        logging.getLogger("forksafe_gunicorn").addHandler(handler)
        find_pools_with(fail)
        call_all(worker)

    in_child(child)


def test_an_exit_passes() -> None:
    """QUIT ends a worker by SystemExit, wherever it is."""

    def leave() -> Connection:
        raise SystemExit(0)

    def child() -> str:
        only(Pool(leave, min_size=1))
        try:
            forksafe_gunicorn.post_worker_init(Worker(timeout=0))
        except SystemExit:
            return "left"
        return "stayed"

    assert in_child(child) == "left"


def test_what_is_no_exception_goes_no_further() -> None:
    """As gevent.Timeout."""

    class Late(BaseException):
        pass

    def end() -> NoReturn:
        raise Late

    def child() -> int:
        find_pools_with(end)
        worker = Worker()
        call_all(worker)
        return len(worker.log.lines)

    assert in_child(child) > 0
