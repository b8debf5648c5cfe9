"""ProcessLocal: a value that each process makes for itself."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from forksafe_pool.extend import ProcessLocal, sentinel
from tests.forksafe_pool.threads import together
from tests.support.forks import c_fork, in_child

LIMIT = 20.0
FORKS = pytest.mark.parametrize("fork", [os.fork, c_fork])


def test_a_process_makes_its_value_once_and_late() -> None:
    made: list[object] = []

    def make() -> object:
        made.append(object())
        return made[-1]

    local = ProcessLocal(make)
    assert made == []
    assert local.get() is local.get()
    assert len(made) == 1


@FORKS
def test_a_child_makes_its_own(fork: Callable[[], int]) -> None:
    local = ProcessLocal(os.getpid)
    assert local.get() == os.getpid()

    def child() -> tuple[bool, bool]:
        grandchild = in_child(lambda: local.get() == os.getpid(), fork, LIMIT)
        return local.get() == os.getpid(), grandchild

    assert in_child(child, fork, LIMIT) == (True, True)
    assert local.get() == os.getpid()


@FORKS
def test_a_lock_that_was_held_is_not_the_child_s(fork: Callable[[], int]) -> None:
    local = ProcessLocal(threading.Lock)
    with local.get():
        assert in_child(lambda: local.get().acquire(timeout=5), fork, LIMIT)


def test_threads_that_race_get_the_same() -> None:
    for _ in range(50):
        local: ProcessLocal[object] = ProcessLocal(object)

        def get(_: int, local: ProcessLocal[object] = local) -> int:
            return id(local.get())

        assert len(set(together(8, get))) == 1


@FORKS
def test_a_sentinel_is_true_in_its_own_process_alone(fork: Callable[[], int]) -> None:
    mine = sentinel()
    assert mine
    assert in_child(lambda: (bool(mine), bool(sentinel())), fork, LIMIT) == (False, True)
    assert mine
