"""What SQLAlchemy does when an engine connects for the first time, under a lock of its own."""

from __future__ import annotations

import inspect
import threading
from typing import Any


class FirstConnect:
    """Of one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_renewed = False


def renew(dispatch: Any, first: FirstConnect) -> None:
    """Before a process's first connection: let it begin afresh if a fork cut it off.

    A thread that was at it when the process forked is not there to finish it.
    """
    with first.lock:
        if not first.is_renewed:
            for listeners in (dispatch.connect, dispatch.first_connect):
                mutex = getattr(listeners, "_exec_once_mutex", None)
                if mutex is not None and mutex.locked():
                    listeners._exec_once_mutex = threading.Lock()
                    _begin_again(listeners)
            first.is_renewed = True


def _begin_again(listeners: Any) -> None:
    """Have the engine initialize its dialect: it marks that as done before it is."""
    for listener in filter(inspect.isfunction, listeners):
        kept = inspect.getclosurevars(listener).nonlocals
        if kept.get("retry_on_exception") and kept.get("once") == []:
            kept["once"].append(kept["fn"])
