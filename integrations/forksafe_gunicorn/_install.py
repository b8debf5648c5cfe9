"""Join our hooks to those that a configuration has already."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, MutableMapping
from typing import Any

from gunicorn.config import make_settings

from forksafe_gunicorn import _hooks

Hook = Callable[..., Any]

# Before what the configuration has, and after it.
_FIRST: tuple[Hook, ...] = (_hooks.post_fork, _hooks.post_worker_init)
_LAST: tuple[Hook, ...] = (_hooks.worker_exit, _hooks.child_exit)


def install(config: MutableMapping[str, Any]) -> None:
    """Add our hooks to a gunicorn configuration: ``install(globals())``, as its last line.

    Hooks that the configuration has stay: ours run before them when a worker starts, and after
    them when it ends, even where they raise. What they raise is gunicorn's to judge, as ever.
    Whatever gunicorn takes for a hook will do: a function, any other callable,
    ``"package.module.function"``.

    Installing twice is the same as once. Only ``config`` is changed, no function is: gunicorn may
    execute a configuration again, as it does at every HUP.

    Parameters:
        config: the globals of the configuration, in which hooks are looked up by name and set.

    Raises:
        TypeError: ``config`` is no dict.
    """
    if not isinstance(config, MutableMapping):
        raise TypeError(
            f"config must be the globals of the configuration, install(globals()), not {config!r}"
        )
    settings = make_settings()
    for ours in _FIRST + _LAST:
        name = ours.__name__
        # The setting resolves names and counts parameters. A hook that it refuses is left alone:
        # gunicorn refuses it as well, in its own words, as soon as it reads the configuration.
        with contextlib.suppress(Exception):
            if name in config:
                settings[name].set(config[name])
            config[name] = _join(ours, settings[name].get())


def _join(ours: Hook, theirs: Hook) -> Hook:
    if inspect.unwrap(theirs) is ours:
        return theirs

    # wraps() shows the parameters of ours, which gunicorn counts, and marks the hook as joined.
    @functools.wraps(ours)
    def hook(*args: Any) -> None:
        if ours in _FIRST:
            ours(*args)
            theirs(*args)
        else:
            try:
                theirs(*args)
            finally:
                ours(*args)

    return hook
