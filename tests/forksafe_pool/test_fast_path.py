"""A warm acquire and release: no lock, no system call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import forksafe_pool
from forksafe_pool import Pool, PoolTimeout
from tests.forksafe_pool.fakes import Connections, FakeConnection, forbid_lock
from tests.forksafe_pool.threads import LIMIT, wait_in_line


def test_a_warm_acquire_and_release_take_no_lock(connections: Connections) -> None:
    resets: list[FakeConnection] = []
    pool = Pool(connections, max_size=2, reset=resets.append)
    pool.release(pool.acquire())
    forbid_lock(pool)
    for _ in range(10):
        conn = pool.acquire()
        pool.release(conn)
        with pool.connection():
            pass
    pool.release(conn)  # foreign
    assert len(resets) == 21


def test_nor_does_what_is_not_at_hand(connections: Connections) -> None:
    pool = Pool(connections, max_size=2, timeout=LIMIT)
    forbid_lock(pool)
    held = [pool.acquire(), pool.acquire()]
    with pytest.raises(PoolTimeout):
        pool.acquire(timeout=0)
    waiter = wait_in_line(pool, pool.acquire)
    pool.release(held[0])
    assert waiter.result() is held[0]
    pool.close(timeout=0)


def test_a_checked_acquire_takes_no_lock(connections: Connections) -> None:
    checked: list[FakeConnection] = []
    pool = Pool(connections, check=checked.append, check_after=0)
    pool.release(pool.acquire())
    forbid_lock(pool)
    pool.release(pool.acquire())
    assert len(checked) == 1


PROGRAM = """
import os
from forksafe_pool import Pool

pool = Pool(object)

def work():
    for _ in range(1000):
        pool.release(pool.acquire())
        with pool.connection():
            pass

work()
os.write(1, b"begin")
work()
os.write(1, b"end")
"""


def test_a_warm_acquire_and_release_make_no_system_call(tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    if subprocess.run([strace, "-qq", "-o", os.devnull, "true"], check=False).returncode != 0:
        pytest.skip("strace may not trace here")
    trace = tmp_path / "trace"
    subprocess.run(
        [strace, "-f", "-qq", "-o", str(trace), sys.executable, "-c", PROGRAM],
        check=True,
        timeout=60,
        stdout=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(Path(forksafe_pool.__file__).parents[1])},
    )
    calls = trace.read_text().partition('write(1, "begin"')[2].partition('write(1, "end"')[0]
    between = calls.splitlines()[1:-1]
    # Reading the clock is no system call, but on machines where the kernel cannot offer that.
    assert [call for call in between if "clock_gettime" not in call] == []
