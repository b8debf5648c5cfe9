"""Celery signals for `forksafe_pool`: fill pools when a child starts, close them when it stops.

In the module of the Celery application::

    from forksafe_celery import install

    app = Celery("tasks", broker="redis://…")
    install()

This is for the prefork pool, whose children exit by ``os._exit``, without ``atexit``. The solo pool
signals start but not shutdown: its pools are filled and not closed. Thread and greenlet pools send
neither signal: their pools connect on first use.

Pools are fork-safe without this.
"""

from forksafe_celery._install import install

__all__ = ["install"]
