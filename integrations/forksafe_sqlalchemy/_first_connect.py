"""Repairs SQLAlchemy's first connect of an engine, which runs under SQLAlchemy's own lock."""

from __future__ import annotations

import inspect
import threading
from typing import Any


class FirstConnect:
    """Its state in one process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_renewed = False


def renew(dispatch: Any, first: FirstConnect) -> None:
    """Before a process's first connection: restart the first connect if a fork interrupted it.

    The thread that was running it does not exist in the child.
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
    """Make the engine initialize its dialect: SQLAlchemy marks that as done before it has run."""
    for listener in filter(inspect.isfunction, listeners):
        kept = inspect.getclosurevars(listener).nonlocals
        if kept.get("retry_on_exception") and kept.get("once") == []:
            kept["once"].append(kept["fn"])
