"""Build an app's pools from its configuration. Nothing here connects.

Errors name the key and the fix. They show only the scheme of a URL, and only the name of an unknown
option: other parts may contain a password.
"""

from __future__ import annotations

import contextlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

import redis.connection
from redis import Redis
from redis.exceptions import RedisError

from forksafe_pool import Pool
from forksafe_pool.extend import options as checks
from forksafe_redis import BlockingConnectionPool

_CALLBACKS = ("connect", "check", "configure", "reset", "close", "fileno", "evict_on")

# Names of the same option in the two kinds of pool.
_TWINS = {"max_size": "max_connections", "max_connections": "max_size"}

# A dotted path: of a module, or of an attribute in it.
_DOTTED = r"(?!\d)\w+(\.(?!\d)\w+)*"

_parse_url: Any = redis.connection.parse_url


class RedisPool:
    """A redis-py pool and its client, with the methods of a `Pool` that leases need."""

    def __init__(self, pool: BlockingConnectionPool) -> None:
        self.pool = pool
        self.client = Redis(connection_pool=pool)
        self.connection = pool.connection
        self.stats = pool.stats


AnyPool = RedisPool | Pool[Any]


def build(config: Mapping[str, Any]) -> dict[str, AnyPool]:
    """Build the pools in ``FORKSAFE_POOL_URL`` and ``FORKSAFE_POOLS``, by name.

    Raises:
        TypeError, ValueError: the configuration is missing or wrong.
    """
    url, specs = config.get("FORKSAFE_POOL_URL"), config.get("FORKSAFE_POOLS")
    if not url and not specs:
        raise ValueError(
            'no pool is configured: set FORKSAFE_POOL_URL, to "redis://localhost:6379/0" for '
            "example, or FORKSAFE_POOLS, before init_app"
        )
    built: dict[str, AnyPool] = {}
    if url:
        built["default"] = _build_redis("FORKSAFE_POOL_URL", "", {"url": url, "name": "default"})
    if specs:
        _check_dict("FORKSAFE_POOLS", specs, '{"default": {"url": "redis://localhost:6379/0"}}')
        for name, spec in specs.items():
            if name in built:
                raise ValueError(
                    'FORKSAFE_POOL_URL and FORKSAFE_POOLS["default"] both define the pool '
                    '"default": remove one of them'
                )
            built[name] = _build_one(f'FORKSAFE_POOLS["{name}"]', name, spec)
    return built


def _build_one(where: str, name: str, spec: Any) -> AnyPool:
    _check_dict(where, spec, '{"url": "redis://localhost:6379/0"}')
    if ("url" in spec) == ("connect" in spec):
        raise ValueError(
            f'{where} must have either "url", for Redis, or "connect", for anything else; it has '
            f"{'both' if 'url' in spec else 'neither'}"
        )
    options = {"name": name, **spec}
    if options["name"] == "":
        raise ValueError(f"{where}: name must not be empty")
    if "url" in options:
        return _build_redis(where, '["url"]', options)
    _check_known(where, options, Pool)
    for option in _CALLBACKS:
        if isinstance(options.get(option), str):
            options[option] = _resolve(f'{where}["{option}"]', options[option])
    with _naming(where):
        return Pool(**options)


def _build_redis(where: str, url_key: str, options: dict[str, Any]) -> RedisPool:
    url = options.pop("url")
    in_url = _options_in_url(where + url_key, url)
    with _naming(where):
        # redis-py would replace 0 by its default.
        size = {"max_connections": 1, **options, **in_url}["max_connections"]
        checks.count("max_connections", size, at_least=1)
        _check_sense({**options, **in_url})
        pool = BlockingConnectionPool.from_url(url, **options)
        try:
            # Create one connection without connecting it, so that a wrong option fails now.
            pool.connection_class(**pool.connection_kwargs)
            return RedisPool(pool)
        except (TypeError, ValueError, RedisError) as error:
            wrong = error
    if isinstance(pool.connection_class, type):
        classes = (BlockingConnectionPool, pool.connection_class)
        _check_known(where, options, *classes)
        _check_known(f"{where}{url_key} query", in_url, *classes)
    with _naming(where):
        raise wrong


def _check_sense(options: Mapping[str, Any]) -> None:
    """Reject values that redis-py accepts although they are wrong, or that Redis rejects."""
    checks.seconds("health_check_interval", options.get("health_check_interval") or 0)
    name = options.get("client_name") or ""
    if not re.fullmatch("[!-~]*", str(name)):
        raise ValueError(f"client_name must be text without blanks, not {name!r}")


def _options_in_url(where: str, url: Any) -> dict[str, Any]:
    if not isinstance(url, str):
        raise TypeError(
            f'{where} must be text such as "redis://localhost:6379/0", not {type(url).__name__}'
        )
    problem = "must begin with redis://, rediss:// or unix://"
    if url.startswith(("redis://", "rediss://", "unix://")):
        problem = (
            "cannot be read: its port and the numbers in its query must be numbers, and special "
            "characters in its password must be percent-encoded (urllib.parse.quote)"
        )
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            path = "" if parts.scheme == "unix" else parts.path
            # An unescaped "/", "?" or "#" in the password has split the URL.
            if "@" not in path + parts.query + parts.fragment:
                if re.fullmatch(r"/?\d*/?", unquote(path)):
                    return dict(_parse_url(url))
                problem = "must end with the number of a database, /0 for example, or nothing"
    scheme = re.match(r"\w*://", url)
    raise ValueError(f"{where}: '{scheme[0] if scheme else ''}***' {problem}")


def _resolve(where: str, path: str) -> Any:
    """Import the function that ``"package.module:function"`` names."""
    if not re.fullmatch(f"{_DOTTED}:{_DOTTED}", path):
        raise ValueError(f'{where} must be a function, or text such as "package.module:function"')
    try:
        return pkgutil.resolve_name(path)
    except (Exception, SystemExit) as error:  # importing a module may raise anything
        raise ValueError(f'{where}: "{path}" cannot be imported: {_said(error)}') from error


def _check_dict(where: str, value: Any, example: str) -> None:
    if not isinstance(value, Mapping):
        raise TypeError(f"{where} must be a dict such as {example}, not {type(value).__name__}")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"{where}: a name must be text, not {name!r}")
        if not name:
            raise ValueError(f"{where}: a name must not be empty")


def _check_known(where: str, options: Iterable[str], *classes: type) -> None:
    """Reject options that no constructor of these classes, or of their bases, accepts."""
    bases = [base for cls in classes for base in cls.__mro__ if "__init__" in vars(base)]
    signatures = [inspect.signature(vars(base)["__init__"]) for base in bases]
    known = {name for signature in signatures for name in signature.parameters}
    for option in options:
        if option not in known:
            hint = checks.did_you_mean(_TWINS.get(option, option), known)
            raise ValueError(
                f'{where}["{option}"]: unknown option of {classes[0].__qualname__}{hint}'
            )


@contextlib.contextmanager
def _naming(where: str) -> Iterator[None]:
    """Prefix the key to an error message that names the option and the value."""
    try:
        yield
    except Exception as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{where}: {_said(error)}") from error


def _said(error: BaseException) -> str:
    """The message, prefixed with the error's class if it is unclear without it."""
    if isinstance(error, (TypeError, ValueError, ImportError, AttributeError, RedisError)):
        return str(error)
    return f"{type(error).__name__}: {error}"
