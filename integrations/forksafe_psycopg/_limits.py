"""The time limit of ``psycopg.connect``, derived from the caller's timeout."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from psycopg.conninfo import conninfo_to_dict

# psycopg's minimum and default, in whole seconds.
_AT_LEAST = 2
_DEFAULT = 130


class ConnectLimit:
    """Passes ``connect_timeout``. A limit that the user has set is only shortened."""

    def __init__(
        self, connect: Callable[..., Any], conninfo: str, arguments: Mapping[str, Any]
    ) -> None:
        self._is_taken = _takes_connect_timeout(connect)
        self._given: dict[str, Any] = dict(conninfo_to_dict(conninfo))
        self._given |= {name: value for name, value in arguments.items() if value is not None}

    def arguments(self, timeout: float | None) -> dict[str, int]:
        """Arguments for ``connect``."""
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
        except (TypeError, ValueError, OverflowError):  # connect raises the error
            seconds = 0
        return max(_AT_LEAST, seconds) if seconds > 0 else _DEFAULT

    def _attempts(self) -> int:
        """psycopg applies the limit to each of several hosts."""
        hosts = [self._given.get("host") or os.environ.get("PGHOST", "")]
        hosts += [self._given.get("hostaddr") or ""]
        count = max(str(names).count(",") + 1 for names in hosts)
        twice = self._given.get("target_session_attrs") == "prefer-standby"
        return count * 2 if twice else count


def _takes_connect_timeout(connect: Callable[..., Any]) -> bool:
    """A custom class may have a ``connect`` that does not accept ``connect_timeout``."""
    try:
        # A decorator may accept fewer arguments than the function it wraps.
        inspect.signature(connect, follow_wrapped=False).bind("", connect_timeout=_AT_LEAST)
    except TypeError:
        return False
    except ValueError:  # written in C: no signature
        pass
    return True
