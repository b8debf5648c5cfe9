"""The rarer ways to fork, and the worse moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.forks.ends import FORKS
from tests.forks.servers import Server
from tests.forks.used import Used
from tests.forksafe_pool.threads import Caller
from tests.support.forks import in_child, open_sockets
from tests.support.programs import run_program

LIMIT = 20.0
Fork = Callable[[], int]


CLEAN: tuple[bool, set[str], int] = (True, set(), 2)


# -- a terminal of its own ------------------------------------------------------------------------


def test_forkpty(server: Server) -> None:
    used = Used(server)
    terminals: list[int] = []

    def forkpty() -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            pid, terminal = os.forkpty()
        terminals.append(terminal)
        return pid

    def child() -> tuple[set[str], object]:
        left = open_sockets() & used.sockets
        return left, used.use_in_child()

    try:
        assert in_child(child, forkpty, LIMIT) == (set(), CLEAN)
    finally:
        for terminal in terminals:
            os.close(terminal)
    used.finish()


# -- a daemon: its parent's parent's child, and both of those are gone ----------------------------

DAEMON = r"""
import os, signal, socket, sys
from forksafe_pool import Pool

signal.alarm(30)


def connect():
    sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    sock.sendall(b"%d " % os.getsid(0))
    return sock


pool = Pool(connect)
held = pool.acquire()
with pool.connection():
    pass
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
signal.alarm(30)
assert os.read(0, 1) == b""  # all that comes: the end of who started it
pool.release(held)
with pool.connection() as conn:
    conn.sendall(b"daemon")
os.write(1, b"%d" % os.getsid(0))
"""


def test_a_daemon(server: Server) -> None:
    session = run_program(DAEMON, str(server.port))
    mine = str(os.getsid(0)).encode() + b" "
    assert sorted(server.received()) == sorted([mine, mine, session.encode() + b" daemon"])


# -- executors ------------------------------------------------------------------------------------

# Built and used by whoever imports it: the program itself, and the server that forks its workers.
WARM = r"""
import os, socket
from forksafe_pool import Pool

built_by = os.getpid()
pool = Pool(lambda: socket.create_connection(("127.0.0.1", {port})), max_size=2)
held = pool.acquire()
with pool.connection():
    pass


def use(_=None):
    if built_by != os.getpid():
        pool.release(held)
    with pool.connection() as one:
        ports = {{(held if built_by == os.getpid() else one).getsockname()[1]}}
        ports.add(one.getsockname()[1])
    return built_by, os.getpid(), ports, pool.stats().severed
"""

EXECUTOR = r"""
import multiprocessing, os, signal
from concurrent.futures import ProcessPoolExecutor

signal.alarm(40)

if __name__ == "__main__":
    import warm

    mine = warm.use()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        answers = list(executor.map(warm.use, range(20), timeout=30))
    (server,) = {built_by for built_by, _, _, _ in answers}
    assert server not in {os.getpid()} | {pid for _, pid, _, _ in answers}
    taken = set(mine[2])
    for worker in {pid for _, pid, _, _ in answers}:
        (port,) = set().union(*(ports for _, pid, ports, _ in answers if pid == worker))
        assert port not in taken
        taken.add(port)
    assert {severed for _, _, _, severed in answers} == {2}
    assert warm.use() == mine
    print("fine")
"""


def test_an_executor_whose_forkserver_has_used_the_pool(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "warm.py").write_text(WARM.format(port=server.port))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_program(EXECUTOR) == "fine\n"


# -- a child that becomes another program ---------------------------------------------------------

LIST_SOCKETS = r"""
import os

for name in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        continue
    if target.startswith("socket:"):
        print(name, target)
"""


def run_another_program(hook: Callable[[], object] | None) -> str:
    """The sockets that it has, where nobody closes any for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        done = subprocess.run(
            [sys.executable, "-c", LIST_SOCKETS],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=LIMIT,
            check=True,
            close_fds=False,
            preexec_fn=hook,
        )
    return done.stdout


def test_a_preexec_fn_that_uses_the_pool(server: Server) -> None:
    """The other program is left with nothing: neither connections nor dead ends."""
    used = Used(server)
    read, write = os.pipe()
    before = run_another_program(None)

    def hook() -> None:
        os.write(write, repr(used.use_in_child()).encode())

    try:
        assert run_another_program(hook) == before
        assert os.read(read, 1000).decode() == repr(CLEAN)
    finally:
        os.close(read)
        os.close(write)
    used.finish()


def test_a_preexec_fn_that_uses_an_inherited_connection(server: Server) -> None:
    """It gets an error, and is not killed: subprocess has restored what SIGPIPE does."""
    used = Used(server)

    def hook() -> None:
        assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN  # what Python believes
        with pytest.raises(BrokenPipeError):
            used.held.sendall(b"mine?")
        assert used.held.recv(1) == b""

    run_another_program(hook)
    used.finish()


# -- threads --------------------------------------------------------------------------------------


def test_a_thread_that_forks(server: Server, fork: Fork) -> None:
    """It has a connection itself, and so has the main thread, which its child does not know."""
    used = Used(server)

    def work() -> tuple[object, object]:
        with used.pool.connection() as mine:
            assert mine is not used.held
            found = in_child(used.use_in_child, fork, LIMIT)
            assert mine.getsockname() in used.names
        return found, open_sockets() >= used.sockets

    assert Caller(work).result(LIMIT) == (CLEAN, True)
    used.finish()


# The child has no other thread than the one that forked: it ends when that one does.
FALLS_OUT = r"""
import os, signal, socket, sys, threading
from forksafe_pool import Pool
from tests.support.forks import c_fork

fork = {"os.fork": os.fork, "C fork": c_fork}[sys.argv[1]]
signal.alarm(30)


class Connection:
    def __init__(self):
        self.sock = socket.create_connection(("127.0.0.1", int(sys.argv[2])))

    def __del__(self):
        try:
            self.sock.sendall(b"QUIT")
        except OSError:
            pass
        self.sock.close()


pool = Pool(Connection)
pids = []


def work():
    with pool.connection() as mine:
        pids.append(fork())
        if pids == [0]:
            signal.alarm(30)
            if sys.argv[3] == "uses":
                with pool.connection() as own:
                    own.sock.sendall(b"child ")
    del mine


with pool.connection() as held:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert os.waitpid(pids[0], 0)[1] == 0
    held.sock.sendall(b"held ")
"""


@pytest.mark.parametrize("what", ["uses", "nothing"])
@pytest.mark.parametrize("fork_name", FORKS)
def test_a_child_that_ends_with_the_thread_that_forked(
    server: Server, fork_name: str, what: str
) -> None:
    assert run_program(FALLS_OUT, fork_name, str(server.port), what) == ""
    # The child ends as a process whose last thread has ended: with no finalizer run for the pool.
    from_child = [b"child "] if what == "uses" else []
    assert sorted(server.received()) == sorted([b"QUIT", b"held QUIT", *from_child])
