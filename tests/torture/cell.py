"""One cell of the matrix: one pool, one kind of fork, one misuse.

The parent has a pool with one idle connection and one in use, on which a transaction is open. It
forks; the child misuses the pool while the parent goes on. Each letter stands for one failure:

    H    a process hung
    X    the child got, or used, its parent's session
    R    a reply reached the wrong reader
    S    the parent lost a session, or the transaction that was open on it
    D    the child still holds a descriptor of its parent's socket
    E    the child got an error
    F    a file of the child's own was closed, severed, read or written
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.support.daemons import all_but_standard, but_of_loops, mixed_in_place_of
from tests.support.forks import open_sockets
from tests.support.locks import held_elsewhere
from tests.torture.subject import SIZE, Driver, Held, Pool
from tests.torture.ways import WAYS, WITHOUT_HOOKS

ROUNDS = 10
_PR_SET_PDEATHSIG = 1
_THREADS = 4
_CHILDREN = 4


class Cell:
    """What the parent has at the fork. A child that collects its garbage empties it first."""

    driver: Driver
    pool: Pool
    held: Held

    def __init__(self, driver: type[Driver], pool: type[Pool], address: str) -> None:
        before = open_sockets()
        self.driver = driver(address)
        self.pool = pool(self.driver)
        idle = self.pool.acquire()
        self.held = self.pool.hold(self.driver)
        self.known = {self.driver.session(idle)}
        self.pool.release(idle)
        self.inherited = open_sockets() - before
        #: What a daemon closes: all but what the way to fork needs, which is not there yet.
        self.numbers = but_of_loops(all_but_standard())
        self.found: set[str] = set()

    def chat(self, who: str) -> None:
        """Ask, over and over, and see that the answer is one's own."""
        for number in range(ROUNDS):
            word = f"{who}-{number}"
            conn = self.pool.acquire()
            try:
                if self.driver.ask(conn, word) != word:
                    self.found.add("R")
            finally:
                self.pool.release(conn)
            time.sleep(0)  # greenlets whose driver is written in C take turns only here

    def take_all(self) -> list[Any]:
        conns = [self.pool.acquire() for _ in range(SIZE - 1)]
        self.known |= {self.driver.session(conn) for conn in conns}
        self.inherited |= open_sockets()
        return conns

    def use(self) -> None:
        """As a child that has every right to."""
        conn = self.pool.acquire()
        if self.driver.session(conn) in self.known:
            self.found.add("X")
        self.pool.release(conn)
        self.chat(f"child-{os.getpid()}")
        self.look_for_descriptors()

    def look_for_descriptors(self) -> None:
        if open_sockets() & self.inherited:
            self.found.add("D")

    def inspect(self) -> None:
        """In the parent, in the end."""
        try:
            conn = self.pool.acquire()
            if self.driver.session(conn) not in self.known or not self.held.finish():
                self.found.add("S")
            self.pool.release(conn)
            self.chat("parent-again")
        except Exception:
            self.found.add("S")


# -- misdeeds: what a child does -------------------------------------------------------------------


def uses(cell: Cell) -> None:
    cell.use()


def releases(cell: Cell) -> None:
    cell.held.release()
    cell.use()


def uses_held(cell: Cell) -> None:
    """An error is what it deserves; its parent does not."""
    with contextlib.suppress(Exception):
        if cell.held.use():
            cell.found.add("X")
    cell.use()


def daemonizes(cell: Cell) -> None:
    """As python-daemon's DaemonContext does: then come its log, its pid file, its pipes."""
    files = mixed_in_place_of(cell.numbers)
    files.write()
    cell.use()
    files.write()
    if files.damage():
        cell.found.add("F")


def closes(cell: Cell) -> None:
    cell.pool.close()
    cell.look_for_descriptors()


def exits(cell: Cell) -> None:
    sys.exit()


def vanishes(cell: Cell) -> None:
    os._exit(0)


def dies(cell: Cell) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(0)  # process 1 of a namespace does not heed its own signals


def collects(cell: Cell) -> None:
    inherited, found = cell.inherited, cell.found
    vars(cell).clear()
    gc.collect()
    cell.inherited, cell.found = inherited, found
    cell.look_for_descriptors()


# -- how the parent is at the fork ---------------------------------------------------------------

#: A context manager that the fork happens in. Its value is what the parent does meanwhile.
Meanwhile = Callable[[], None]
Around = Callable[[Cell, str], contextlib.AbstractContextManager[Meanwhile]]


