"""The time limit of ``connect``, derived from the caller's timeout."""

from __future__ import annotations

import functools
import inspect
import math
import os
import sys
from collections.abc import Callable
from typing import Any

# PyMySQL's maximum. A longer timeout needs no limit.
_AT_MOST = 31536000


class ConnectLimit:
    """Derives from ``connect`` itself, which may be a driver's function with arguments bound by
    `partial`, which arguments limit it. A limit that the user has set is only shortened.
    """

    def __init__(self, connect: Callable[..., Any]) -> None:
        is_partial = isinstance(connect, functools.partial)
        function: Any = connect.func if is_partial else connect  # type: ignore[attr-defined]
        self._args: tuple[Any, ...] = connect.args if is_partial else ()  # type: ignore[attr-defined]
        self._bound: dict[str, Any] = connect.keywords if is_partial else {}  # type: ignore[attr-defined]
        modules = {_package(kind) for kind in getattr(function, "__mro__", (function,))}
        # PyMySQL's connect_timeout covers only the TCP connect, not the server's greeting.
        self._lends_read_timeout = "pymysql" in modules and _takes(connect, "read_timeout")
        self._is_libpq = "psycopg2" in modules
        self._parameters = _parameters(connect)
        #: Whether it is a driver's own function. Its ``timeout`` may have another meaning:
        #: sqlite3's applies to its locks, pg8000's to every read.
        self.is_a_driver_s = any(hasattr(sys.modules.get(name), "apilevel") for name in modules)
        self._is_known = _takes(connect, "connect_timeout") and (
            self._is_libpq or "MySQLdb" in modules or "connect_timeout" in self._parameters
        )

    def arguments(self, timeout: float) -> dict[str, int]:
        """Arguments for ``connect``: whole seconds, since most drivers accept only those."""
        if not self._is_known or timeout > _AT_MOST:
            return {}
        seconds = max(1, math.ceil(timeout / self._attempts()))
        given = self._given("connect_timeout")
        arguments = {}
        if given is None or given > seconds:
            arguments["connect_timeout"] = seconds
        if self._lends_read_timeout:
            given = self._given("read_timeout")
            if given is None or given > seconds:
                arguments["read_timeout"] = seconds
        return arguments

    def lift(self, conn: Any, arguments: dict[str, int]) -> None:
        """Restore the read timeout after connecting."""
        if "read_timeout" in arguments and hasattr(conn, "_read_timeout"):
            conn._read_timeout = self._given("read_timeout")

    def _given(self, name: str) -> float | None:
        value = self._bound.get(name)
        if value is None and self._is_libpq:
            value = self._dsn().get(name) or os.environ.get("PGCONNECT_TIMEOUT")
        if value is None and name in self._parameters:
            value = self._parameters[name].default
        try:
            seconds = float(value)  # type: ignore[arg-type] # raises if invalid
        except (TypeError, ValueError):
            return None
        return seconds if seconds > 0 else None  # 0 means no limit

    def _attempts(self) -> int:
        """libpq applies the limit to each of several hosts."""
        if not self._is_libpq:
            return 1
        hosts = self._bound.get("host") or self._dsn().get("host") or os.environ.get("PGHOST", "")
        return str(hosts).count(",") + 1

    def _dsn(self) -> dict[str, Any]:
        dsn = self._args[0] if self._args else self._bound.get("dsn")
        try:
            parsed: dict[str, Any] = sys.modules["psycopg2.extensions"].parse_dsn(dsn)
        except Exception:  # connect raises the error
            return {}
        return parsed


def _package(function: Any) -> str:
    """The name of the function's package: "sqlite3" also for a function in _sqlite3."""
    module = getattr(function, "__module__", None)
    return str(module).partition(".")[0].lstrip("_")


def _takes(connect: Callable[..., Any], name: str) -> bool:
    """A decorator may accept fewer arguments than the function it wraps."""
    try:
        inspect.signature(connect, follow_wrapped=False).bind_partial(**{name: 1})
    except TypeError:
        return False
    except ValueError:  # written in C: no signature
        pass
    return True


def _parameters(connect: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(connect).parameters)
    except (TypeError, ValueError):  # written in C: no signature
        return {}
