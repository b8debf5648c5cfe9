"""What the conformance suite offers to whoever tests with forks, and what only these tests use."""

from __future__ import annotations

import os
from typing import Any

from forksafe_pool.conformance.children import (
    LIMIT,
    Child,
    ChildFailed,
    c_fork,
    in_child,
    nobody_asking_for_the_gil,
    open_descriptors,
    open_sockets,
    os_fork,
    others_stay_asleep,
)

__all__ = [
    "LIMIT",
    "Child",
    "ChildFailed",
    "c_fork",
    "in_child",
    "inode",
    "nobody_asking_for_the_gil",
    "open_descriptors",
    "open_sockets",
    "os_fork",
    "others_stay_asleep",
]


def inode(connection: Any) -> str:
    """Of the socket of a redis connection, as `open_sockets` tells it."""
    return os.readlink(f"/proc/self/fd/{connection._sock.fileno()}")
