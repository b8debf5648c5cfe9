"""The extension: pools per app, and a connection per app context."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any

from flask import Flask, current_app, g
from redis import Redis

from forksafe_flask import _cli, _config
from forksafe_pool import Pool, PoolStats
from forksafe_pool.extend import Lease
from forksafe_redis import BlockingConnectionPool

# Keys under which an app context keeps its `_Leases`, and an app its pools: the pools are stored
# in the app, because a pool's `connect` may refer to the app.
_LEASES = "_forksafe_pool_leases"
_POOLS = "_forksafe_pool_pools"


class ForkSafePool:
    """Connection pools for Flask apps, safe to build before a fork and to use after it.

    One object serves any number of apps::

        pools = ForkSafePool()

        def create_app():
            app = Flask(__name__)
            app.config["FORKSAFE_POOL_URL"] = "redis://localhost:6379/0"
            pools.init_app(app)
            return app

        pools.redis.get("key")  # in a view

    ``FORKSAFE_POOL_URL`` defines one pool, named "default". ``FORKSAFE_POOLS`` defines several::

        FORKSAFE_POOLS = {
            "default": {"url": "redis://localhost:6379/0", "max_connections": 20},
            "cache": {"url": "redis://localhost:6379/1", "timeout": 1.0},
            "database": {
                "connect": "shop.database:connect",
                "reset": "shop.database:rollback",
                "max_size": 5,
            },
        }

    A pool with a ``url`` is a `forksafe_redis.BlockingConnectionPool`. Its other entries are that
    class's options, including redis-py's; they may also be in the URL's query. A pool with
    ``connect`` is a `forksafe_pool.Pool`. Its other entries are the options of that class; each
    callback is a function or ``"package.module:function"``. A pool is named after its key, unless
    it has a ``name``.

    ``app.extensions["forksafe_pool"]`` is the object that serves the app.

    Parameters:
        app: an app for `init_app`.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Build the app's pools from its configuration. Nothing is connected.

        Parameters:
            app: the app; its configuration must be complete.

        Raises:
            RuntimeError: the app already has a `ForkSafePool`.
            TypeError, ValueError: the configuration is missing or wrong; the message names the
                key.
        """
        if not isinstance(app, Flask):  # its value is not shown: a URL may contain a password
            raise TypeError(f"app must be a Flask app, not {type(app).__name__}")
        if "forksafe_pool" in app.extensions:
            raise RuntimeError(f"{app} has a ForkSafePool already: call init_app once for each app")
        pools = _config.build(app.config)
        app.teardown_appcontext(_give_back)
        app.shell_context_processor(lambda: {"pools": self})
        app.cli.add_command(_cli.group)
        app.extensions["forksafe_pool"] = self
        app.extensions[_POOLS] = pools

    @property
    def redis(self) -> Redis:
        """The Redis client of the pool "default"; see `get_redis`."""
        return self.get_redis()

    def get_redis(self, name: str = "default") -> Redis:
        """Return the redis-py client of a pool, always the same one for an app and a pool.

        Parameters:
            name: the pool's name in the configuration.

        Raises:
            TypeError: the pool is not configured with a ``url``.
            LookupError: there is no pool of that name.
            RuntimeError: there is no app context, or `init_app` was not called with its app.
        """
        pool = self._find(name)
        if isinstance(pool, _config.RedisPool):
            return pool.client
        raise TypeError(
            f'the pool "{name}" has no Redis client, since it is made with "connect": use '
            f'get_pool("{name}") or connection("{name}"), or give FORKSAFE_POOLS["{name}"] a "url"'
        )

    def get_pool(self, name: str = "default") -> BlockingConnectionPool | Pool[Any]:
        """Return a pool, whose class depends on whether it has a ``url`` or ``connect``.

        Parameters:
            name: the pool's name in the configuration.

        Raises:
            LookupError, RuntimeError: as `get_redis`.
        """
        pool = self._find(name)
        return pool.pool if isinstance(pool, _config.RedisPool) else pool

    def connection(self, name: str = "default") -> Any:
        """Return a connection for this app context, usually the request.

        The first call in a context acquires it; later calls return the same one, unless you
        released it yourself or the process forked. It is released when the context ends. If the
        request fails, its exception may have interrupted a reply or a transaction, so the
        connection is closed, as by `forksafe_pool.Pool.connection`, unless the pool has a ``reset``
        that shows it to be usable.

        Each thread, or greenlet, that runs in a copy of the context (``asyncio.to_thread``) gets
        its own connection, and so does an ``async`` view, which runs in a thread. All are released
        when the context ends, so join your threads; the connection of a finished thread may be
        released earlier.

        An error that the app handles (``errorhandler``, ``try``/``except``) does not count as a
        failure: the connection is released as after any request. So give a pool of database
        connections a ``reset`` that rolls back.

        A streamed response outlives the context of its view. Wrap its generator in
        ``flask.stream_with_context``, and call this in the generator: connections that the view
        acquired are released before the generator runs. A connection that is acquired in a copy of
        the request's context (``contextvars.copy_context``) after the request has ended is closed
        when the copy is destroyed.

        Parameters:
            name: the pool's name in the configuration.

        Raises:
            LookupError, RuntimeError: as `get_redis`.
            Exception: any error of the pool's ``acquire``, or ``get_connection`` for Redis.
        """
        pool = self._find(name)
        key = threading.current_thread(), name
        while True:
            leases: _Leases = g.setdefault(_LEASES, _Leases())
            leased = leases.get(key)
            if leased is not None:
                if leased[0].holds():
                    return leased[1]
                leases.pop(key, None)
            leases.end_of_ended_threads()
            lease = pool.connection()
            mine = lease, lease.__enter__()
            leases = g.setdefault(_LEASES, _Leases())
            leased = leases.setdefault(key, mine)
            if leased is not mine:  # a signal handler in this thread has acquired one
                lease.__exit__(None, None, None)
            # Another thread may have ended the context, and these leases with it.
            if g.get(_LEASES) is leases:
                return leased[1]
            leases.end(None)

    def stats(self) -> dict[str, PoolStats]:
        """Return the statistics of this process's pools, by name.

        Raises:
            RuntimeError: as `get_redis`.
        """
        return {name: pool.stats() for name, pool in self._pools().items()}

    def _find(self, name: str) -> _config.AnyPool:
        pools = self._pools()
        try:
            return pools[name]
        except KeyError:
            known = ", ".join(f'"{known}"' for known in pools)
            raise LookupError(
                f'there is no pool "{name}", only {known}: add FORKSAFE_POOLS["{name}"] to the '
                "configuration, before init_app"
            ) from None

    def _pools(self) -> dict[str, _config.AnyPool]:
        try:
            app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
        except RuntimeError:
            raise RuntimeError(
                "a ForkSafePool needs an app context, to know whose pools are meant: use it in a "
                "request or a command of Flask's, or within `with app.app_context():`; in a "
                "thread, run the function by contextvars.copy_context().run; in a streamed "
                "response, wrap the generator in flask.stream_with_context"
            ) from None
        if app.extensions.get("forksafe_pool") is not self:
            raise RuntimeError(
                f"this ForkSafePool does not serve {app}: call its init_app(app) when the app is "
                "made"
            )
        pools: dict[str, _config.AnyPool] = app.extensions[_POOLS]
        return pools


class _Leases(dict[tuple[threading.Thread, str], tuple[Lease[Any], Any]]):
    """The leases of an app context: the lease and the connection, by thread and pool name. Threads
    share it without a lock: each thread writes only its own entries, and single operations of a
    dict are atomic."""

    def end(self, error: BaseException | None) -> None:
        """End all leases, even if one fails. An interrupted call leaves its entries in the dict."""
        kind = None if error is None else type(error)
        traceback = None if error is None else error.__traceback__
        with ExitStack() as stack:
            for key in list(self):
                stack.callback(self._end_one, key, kind, error, traceback)

    def _end_one(self, key: tuple[threading.Thread, str], *error: Any) -> None:
        leased = self.pop(key, None)  # if two threads do this, only one gets it
        if leased is not None:
            leased[0].__exit__(*error)

    def end_of_ended_threads(self) -> None:
        """So that a request that runs many threads in sequence needs few connections."""
        with ExitStack() as stack:
            for key in list(self):
                leased = self.get(key)
                # The thread of an inherited lease is unknown, but the lease need not be released.
                if leased is not None and leased[0].holds() and _has_ended(key[0]):
                    stack.callback(self._end_one, key, None, None, None)

    def __del__(self) -> None:
        if self:  # acquired after the context ended, or left by a signal handler's exception
            self.end(GeneratorExit())


def _has_ended(thread: threading.Thread) -> bool:
    try:
        return not thread.is_alive()
    except (AssertionError, RuntimeError):  # a greenlet's, or one that Python did not start
        return True


def _give_back(error: BaseException | None) -> None:
    """Release the leases at the end of each app context; most have none.

    With `flask.stream_with_context` the same context ends twice, and is used in between.
    """
    leases = g.pop(_LEASES, None)
    if leases:
        leases.end(error)
