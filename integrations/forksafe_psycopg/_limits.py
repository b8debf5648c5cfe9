"""How long ``psycopg.connect`` may take: what it is told of the caller's timeout."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from psycopg.conninfo import conninfo_to_dict

# psycopg takes whole seconds, at least two, and so many where it is told nothing.
_AT_LEAST = 2
_DEFAULT = 130


class ConnectLimit:
    """A limit that the user has set is made shorter, never longer."""

    def __init__(
        self, connect: Callable[..., Any], conninfo: str, arguments: Mapping[str, Any]
    ) -> None:
        self._is_taken = _takes_connect_timeout(connect)
        self._given: dict[str, Any] = dict(conninfo_to_dict(conninfo))
        self._given |= {name: value for name, value in arguments.items() if value is not None}

    def arguments(self, timeout: float | None) -> dict[str, int]:
        """For ``connect``."""
        if timeout is None or not self._is_taken:
            return {}
        seconds = timeout / self._attempts()
        if seconds > self._seconds():
            return {}
        return {"connect_timeout": max(_AT_LEAST, math.ceil(seconds))}

    def _seconds(self) -> int:
        value = self._given.get("connect_timeout", os.environ.get("PGCONNECT_TIMEOUT"))
        try:
            seconds = int(float(value))  # type: ignore[arg-type] # psycopg's own rule
        except (TypeError, ValueError, OverflowError):  # connect will tell
            seconds = 0
        return max(_AT_LEAST, seconds) if seconds > 0 else _DEFAULT

    def _attempts(self) -> int:
        """psycopg takes the limit for each of several hosts."""
        hosts = [self._given.get("host") or os.environ.get("PGHOST", "")]
        hosts += [self._given.get("hostaddr") or ""]
        count = max(str(names).count(",") + 1 for names in hosts)
        twice = self._given.get("target_session_attrs") == "prefer-standby"
        return count * 2 if twice else count


def _takes_connect_timeout(connect: Callable[..., Any]) -> bool:
    """A class of one's own may have a ``connect`` that takes nothing of the kind."""
    try:
        # Decorated, it may take less than what it is shown to.
        inspect.signature(connect, follow_wrapped=False).bind("", connect_timeout=_AT_LEAST)
    except TypeError:
        return False
    except ValueError:  # written in C: it does not tell
        pass
    return True
