"""Check options that redis-py accepts unvalidated, and that would fail at the first request.

Values that redis-py can use are accepted: it only tests most options for truth, and a connection
class with a custom constructor may give them any meaning.
"""

from __future__ import annotations

import codecs
import inspect
import os
import re
import ssl
from collections.abc import Callable, Mapping
from operator import index
from threading import TIMEOUT_MAX
from typing import Any

from redis import connection

#: A description of valid values, and a function that tests one: if it raises, it is invalid.
_Check = tuple[str, Callable[[Any], bool]]

#: The value that redis-py's client passes for some options that were not set.
_UNSET = getattr(connection, "SENTINEL", object())


def _runs_now(function: Any) -> bool:
    return callable(function) and not inspect.iscoroutinefunction(function)


def _takes_a_connection(function: Any) -> bool:
    try:
        signature = inspect.signature(function)
    except ValueError:  # written in C: no signature
        return _runs_now(function)
    return _runs_now(function) and bool(signature.bind("connection"))


def _has(method: str) -> Callable[[Any], bool]:
    return lambda value: _runs_now(getattr(value, method))


def _makes_connections(value: Any) -> bool:
    if isinstance(value, type) and not hasattr(value, "__getattr__"):
        value = getattr(value, "connect", None)
    return _runs_now(value)


def _is_filled(value: Any) -> bool:
    return isinstance(value, str | bytes | bytearray) and len(value) > 0


def _is_whole(value: Any) -> bool:
    return isinstance(index(value), int)


def _is_number(value: Any) -> bool:
    return hasattr(value + 0.0, "__float__")


def _is_codec(value: Any) -> bool:
    return isinstance("a".encode(value), bytes)


def _is_error_handler(value: Any) -> bool:
    return callable(codecs.lookup_error(value))


def _is_timeout(value: Any) -> bool:
    # A socket rejects a larger timeout.
    return value is None or 0 < (value if isinstance(value, float) else index(value)) < TIMEOUT_MAX


def _is_database(value: Any) -> bool:
    if isinstance(value, bytes | bytearray):
        value = value.decode()
    if isinstance(value, str):
        return bool(re.fullmatch("0|[1-9][0-9]*", value))
    return value is not True and index(value) >= 0


def _are_socket_options(value: Any) -> bool:
    return all(
        _is_whole(name) and (isinstance(one, bytes | bytearray | memoryview) or _is_whole(one))
        for name, one in value.items()
    )


def _is_path(value: Any) -> bool:
    return len(os.fspath(value)) > 0


def _is_verify_mode(value: Any) -> bool:
    if value is None or isinstance(value, str):
        return value in (None, "none", "optional", "required")
    return isinstance(ssl.VerifyMode(value), int)


def _is_tls_version(value: Any) -> bool:
    return value is None or isinstance(ssl.TLSVersion(value), int)


def _are_ciphers(value: Any) -> bool:
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers(value)
    return True


def _are_errors(value: Any) -> bool:
    if not value:
        connection.Connection(retry_on_error=value)  # redis-py 5.0 accepts None
        return True
    if value is _UNSET:
        return True
    if not isinstance(value, list | tuple | set | frozenset):
        iter(value)  # iterating would exhaust a generator
        return True
    return all(issubclass(kind, BaseException) for kind in value)


_TIMEOUT: _Check = (f"a number of seconds above 0 and below {TIMEOUT_MAX:.0e}", _is_timeout)
_TEXT: _Check = (
    "text",
    lambda value: (
        isinstance(value, str | bytes | bytearray | memoryview | int | float) and value is not True
    ),
)

_PATH: _Check = ("a path", _is_path)

_ALWAYS: dict[str, _Check] = {
    "host": ("text, not empty", lambda value: value is None or _is_filled(value)),
    "port": ("a whole number from 1 to 65535", lambda value: 0 < int(value) < 65536),
    "path": ("text, not empty", _is_filled),
    "socket_type": ("a family of addresses, as in the module socket, or 0", _is_whole),
    "socket_timeout": _TIMEOUT,
    "socket_connect_timeout": _TIMEOUT,
    "socket_read_size": ("a whole number, 1 or more", lambda value: index(value) >= 1),
    "parser_class": ("a class of parsers", callable),
    "retry_on_error": ("a list of exceptions", _are_errors),
    "protocol": ("2 or 3", lambda value: value is None or int(value) in (2, 3)),
    "ssl_cert_reqs": ("none, optional, required or an ssl.VerifyMode", _is_verify_mode),
    "ssl_min_version": ("an ssl.TLSVersion", _is_tls_version),
}
_IF_TRUE: dict[str, _Check] = {
    "username": _TEXT,
    "password": _TEXT,
    "client_name": _TEXT,
    "db": ("a whole number, 0 or more", _is_database),
    "health_check_interval": ("a number of seconds", _is_number),
    "socket_keepalive_options": ("a dict of numbers by number", _are_socket_options),
    "encoding": ("a codec of text that Python knows", _is_codec),
    "encoding_errors": ("an error handler that Python knows", _is_error_handler),
    "retry": (
        "a redis.retry.Retry",
        lambda value: not isinstance(value, type) and _has("call_with_retry")(value),
    ),
    "credential_provider": ("a redis.CredentialProvider", _has("get_credentials")),
    "redis_connect_func": (
        "a function of one argument, the connection, that is not async",
        _takes_a_connection,
    ),
    **dict.fromkeys(("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_path"), _PATH),
    "ssl_ciphers": ("ciphers that OpenSSL knows", _are_ciphers),
    "command_packer": ("an object with a method pack()", _has("pack")),
}
_OF_POOLS: dict[str, _Check] = {
    "cache_config": ("a redis.cache.CacheConfig", _has("get_cache_class")),
    "event_dispatcher": ("a redis.event.EventDispatcher", _has("dispatch")),
    "maint_notifications_config": (
        "a MaintNotificationsConfig of redis-py's",
        lambda value: hasattr(value, "enabled"),
    ),
}

#: Options whose value may be a password, as part of a URL may be.
_SECRET = ("username", "password", "credential_provider")


def check_of_pool(options: Mapping[str, Any]) -> None:
    """Raise TypeError or ValueError, whose message names the option, if a value is wrong."""
    for name, value in options.items():
        if value and name in _OF_POOLS:
            _check(name, value, _OF_POOLS[name])


def check_of_connections(options: Mapping[str, Any], connection_class: Any) -> None:
    """Like `check_of_pool`, for the options that are passed to the connections."""
    if getattr(connection_class.__init__, "__module__", None) != connection.__name__:
        return
    for name, value in options.items():
        if name in _ALWAYS:
            _check(name, value, _ALWAYS[name])
        elif value and value is not _UNSET and name in _IF_TRUE:
            _check(name, value, _IF_TRUE[name])


def check_class(connection_class: Any) -> None:
    wanted = "a class of connections that is not async (a URL is for from_url)"
    _check("connection_class", connection_class, (wanted, _makes_connections))


def _check(name: str, value: Any, check: _Check) -> None:
    wanted, fits = check
    kind: type[Exception] = ValueError
    try:
        if fits(value):
            return
    except (TypeError, AttributeError):
        kind = TypeError
    except (ValueError, LookupError, OverflowError, OSError):
        pass
    hidden = name in _SECRET or (isinstance(value, str) and re.search("://|@", value))
    raise kind(f"{name} must be {wanted}, not {type(value).__name__ if hidden else repr(value)}")
