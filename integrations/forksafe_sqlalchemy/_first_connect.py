"""What SQLAlchemy does when an engine connects for the first time, under a lock of its own."""

from __future__ import annotations

import inspect
import threading
from typing import Any

from forksafe_pool._ledger import Ledger


def renew(dispatch: Any, ledger: Ledger[Any]) -> None:
    """Before a process's first connection: let it begin afresh if a fork cut it off.

    A thread that was at it when the process forked is not there to finish it.
    """
    with ledger.lock:
        if not ledger.notes.get("first_connect"):
            for listeners in (dispatch.connect, dispatch.first_connect):
                mutex = getattr(listeners, "_exec_once_mutex", None)
                if mutex is not None and mutex.locked():
                    listeners._exec_once_mutex = threading.Lock()
                    _begin_again(listeners)
            ledger.notes["first_connect"] = True


def _begin_again(listeners: Any) -> None:
    """Have the engine initialize its dialect: it marks that as done before it is."""
    for listener in filter(inspect.isfunction, listeners):
        kept = inspect.getclosurevars(listener).nonlocals
        if kept.get("retry_on_exception") and kept.get("once") == []:
            kept["once"].append(kept["fn"])
