"""Every pool of the process, and the at-fork hooks that serve them all.

One set of hooks for the process: CPython has no way to unregister one. They make detection eager;
that a fork is noticed does not depend on them.
"""

from __future__ import annotations

import atexit
import os
import weakref
from typing import TYPE_CHECKING, Any

from forksafe_pool import _making, _process

if TYPE_CHECKING:
    from forksafe_pool._pool import Pool

# Not a WeakSet: that one cannot be listed while another thread adds to it.
_pools: dict[int, weakref.ref[Pool[Any]]] = {}


def register(pool: Pool[Any]) -> None:
    key = id(pool)
    _pools[key] = weakref.ref(pool, lambda _: _pools.pop(key, None))


def _living() -> list[Pool[Any]]:
    found = (reference() for reference in list(_pools.values()))
    return [pool for pool in found if pool is not None]


def pools() -> list[Pool[Any]]:
    """Every pool of this process; those that came through a fork have noticed it."""
    found = _living()
    for pool in found:
        pool._checkpid()
    return found


def _before_fork() -> None:
    _process.expect_fork()
    for pool in _living():
        if pool._ledger.making:
            pool._ledger.half_made = _making.sockets(pool._ledger.making)


def _after_fork_in_parent() -> None:
    for pool in _living():
        pool._ledger.half_made.clear()


def _after_fork_in_child() -> None:
    _process.note_fork()
    pools()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
# A child of a C-level fork, in which no hook ran, may end without having used its pools: what it
# frees at its exit must be severed first.
atexit.register(pools)
