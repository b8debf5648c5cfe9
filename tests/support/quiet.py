"""A child of which nobody hears: it neither logs nor warns, and no finalizer in it raises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from forksafe_pool.conformance.children import in_child, quiet

LIMIT = 15.0


def in_quiet_child(function: Callable[[], Any], fork: Callable[[], int]) -> Any:
    """What ``function`` returned in a forked child that said nothing."""
    return in_child(quiet(function), fork, LIMIT)
