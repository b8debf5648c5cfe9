"""Every pool of the process, and the at-fork hooks that serve them all.

One set of hooks for the process: CPython has no way to unregister one. They make detection eager;
detecting a fork does not depend on them.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import Any, Protocol

from forksafe_pool._fork import sentinel


class Member(Protocol):
    """What the registry needs of a pool."""

    _ledger: Any

    def _settle(self) -> bool:
        """Sever what was inherited. Returns False if another thread is doing it."""

    def _forget_lost(self, ledger: Any) -> None:
        """Keep connections that have lost their descriptor from closing another file's."""


# Not a WeakSet: that one cannot be listed while another thread adds to it.
_pools: dict[int, weakref.ref[Member]] = {}

#: By the id() of its pool, what was severed and is not freed yet. So the collector finds no such
#: connection before its pool is gone: it finalizes a cycle's objects in no certain order, and a
#: socket closes its number, whoever has that by now.
_severed: dict[int, dict[int, object]] = {}

#: True in the process whose pools have all been severed from what they inherited, if anything.
settled: sentinel.Sentinel = sentinel.sentinel()

# How often severing is taken up again at once, where exceptions strike.
_TRIES = 3


def register(pool: Member) -> None:
    key = id(pool)

    def forget(_: object) -> None:
        _pools.pop(key, None)
        _severed.pop(key, None)

    _pools[key] = weakref.ref(pool, forget)


def kept_severed(pool: Member) -> dict[int, object]:
    """What is kept as long as ``pool`` is there."""
    reference = _pools.get(id(pool))
    if reference is None or reference() is not pool:  # it is being collected
        return {}
    return _severed.setdefault(id(pool), {})


def living() -> list[Member]:
    """Every pool of this process."""
    found = (reference() for reference in list(_pools.values()))
    return [pool for pool in found if pool is not None]


def settle(first: Member | None = None) -> None:
    """Sever all that the pools of this process have inherited, or what is left of it.

    An exception that strikes meanwhile, a signal's, keeps no pool from being severed and is raised
    at the end. What it has prevented all the same, the next use of any pool does.

    Parameters:
        first: a pool that may be in no list any more, since it is being finalized.
    """
    global settled
    process = sentinel.sentinel()
    is_done = True
    struck: BaseException | None = None
    found = living()
    if first is not None:
        found = [first, *(pool for pool in found if pool is not first)]
    for pool in found:
        for _ in range(_TRIES):
            try:
                is_done &= pool._settle()
                break
            except BaseException as error:
                struck = error
        else:
            is_done = False
    if is_done:
        settled = process
    if struck is not None:
        try:
            raise struck
        finally:
            del struck  # which refers to this frame


def _after_fork_in_child() -> None:
    try:
        sentinel.note_fork()
    except BaseException:
        sentinel.note_fork()
        raise
    finally:
        settle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=sentinel.expect_fork,
        after_in_child=_after_fork_in_child,
    )


# A child of a C-level fork, in which no hook ran, may end without having used its pools: what it
# frees at its exit must be severed first. And nobody's exit closes what is not its pools' own.
@atexit.register
def _at_exit() -> None:
    settle()
    for pool in living():
        pool._forget_lost(pool._ledger)
