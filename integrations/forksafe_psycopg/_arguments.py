"""What is given to ``psycopg.connect``, looked at before anybody connects."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from psycopg import AsyncCursor, Connection, ProgrammingError
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from forksafe_pool import _options

# What psycopg's connect takes beside the parameters of libpq.
_ARGUMENTS = {
    name
    for name, parameter in inspect.signature(Connection.connect).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def check(conninfo: str, kwargs: dict[str, Any]) -> None:
    """Raises TypeError or ValueError, which name the argument; a password does not show."""
    if "\0" in conninfo:
        raise ValueError("conninfo cannot be understood: there is a zero byte in it")
    try:
        written = conninfo_to_dict(conninfo)
    except (ProgrammingError, UnicodeError) as error:
        # libpq's message shows the spot; the whole may hold a password.
        raise ValueError(f"conninfo cannot be understood: {str(error).strip()}") from None
    libpq = {info.keyword.decode() for info in Conninfo.get_defaults()}
    for name in kwargs:
        if name not in _ARGUMENTS | libpq:
            hint = _options.did_you_mean(name, _ARGUMENTS | libpq)
            raise ValueError(f'kwargs["{name}"]: unknown argument of psycopg.connect{hint}')
    given = {f"{name} in conninfo": (name, value) for name, value in written.items()}
    given |= {f'kwargs["{name}"]': (name, value) for name, value in kwargs.items()}
    for where, (name, value) in given.items():
        if value is not None and name in _CHECKS:
            _CHECKS[name](where, value)


def _row_factory(where: str, value: Any) -> None:
    _options.function(where, value, "cursor")


def _cursor_factory(where: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{where} must be a class of cursors, not {value!r}")
    if isinstance(value, type) and issubclass(value, AsyncCursor):
        raise TypeError(f"{where} must be a class of cursors that are not async, not {value!r}")


def _context(where: str, value: Any) -> None:
    if not isinstance(getattr(value, "adapters", None), AdaptersMap):
        raise TypeError(f"{where} must have psycopg's adapters, as a connection has, not {value!r}")


def _autocommit(where: str, value: Any) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{where} must be True or False, not {value!r}")


def _port(where: str, value: Any) -> None:
    for port in str(value).split(","):  # one for each host; an empty one is the default
        try:
            is_one = not port or 0 < int(port) < 65536
        except ValueError:
            is_one = False
        if not is_one:
            raise ValueError(f"{where} must be a number from 1 to 65535, not {value!r}")


def _connect_timeout(where: str, value: Any) -> None:
    try:
        int(float(value))  # as psycopg does
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number of seconds, not {value!r}") from None


_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


def _sslmode(where: str, value: Any) -> None:
    if str(value) not in _SSL_MODES:
        hint = _options.did_you_mean(str(value), _SSL_MODES)
        raise ValueError(f"{where} must be one of {', '.join(_SSL_MODES)}, not {value!r}{hint}")


# None is the default of each. What is missing here, libpq tells of when it connects.
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "row_factory": _row_factory,
    "cursor_factory": _cursor_factory,
    "prepare_threshold": _options.count,
    "context": _context,
    "autocommit": _autocommit,
    "port": _port,
    "connect_timeout": _connect_timeout,
    "sslmode": _sslmode,
}
