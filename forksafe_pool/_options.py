"""Validate options at construction: the errors name the option, the value and the fix."""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import TypedDict  # a generic one: typing's is that since Python 3.11

    C = TypeVar("C")

    class PoolOptions(TypedDict, Generic[C], total=False):
        """What `Pool` takes by name, for integrations that pass it on; `reset` they may extend."""

        max_size: int
        min_size: int
        timeout: float | None
        max_waiting: int | None
        max_lifetime: float | None
        max_idle: float | None
        check: Callable[[C], object] | None
        check_after: float
        configure: Callable[[C], object] | None
        close: Callable[[C], object] | None
        fileno: Callable[[C], int] | None
        evict_on: Callable[[BaseException], object] | None
        name: str | None


#: The options of `Pool` that a driver takes.
_CALLBACKS = ("check", "configure", "reset", "close", "fileno", "evict_on")


def split(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split the options of `Pool` into the callbacks, which a driver takes, and the others."""
    callbacks = {name: value for name, value in options.items() if name in _CALLBACKS}
    return callbacks, {name: options[name] for name in options if name not in callbacks}


def count(name: str, value: Any, *, at_least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < at_least:
        raise ValueError(f"{name} must be at least {at_least}, not {value!r}")
    return value


def not_larger(name: str, value: int, limit_name: str, limit: int) -> None:
    if value > limit:
        raise ValueError(f"{name} must not be larger than {limit_name} ({limit}), not {value}")


def seconds(name: str, value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an integer too large for a float
        number = math.inf if value > 0 else -math.inf
    if math.isnan(number) or number < 0:
        raise ValueError(f"{name} must be 0 seconds or more, not {value!r}")
    return number


def seconds_or_none(name: str, value: Any) -> float | None:
    return None if value is None else seconds(name, value)


def function(name: str, value: Any, *arguments: str) -> Callable[..., Any]:
    """``value``, if it can be called with as many arguments as named here."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, not {value!r}")
    if any(_runs_later(code) for code in (value, getattr(value, "__call__", None))):  # noqa: B004
        raise TypeError(f"{name} must be a function that is no generator and not async: {value!r}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # written in C: it has no signature
        return value  # type: ignore[no-any-return]
    try:
        signature.bind(*arguments)
    except TypeError as error:
        call = f"{name}({', '.join(arguments)})"
        raise TypeError(
            f"{name} is called as {call}, which {value!r} does not take: {error}"
        ) from None
    return value  # type: ignore[no-any-return]


def takes_timeout(connect: Callable[..., Any]) -> inspect.Parameter | None:
    """The parameter ``timeout`` of a function that is to be told how long it may take.

    Not that of a class: what a constructor is given lasts as long as the object. Nor one that has
    a value already, by `functools.partial` or a default that is no number.
    """
    target: Any = connect
    while isinstance(target, functools.partial):
        if "timeout" in target.keywords:
            return None
        target = target.func
    if isinstance(target, type) or inspect.isbuiltin(target):
        return None
    try:
        parameter = inspect.signature(connect).parameters.get("timeout")
        # A decorator may accept fewer arguments than the function it wraps.
        inspect.signature(connect, follow_wrapped=False).bind_partial(timeout=None)
    except (TypeError, ValueError):
        return None
    if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
        return None
    default = parameter.default
    is_number = isinstance(default, int | float) and not isinstance(default, bool)
    is_open = default is parameter.empty or default is None or is_number
    return parameter if is_open else None


def connect_function(connect: Any) -> Callable[..., Any]:
    """``connect``, which may take a ``timeout``."""
    parameter = takes_timeout(connect) if callable(connect) else None
    if parameter is None or parameter.default is not parameter.empty:
        return function("connect", connect)
    function("connect", functools.partial(connect, timeout=None))
    return connect  # type: ignore[no-any-return]


def _runs_later(code: Any) -> bool:
    """Whether a call of it runs nothing yet."""
    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    return any(is_kind(code) for is_kind in kinds)


def function_or_none(name: str, value: Any, *arguments: str) -> Callable[..., Any] | None:
    return None if value is None else function(name, value, *arguments)


def judge_of_errors_or_none(name: str, value: Any) -> Callable[..., Any] | None:
    """A function of an error, which a class of errors is not: what it returns is always true."""
    classes = value if isinstance(value, tuple) and value else (value,)
    if all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in classes):
        named = ", ".join(kind.__name__ for kind in classes)
        named = f"({named})" if isinstance(value, tuple) else named
        raise TypeError(
            f"{name} must be a function of the error, not {value!r}: "
            f"give lambda error: isinstance(error, {named})"
        )
    return function_or_none(name, value, "error")


def function_or_statement(name: str, value: Any) -> Any:
    """``value``, if it is None, a statement of SQL, or what may be a function: `function` tells."""
    if value is None or callable(value) or (isinstance(value, str) and value.strip()):
        return value
    kind = ValueError if isinstance(value, str) else TypeError
    raise kind(f"{name} must be a function or a statement of SQL, not {value!r}")


def text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {value!r}")
    return value


def text_or_none(name: str, value: Any) -> str | None:
    return None if value is None else text(name, value)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that is not known; empty if there is no close match."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return "".join(f', did you mean "{near}"?' for near in close)
