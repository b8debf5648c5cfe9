"""What the hooks of all servers have in common."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import NoReturn

import pytest

from forksafe_pool import Pool, pools, workers
from tests.forksafe_pool.fakes import Connections, FakeConnection, pretend_fork
from tests.support.forks import in_child


class Late(BaseException):
    """As gevent.Timeout: no ``Exception``."""


class BrokenLog:
    def warning(self, message: str, /, *args: object) -> NoReturn:
        raise OSError("no space left on device")

    def error(self, message: str, /, *, exc_info: BaseException) -> NoReturn:
        raise OSError("no space left on device")


def stop_other_tests_pools() -> None:
    for pool in pools():
        pool.close(0)


@pytest.mark.parametrize("fill", [True, False])
def test_a_worker_that_has_started(connections: Connections, fill: bool) -> None:
    def child() -> tuple[int, int]:
        stop_other_tests_pools()
        pool = Pool(connections, min_size=2, fileno=lambda _: -1)
        pool.acquire()
        pretend_fork(pool)
        workers.worker_started(fill=fill)
        return pool._ledger.severed, pool._ledger.opened

    assert in_child(child) == (1, 2 if fill else 0)


def test_a_worker_that_is_stopping(connections: Connections) -> None:
    def child() -> tuple[int, list[float | None]]:
        waits: list[float | None] = []

        class Observed(Pool[FakeConnection]):
            def close(self, timeout: float | None = 5.0) -> bool:
                waits.append(timeout)
                return super().close(timeout)

        stop_other_tests_pools()
        pool = Observed(connections, min_size=2)
        pool.fill()
        workers.worker_stopping(timeout=0)
        return pool.stats().total, waits

    assert in_child(child) == (0, [0.0, 0.0])


@pytest.mark.parametrize("function", [workers.worker_started, workers.worker_stopping])
@pytest.mark.parametrize("error", [RuntimeError, Late])
def test_a_failure_is_logged_and_goes_no_further(
    function: Callable[..., None],
    error: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> NoReturn:
        raise error("no pools today")

    monkeypatch.setattr(workers, "pools", fail)
    function(logging.getLogger("theirs"), "the hook failed, the server goes on")
    function(BrokenLog())
    (record,) = caplog.records
    assert record.name == "theirs"
    assert record.getMessage() == "the hook failed, the server goes on"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], error)


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
def test_an_exit_passes_the_guard(
    end: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(end), workers.guard(logging.getLogger("theirs"), "failed"):
        raise end
    assert not caplog.records


# -- join_hooks -----------------------------------------------------------------------------------


class Calls(list[str]):
    """The hooks that were called, in this order."""

    def ours(self) -> None:
        self.append("ours")

    def theirs(self) -> None:
        self.append("theirs")


@pytest.mark.parametrize("ours_last", [False, True])
class TestJoinHooks:
    def test_both_run(self, ours_last: bool) -> None:
        calls = Calls()
        workers.join_hooks(calls.ours, calls.theirs, ours_last=ours_last)()
        assert calls == (["theirs", "ours"] if ours_last else ["ours", "theirs"])

    def test_ours_alone(self, ours_last: bool) -> None:
        ours = Calls().ours
        assert workers.join_hooks(ours, None, ours_last=ours_last) is ours

    def test_twice_is_once(self, ours_last: bool) -> None:
        calls = Calls()
        ours = calls.ours  # each access makes another bound method
        joined = workers.join_hooks(ours, calls.theirs, ours_last=ours_last)
        traced = functools.wraps(joined)(lambda: joined())
        for hook in (ours, joined, traced):
            assert workers.join_hooks(ours, hook, ours_last=ours_last) is hook

    def test_ours_runs_where_theirs_raises(self, ours_last: bool) -> None:
        calls = Calls()

        def fail() -> NoReturn:
            raise Late("theirs")

        with pytest.raises(Late, match="theirs"):
            workers.join_hooks(calls.ours, fail, ours_last=ours_last)()
        assert calls == ["ours"]

    def test_arguments_reach_both(self, ours_last: bool) -> None:
        given: list[object] = []
        ours, theirs = (lambda one: given.append(one)), (lambda one: given.append(one))
        workers.join_hooks(ours, theirs, ours_last=ours_last)("worker")
        assert given == ["worker", "worker"]
