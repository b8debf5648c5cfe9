"""The sentinel: true in the process that made it, false in every child of it."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from forksafe_pool import Pool
from forksafe_pool._fork import sentinel
from forksafe_pool._fork.sentinel import _PidSentinel
from tests.forksafe_pool.fakes import Connections
from tests.support.forks import c_fork, in_child, os_fork

FORKS = pytest.mark.parametrize("fork", [os_fork, c_fork])


def no_page() -> sentinel.Sentinel:
    raise OSError("MADV_WIPEONFORK is not to be had")


@pytest.fixture
def new_sentinel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process has made no sentinel yet; what it has is safe from this test."""
    monkeypatch.setattr(sentinel, "_sentinel", None)
    monkeypatch.setattr(sentinel, "_made", [])
    monkeypatch.setattr(sentinel, "_inherited", [])


@pytest.fixture
def pid_sentinel(new_sentinel: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "_wipe_on_fork_page", no_page)


@pytest.fixture(params=["page", "pid"])
def either(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("pid_sentinel" if request.param == "pid" else "new_sentinel")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the page is Linux's")
@pytest.mark.usefixtures("new_sentinel")
def test_linux_has_the_page() -> None:
    assert isinstance(sentinel.sentinel(), ctypes.c_bool)


@pytest.mark.usefixtures("either")
def test_a_process_has_one_sentinel() -> None:
    assert sentinel.sentinel()
    assert sentinel.sentinel() is sentinel.sentinel()


@FORKS
@pytest.mark.usefixtures("either")
def test_it_is_false_in_a_child_and_true_in_the_parent(fork: Callable[[], int]) -> None:
    mine = sentinel.sentinel()
    assert not in_child(lambda: bool(mine), fork)
    assert mine


@FORKS
@pytest.mark.usefixtures("either")
def test_a_child_makes_one_of_its_own(fork: Callable[[], int]) -> None:
    mine = sentinel.sentinel()

    def child() -> tuple[bool, bool, bool]:
        own = sentinel.sentinel()
        grandchild = in_child(lambda: bool(own), fork)
        return bool(own), own is mine, bool(grandchild)

    assert in_child(child, fork) == (True, False, False)
    assert sentinel.sentinel() is mine


@FORKS
@pytest.mark.usefixtures("either")
def test_a_pool_notices_the_fork_either_way(
    connections: Connections, fork: Callable[[], int]
) -> None:
    pool = Pool(connections, fileno=lambda _: -1)
    conn = pool.acquire()

    def child() -> tuple[int, int, int]:
        pool.release(conn)
        stats = pool.stats()
        return stats.total, stats.severed, stats.foreign_releases

    assert in_child(child, fork) == (0, 1, 1)
    pool.release(conn)
    assert (pool.stats().total, pool.stats().foreign_releases) == (1, 0)


@pytest.mark.usefixtures("pid_sentinel")
def test_the_fallback_is_used_where_the_page_cannot_be_had() -> None:
    assert isinstance(sentinel.sentinel(), _PidSentinel)


@pytest.mark.usefixtures("pid_sentinel")
def test_the_fallback_notices_a_child_of_the_same_pid_by_the_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A child in a new pid namespace may have its parent's pid."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    mine = sentinel.sentinel()
    assert mine
    assert not in_child(lambda: bool(mine), os_fork)
    assert mine


@pytest.mark.usefixtures("pid_sentinel")
def test_the_fallback_notices_a_child_without_the_hook_by_its_pid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mine = sentinel.sentinel()
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    assert not mine


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the page is Linux's")
@pytest.mark.usefixtures("new_sentinel")
def test_the_page_notices_a_child_of_the_same_pid_without_the_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 1)
    mine = sentinel.sentinel()
    assert not in_child(lambda: bool(mine), c_fork)


@pytest.mark.usefixtures("new_sentinel")
def test_a_page_that_the_kernel_does_not_wipe_is_wiped_by_the_hook(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sentinel, "_MADV_WIPEONFORK", mmap.MADV_NORMAL)
    mine = sentinel.sentinel()
    assert in_child(lambda: bool(mine), c_fork)  # so it is ordinary indeed
    assert not in_child(lambda: bool(mine), os_fork)
    assert mine


@pytest.mark.usefixtures("new_sentinel")
def test_the_hook_wipes_every_page_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that race to be the first may each make one."""
    racing: list[bool] = []
    others: list[sentinel.Sentinel] = []

    def page_while_another_thread_makes_its_own() -> sentinel.Sentinel:
        if not racing:
            racing.append(True)
            others.append(sentinel.sentinel())
        return page()

    page = sentinel._wipe_on_fork_page
    monkeypatch.setattr(sentinel, "_wipe_on_fork_page", page_while_another_thread_makes_its_own)
    mine = sentinel.sentinel()
    sentinel.expect_fork()
    sentinel.note_fork()
    assert not mine
    assert not others[0]


@pytest.mark.usefixtures("new_sentinel")
def test_other_systems_have_no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(sentinel.sentinel(), _PidSentinel)


@pytest.mark.usefixtures("new_sentinel")
def test_a_python_without_ctypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "ctypes", None)
    assert isinstance(sentinel.sentinel(), _PidSentinel)


@pytest.mark.usefixtures("new_sentinel")
def test_a_kernel_that_does_not_know_the_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "_MADV_WIPEONFORK", 12345)
    assert isinstance(sentinel.sentinel(), _PidSentinel)


@pytest.mark.usefixtures("either")
def test_what_a_hook_notes_voids_the_sentinel_of_the_process() -> None:
    mine = sentinel.sentinel()
    sentinel.expect_fork()
    sentinel.note_fork()
    assert not mine
    assert sentinel.sentinel()
    assert sentinel.sentinel() is not mine


@pytest.mark.usefixtures("either")
def test_what_a_child_has_made_before_its_hook_is_its_own() -> None:
    """Another module's hook runs earlier, or a finalizer in the middle of one."""
    mine = sentinel.sentinel()
    sentinel.expect_fork()

    def child() -> tuple[bool, bool, bool]:
        own = sentinel.sentinel()
        sentinel.note_fork()
        return bool(own), sentinel.sentinel() is own, bool(mine)

    assert in_child(child, c_fork) == (True, True, False)
    assert mine


@pytest.mark.usefixtures("either")
def test_what_another_thread_has_made_while_the_hooks_ran_is_void() -> None:
    sentinel.expect_fork()
    mine = sentinel.sentinel()

    def child() -> bool:
        sentinel.note_fork()
        return bool(mine)

    assert not in_child(child, c_fork)
    assert mine


@pytest.mark.usefixtures("pid_sentinel")
def test_an_exception_at_any_line_of_the_hook_leaves_no_sentinel_valid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal's, in a child of its parent's pid."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # what a hook raises
    code = sentinel.note_fork.__code__
    mine = sentinel.sentinel()
    lines = struck_at = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal lines
        if frame.f_code is not code:
            return None
        lines += event == "line"
        if event == "line" and lines == struck_at:
            raise KeyboardInterrupt
        return trace

    def struck_fork() -> int:
        tracer = sys.gettrace()  # coverage's
        sys.settrace(trace)
        try:
            return os_fork()
        finally:
            sys.settrace(tracer)

    while True:
        struck_at += 1
        is_valid, passed = in_child(lambda: (bool(mine), lines), struck_fork)
        assert not is_valid, struck_at
        if passed < struck_at:
            break
    assert struck_at > 5
    assert mine
