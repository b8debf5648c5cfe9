"""A pool at module level, under every start method of multiprocessing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.forks.servers import Server, serving
from tests.support.programs import run_program

# The module builds its pool at import and uses it at once, as one that is preloaded may well do.
MODULE = r"""
import os, socket
from forksafe_pool import Pool

built_by = os.getpid()
pool = Pool(lambda: socket.create_connection(("127.0.0.1", {port})), max_size=2)
held = pool.acquire()
with pool.connection():
    pass


def port_of(conn):
    return conn.getsockname()[1]


held_as = port_of(held)


def use(_=None):
    with pool.connection() as one, pool.connection() as two:
        return os.getpid(), {{port_of(one), port_of(two)}}


def report():
    if built_by == os.getpid():
        assert port_of(held) == held_as
        with pool.connection() as conn:
            ports = {{held_as, port_of(conn)}}
    else:
        pool.release(held)
        _, ports = use()
    stats = pool.stats()
    told = (stats.total, stats.severed, stats.foreign_releases)
    return os.getpid(), os.getppid(), built_by, ports, told


def send_report(pipe):
    pipe.send(report())
"""

# A process that found the pool built by another one has cut off two connections, and ignored
# one release. One that built its own has done neither.
PROGRAM = r"""
import multiprocessing, os, signal, sys

signal.alarm(40)
INHERITED, OWN = (2, 2, 1), (2, 0, 0)


def main(method, *preload):
    import warm

    context = multiprocessing.get_context(method)
    if preload:
        context.set_forkserver_preload(list(preload))
    reports = [warm.report()]
    processes = []
    for _ in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=warm.send_report, args=(theirs,))
        process.start()
        assert ours.poll(30), "no report"
        reports.append(ours.recv())
        processes.append(process)
    for process in processes:
        process.join(30)
        assert process.exitcode == 0, process.exitcode
    reports.append(warm.report())
    assert reports[0] == reports[-1], reports

    pids, ports = set(), set()
    for number, (pid, parent, built_by, its_ports, told) in enumerate(reports[:-1]):
        assert len(its_ports) == 2
        if number == 0 or not (method == "fork" or preload):
            assert built_by == pid, "it was to build its own"
            assert told == OWN, told
        else:
            assert built_by == parent != pid, "it was to find the pool built"
            assert told == INHERITED, told
        assert not ports & its_ports, "a connection is used by two processes"
        pids.add(pid)
        ports |= its_ports
    assert len(pids) == 4
    print("fine")


if __name__ == "__main__":
    main(*sys.argv[1:])
"""

EXECUTOR = r"""
import multiprocessing, signal
from concurrent.futures import ProcessPoolExecutor

signal.alarm(40)

if __name__ == "__main__":
    import warm

    mine = warm.report()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
        reports = list(executor.map(warm.use, range(20), timeout=30))
    for worker in {pid for pid, _ in reports}:
        (ports,) = {frozenset(ports) for pid, ports in reports if pid == worker}
        assert len(ports) == 2
        assert not mine[3] & ports
    assert warm.report() == mine
    print("fine")
"""

WORKERS = r"""
import multiprocessing, signal

signal.alarm(40)

if __name__ == "__main__":
    import warm

    mine = warm.report()
    with multiprocessing.get_context("fork").Pool(2, maxtasksperchild=3) as workers:
        reports = workers.map_async(warm.use, range(12), chunksize=1).get(30)
    processes = {pid for pid, _ in reports}
    assert len(processes) >= 4
    for worker in processes:
        (ports,) = {frozenset(ports) for pid, ports in reports if pid == worker}
        assert len(ports) == 2
        assert not mine[3] & ports
    assert warm.report() == mine
    print("fine")
"""

ARGUMENT = r"""
import multiprocessing, sys
from forksafe_pool import Pool
from forksafe_redis import BlockingConnectionPool

pool = Pool(object, name="orders")
context = multiprocessing.get_context(sys.argv[1])
for argument in (pool, BlockingConnectionPool()):
    try:
        context.Process(target=print, args=(argument,)).start()
    except TypeError as error:
        print(error)
"""

RunModule = Callable[..., str]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """``run_program``, where ``import warm`` finds the module above."""
    (tmp_path / "warm.py").write_text(MODULE.format(port=server.port))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return run_program


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_each_process_has_connections_of_its_own(run: RunModule, method: str) -> None:
    assert run(PROGRAM, method) == "fine\n"


def test_a_forkserver_that_has_used_the_pool(run: RunModule) -> None:
    assert run(PROGRAM, "forkserver", "warm") == "fine\n"


def test_an_executor_that_forks(run: RunModule) -> None:
    assert run(EXECUTOR) == "fine\n"


def test_workers_that_are_replaced(run: RunModule) -> None:
    assert run(WORKERS) == "fine\n"


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_a_pool_as_an_argument_tells_what_to_do_instead(method: str) -> None:
    told, told_by_redis_pool = run_program(ARGUMENT, method).splitlines()
    assert told.startswith("<Pool 'orders': total 0 of 10,")
    assert told.endswith("cannot be pickled: build it at import, and let each process import it")
    assert told_by_redis_pool  # redis-py's cannot be pickled either
