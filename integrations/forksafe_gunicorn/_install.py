"""Combine our hooks with those of a configuration."""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

from gunicorn.config import make_settings

from forksafe_gunicorn import _hooks
from forksafe_pool import workers

# Run before the configuration's hooks, and after them.
_FIRST: tuple[workers.Hook, ...] = (_hooks.post_fork, _hooks.post_worker_init)
_LAST: tuple[workers.Hook, ...] = (_hooks.worker_exit, _hooks.child_exit)


def install(config: MutableMapping[str, Any]) -> None:
    """Add our hooks to a gunicorn configuration: ``install(globals())``, as its last line.

    Existing hooks are kept: ours run before them when a worker starts, and after them when it
    stops, even if they raise. Their exceptions reach gunicorn as before. Any form that gunicorn
    accepts is supported: a function, any other callable, ``"package.module.function"``.

    Installing twice has no effect. Only ``config`` is changed, and no function: gunicorn may
    execute a configuration again, as it does on every HUP.

    Parameters:
        config: the globals of the configuration, in which hooks are looked up by name and set.

    Raises:
        TypeError: ``config`` is not a dict.
    """
    if not isinstance(config, MutableMapping):
        raise TypeError(
            f"config must be the globals of the configuration, install(globals()), not {config!r}"
        )
    settings = make_settings()
    for ours in _FIRST + _LAST:
        name = ours.__name__
        # The setting resolves names and counts parameters. A hook that it rejects is left alone:
        # gunicorn rejects it with its own message when it reads the configuration.
        with contextlib.suppress(Exception):
            if name in config:
                settings[name].set(config[name])
            theirs = settings[name].get()
            config[name] = workers.join_hooks(ours, theirs, ours_last=ours in _LAST)
