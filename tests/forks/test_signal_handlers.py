"""A signal handler that forks, at every line of the pool's work."""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import forksafe_pool
from forksafe_pool import Pool
from tests.forks.servers import Server, sockets_to
from tests.support.forks import Child, os_fork

LIMIT = 20.0
Fork = Callable[[], int]


_OURS = str(Path(forksafe_pool.__file__).parent)


@contextmanager
def interrupted_at(line: int, handler: Callable[[], object]) -> Iterator[list[str]]:
    """A signal comes when the block comes to the pool's ``line``-th line; yields where that was."""
    lines = 0
    where: list[str] = []

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        if event == "line":
            lines += 1
            if lines == line:
                where.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
                signal.raise_signal(signal.SIGUSR1)
        return trace

    previous = signal.signal(signal.SIGUSR1, lambda *_: handler())
    # Pools that are collected meanwhile have lines as well, and may have them anywhere: inside of
    # connect(), whose socket a child rightly finds cut off when it comes back.
    gc.disable()
    tracer = sys.gettrace()  # coverage's
    sys.settrace(trace)
    try:
        yield where
    finally:
        sys.settrace(tracer)
        gc.enable()
        signal.signal(signal.SIGUSR1, previous)


class Returning:
    """A child that is forked in a signal handler, and returns from it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._pid = -1

    def fork(self) -> None:
        self._pid = os_fork()

    def is_here(self) -> bool:
        """Whether this process is it."""
        return self._pid == 0

    @contextmanager
    def reporting(self, function: Callable[[], object]) -> Iterator[None]:
        """In the child, the end of the block is its end."""
        report = "no report"
        try:
            try:
                yield
                if self._pid == 0:
                    report = repr(function())
            except BaseException:
                if self._pid != 0:
                    raise
                report = traceback.format_exc()
        finally:
            if self._pid == 0:
                os.write(self._write, report.encode())
                os._exit(0)
            os.close(self._write)

    def report(self) -> str:
        with os.fdopen(self._read) as pipe:
            assert select.select([pipe], [], [], LIMIT)[0], "the child hangs"
            report = pipe.read()
        os.waitpid(self._pid, 0)
        return report


def grow(pool: Pool[socket.socket]) -> None:
    pool.discard(pool.acquire())


def reuse(pool: Pool[socket.socket]) -> None:
    pool.release(pool.acquire())


def check(pool: Pool[socket.socket]) -> None:
    pool.release(pool.acquire())


@pytest.mark.parametrize(("work", "check_after"), [(grow, 60), (reuse, 60), (check, 0)])
def test_a_signal_handler_that_forks_while_the_pool_works(
    server: Server, fork: Fork, work: Callable[[Pool[socket.socket]], None], check_after: float
) -> None:
    """At every line of it. The child stays in the handler, as a server's worker would."""
    pool = Pool(server.connect, max_size=2, timeout=LIMIT, check_after=check_after)
    held = pool.acquire()
    if work is not grow:
        reuse(pool)

    def child() -> tuple[int, int, int]:
        pool.release(held)
        with pool.connection(), pool.connection():
            assert pool.stats().in_use == 2
        stats = pool.stats()
        assert pool.close(timeout=0)
        return stats.total, stats.foreign_releases, len(sockets_to(server.port))

    children: list[Child] = []
    line = 0
    while True:
        line += 1
        with interrupted_at(line, lambda: children.append(Child(child, fork))) as where:
            work(pool)
        if not where:
            break
        got = children.pop().result(LIMIT)
        assert got == (2, 1, 0), where
        stats = pool.stats()
        assert (stats.in_use, stats.foreign_releases, stats.severed) == (1, 0, 0), where
    assert line > 20
    pool.release(held)
    assert pool.close()


# A child that returns from the handler goes on with what the signal interrupted.


@pytest.mark.parametrize(("work", "check_after"), [(grow, 60), (reuse, 60), (check, 0)])
def test_a_child_that_comes_back_from_a_signal_handler(
    server: Server, work: Callable[[Pool[socket.socket]], None], check_after: float
) -> None:
    """It may be lent what has been cut off, and never what is its parent's."""
    pool = Pool(server.connect, max_size=2, timeout=LIMIT, check_after=check_after)
    held = pool.acquire()
    if work is not grow:
        reuse(pool)

    def use() -> tuple[int, int]:
        conns = [pool.acquire(timeout=0) for _ in range(2)]
        total = pool.stats().total
        for conn in conns:
            pool.release(conn)
        return total, len(sockets_to(server.port) & parents)

    line = 0
    where = ["the start"]
    while where:
        line += 1
        parents = sockets_to(server.port)
        child = Returning()
        with child.reporting(use), interrupted_at(line, child.fork) as where:
            try:
                work(pool)
            except OSError:
                # What was half connected at the fork is cut off in the child: the attempt fails.
                if not child.is_here():
                    raise
        if where:
            assert child.report() == repr((2, 0)), where
            assert pool.stats().in_use == 1, where
    assert line > 20
    pool.release(held)
    assert pool.close()
