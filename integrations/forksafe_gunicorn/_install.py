"""Join our hooks to those that a configuration has already."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

from gunicorn.config import make_settings

from forksafe_gunicorn import _hooks
from forksafe_pool import workers

# Before what the configuration has, and after it.
_FIRST: tuple[workers.Hook, ...] = (_hooks.post_fork, _hooks.post_worker_init)
_LAST: tuple[workers.Hook, ...] = (_hooks.worker_exit, _hooks.child_exit)


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
            theirs = settings[name].get()
            config[name] = workers.join_hooks(ours, theirs, ours_last=ours in _LAST)
