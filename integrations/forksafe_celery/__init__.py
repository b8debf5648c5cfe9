"""Celery signals for `forksafe_pool`: pools are filled when a child starts, closed when it ends.

In the module of the Celery application::

    from forksafe_celery import install

    app = Celery("tasks", broker="redis://…")
    install()

It serves the prefork pool, whose children end by ``os._exit``, without ``atexit``. Celery's solo
pool says that a child starts too, so its one process is filled, but not that it ends; the pools of
threads and greenlets say neither, and connect when they are used.

No pool needs this to be safe: a fork is noticed without it.
"""

from forksafe_celery._install import install

__all__ = ["install"]