def nothing() -> None:
    pass


@contextlib.contextmanager
def at_ease(cell: Cell, way: str) -> Iterator[Meanwhile]:
    yield lambda: cell.chat("parent")


@contextlib.contextmanager
def frozen(cell: Cell, way: str) -> Iterator[Meanwhile]:
    """What servers do that preload: the collector leaves alone, for ever, what exists by now."""
    gc.collect()
    gc.freeze()
    yield lambda: cell.chat("parent")


@contextlib.contextmanager
def all_in_use(cell: Cell, way: str) -> Iterator[Meanwhile]:
    conns = cell.take_all()
    yield nothing
    for conn in conns:
        cell.pool.release(conn)


@contextlib.contextmanager
def storm(cell: Cell, way: str) -> Iterator[Meanwhile]:
    """Threads that use the pool; where no hook runs, threads that wait while all is in use."""
    conns = cell.take_all()
    stop = threading.Event()
    ready = threading.Barrier(_THREADS + 1)

    def busy(number: int) -> None:
        ready.wait()
        while not stop.is_set():
            with contextlib.suppress(Exception):  # a pool may refuse, where too many ask
                cell.chat(f"thread-{number}")
            time.sleep(0)  # else a greenlet that is refused refuses the others their turn

    def waiting(number: int) -> None:
        ready.wait()
        stop.wait()

    work = waiting if way in WITHOUT_HOOKS else busy
    threads = [threading.Thread(target=work, args=(number,)) for number in range(_THREADS)]
    if work is busy:
        for conn in conns:
            cell.pool.release(conn)
    for thread in threads:
        thread.start()
    ready.wait()
    try:
        yield nothing
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    if work is waiting:
        for conn in conns:
            cell.pool.release(conn)


def with_lock(name: str) -> Around:
    @contextlib.contextmanager
    def around(cell: Cell, way: str) -> Iterator[Meanwhile]:
        with held_elsewhere(cell.pool.locks()[name]):
            yield nothing

    return around


#: What the child does, how the parent is, and how many children there are.
MISDEEDS: dict[str, tuple[Callable[[Cell], None], Around, int]] = {
    "uses the pool": (uses, at_ease, 1),
    "releases an inherited connection": (releases, at_ease, 1),
    "uses a connection in use": (uses_held, at_ease, 1),
    "closes the pool": (closes, at_ease, 1),
    "closes all descriptors, opens its own": (daemonizes, at_ease, 1),
    "sys.exit()": (exits, at_ease, 1),
    "os._exit()": (vanishes, at_ease, 1),
    "dies of a signal": (dies, at_ease, 1),
    "collects garbage": (collects, at_ease, 1),
    "gc.freeze() before": (uses, frozen, 1),
    "all in use": (uses, all_in_use, 1),
    "thread storm": (uses, storm, _CHILDREN),
}
#: As many as the pool has locks.
LOCK = "a lock is held"


def run(cell: Cell, way: str, misdeed: str, limit: float) -> str:
    """The letters of what was found, sorted."""
    if misdeed == LOCK:
        for name in cell.pool.locks():
            _run_one(cell, way, uses, with_lock(name), limit)
    else:
        child, around, children = MISDEEDS[misdeed]
        for _ in range(children):
            _run_one(cell, way, child, around, limit)
            if "H" in cell.found:
                break
    if "H" not in cell.found:
        cell.inspect()
    return "".join(sorted(cell.found))


def _run_one(
    cell: Cell, way: str, child: Callable[[Cell], None], around: Around, limit: float
) -> None:
    read, write = os.pipe()

    def report() -> None:
        os.write(write, "".join(cell.found).encode() + b"\n")

    def body() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        cell.found.clear()
        if child in (vanishes, dies):
            report()
        try:
            child(cell)
        except Exception:
            cell.found.add("E")
        finally:
            report()

    def see_the_end(wait: Callable[[], None]) -> None:
        wait()
        os.write(write, b"E\n")  # heard only where there was no report

    with around(cell, way) as meanwhile:
        ended = threading.Thread(target=see_the_end, args=(WAYS[way](body),))
        ended.start()
        try:
            meanwhile()
        except Exception:
            cell.found.add("S")
        if select.select([read], [], [], limit)[0]:
            said = os.read(read, 64).decode()
            cell.found |= set(said.split("\n")[0])
            ended.join(limit)
        if ended.is_alive():
            cell.found.add("H")
