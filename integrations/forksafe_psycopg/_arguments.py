"""Check the arguments of ``psycopg.connect`` before the first connect."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from psycopg import AsyncCursor, Connection, ProgrammingError
from psycopg.adapt import AdaptersMap
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from forksafe_pool.extend import options

# The arguments of psycopg's connect besides libpq's parameters.
_ARGUMENTS = {
    name
    for name, parameter in inspect.signature(Connection.connect).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


def check_kinds(conninfo: object, kwargs: object) -> None:
    """Raise TypeError, without values that may contain a password."""
    if not isinstance(conninfo, str):
        raise TypeError(f"conninfo must be text, not {type(conninfo).__name__}")
    if kwargs is not None and not isinstance(kwargs, Mapping):
        given = type(kwargs).__name__
        raise TypeError(f"kwargs must be a mapping of connect's arguments, not {given}")


def check(conninfo: str, kwargs: dict[str, Any]) -> None:
    """Raise TypeError or ValueError, which name the argument and never show a password."""
    if "\0" in conninfo:
        raise ValueError("conninfo cannot be understood: there is a zero byte in it")
    try:
        written = conninfo_to_dict(conninfo)
    except (ProgrammingError, UnicodeError) as error:
        raise ValueError(f"conninfo cannot be understood: {_without_values(error)}") from None
    libpq = {info.keyword.decode() for info in Conninfo.get_defaults()}
    for name in kwargs:
        if name not in _ARGUMENTS | libpq:
            hint = options.did_you_mean(name, _ARGUMENTS | libpq)
            raise ValueError(f'kwargs["{name}"]: unknown argument of psycopg.connect{hint}')
    given = {f"{name} in conninfo": (name, value) for name, value in written.items()}
    given |= {f'kwargs["{name}"]': (name, value) for name, value in kwargs.items()}
    for where, (name, value) in given.items():
        if value is None:  # the default of each
            continue
        if name in libpq:
            _text(where, value)
        if name in _CHECKS:
            _CHECKS[name](where, value)


def _without_values(error: Exception) -> str:
    """libpq's message without the values it quotes, which may be a password; names are kept."""
    said = str(error).strip()
    if said.startswith(("invalid connection option", "invalid URI query parameter")):
        return said
    # The character that libpq misses, "=" or "]", may be quoted before the value.
    return re.sub(r'^((?:[^"]|"."(?!"))*)".*"', r"\1…", said, flags=re.DOTALL)


def _text(where: str, value: Any) -> None:
    # psycopg applies str(), which makes "b'localhost'" of bytes. The value is not shown,
    # because it may be a password.
    if isinstance(value, bytes | bytearray | list | tuple | dict | set):
        raise TypeError(f"{where} must be text or a number, not {type(value).__name__}")
    if "\0" in str(value):
        raise ValueError(f"{where} must be text that has no zero byte in it")


def _row_factory(where: str, value: Any) -> None:
    options.function(where, value, "cursor")


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
    for port in str(value).split(","):  # one per host; an empty one is the default
        try:
            is_one = not port or 0 < int(port) < 65536
        except ValueError:
            is_one = False
        if not is_one:
            # In a URL whose password contains a "/", libpq takes part of it for the port.
            shown = repr(value) if re.fullmatch(r"[-\d,]*", str(value)) else "other text"
            raise ValueError(f"{where} must be a number from 1 to 65535, not {shown}")


def _connect_timeout(where: str, value: Any) -> None:
    try:
        int(float(value))  # as psycopg does
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{where} must be a number of seconds, not {value!r}") from None


def _one_of(*values: str) -> Callable[[str, Any], None]:
    def check(where: str, value: Any) -> None:
        if str(value) not in values:
            hint = options.did_you_mean(str(value), values)
            raise ValueError(f"{where} must be one of {', '.join(values)}, not {value!r}{hint}")

    return check


# libpq checks the other parameters when it connects.
_CHECKS: dict[str, Callable[[str, Any], object]] = {
    "row_factory": _row_factory,
    "cursor_factory": _cursor_factory,
    "prepare_threshold": options.count,
    "context": _context,
    "autocommit": _autocommit,
    "port": _port,
    "connect_timeout": _connect_timeout,
    "sslmode": _one_of("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "gssencmode": _one_of("disable", "prefer", "require"),
    "channel_binding": _one_of("disable", "prefer", "require"),
    "load_balance_hosts": _one_of("disable", "random"),
    "target_session_attrs": _one_of(
        *("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
    ),
}
