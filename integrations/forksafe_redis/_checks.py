"""The options that redis-py takes on faith, to fail of them at the first request.

What it can work with, one way or another, passes.
"""

from __future__ import annotations

import codecs
import inspect
import re
from collections.abc import Callable
from threading import TIMEOUT_MAX
from typing import Any

from redis import connection

from forksafe_pool import _options


def _seconds(value: Any) -> float:
    return _options.seconds("it", value)


def _does(method: str) -> Callable[[Any], bool]:
    """Whether it is an object, not a class, with such a method."""
    return lambda value: not isinstance(value, type) and callable(getattr(value, method))


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _makes_connections(value: Any) -> bool:
    connect = getattr(value, "connect", None) if isinstance(value, type) else value
    return callable(connect) and not inspect.iscoroutinefunction(connect)


#: More fits in no clock of the system's.
_TIMEOUT = (
    f"a number of seconds above 0 and below {TIMEOUT_MAX:.0e}",
    lambda value: 0 < _seconds(value) < TIMEOUT_MAX,
)

_TEXT = ("text", lambda value: isinstance(value, str | bytes | int | float))

#: What redis-py's client passes on for some options that nobody gave.
_UNSET = getattr(connection, "SENTINEL", object())

# What each must be, and whether it is: where the question raises, it is not. None is the default.
_CHECKS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "host": ("text, not empty", lambda value: isinstance(value, str | bytes) and value),
    "port": ("a whole number from 1 to 65535", lambda value: 0 < int(str(value)) < 65536),
    "username": _TEXT,
    "password": _TEXT,
    "protocol": ("2 or 3", lambda value: int(value) in (2, 3)),
    "db": ("a whole number, 0 or more", lambda value: re.fullmatch(r"\d+", str(value))),
    "socket_type": ("a family of addresses, as in the module socket, or 0", _is_whole),
    "socket_timeout": _TIMEOUT,
    "socket_connect_timeout": _TIMEOUT,
    "health_check_interval": (
        "a number of seconds, 0 or more",
        lambda value: _seconds(value) >= 0,
    ),
    "socket_read_size": (
        "a whole number, 1 or more",
        lambda value: _is_whole(value) and value >= 1,
    ),
    "socket_keepalive_options": (
        "a dict of numbers by number",
        lambda value: all(map(_is_whole, (*value.keys(), *value.values()))),
    ),
    "client_name": _TEXT,
    "encoding": ("a codec of text that Python knows", lambda value: "a".encode(value)),
    "encoding_errors": ("an error handler that Python knows", codecs.lookup_error),
    "retry": ("a redis.retry.Retry", _does("call_with_retry")),
    "retry_on_error": (
        "a list of exceptions",
        lambda value: all(issubclass(kind, Exception) for kind in value),
    ),
    "credential_provider": ("a redis.CredentialProvider", _does("get_credentials")),
    "redis_connect_func": ("a function", callable),
    "command_packer": ("an object with a method pack()", _does("pack")),
    "parser_class": ("a class", callable),
    "connection_class": ("a class of connections that is not async", _makes_connections),
    "cache_config": ("a redis.cache.CacheConfig", _does("get_cache_class")),
    "event_dispatcher": ("a redis.event.EventDispatcher", _does("dispatch")),
    "maint_notifications_config": (
        "a MaintNotificationsConfig of redis-py's",
        lambda value: hasattr(value, "enabled"),
    ),
}

#: What stands there may be a password.
_SECRET = ("username", "password", "credential_provider")
_NEVER_NONE = ("encoding", "encoding_errors", "connection_class")


def check(name: str, value: Any) -> None:
    """Raise TypeError or ValueError, whose message names the option, where its value is wrong."""
    if name not in _CHECKS or value is _UNSET or (value is None and name not in _NEVER_NONE):
        return
    wanted, fits = _CHECKS[name]
    kind: type[Exception] = ValueError
    try:
        if fits(value):
            return
    except (TypeError, AttributeError):
        kind = TypeError
    except (ValueError, LookupError):
        pass
    shown = type(value).__name__ if name in _SECRET else repr(value)
    raise kind(f"{name} must be {wanted}, not {shown}")
