"""gunicorn hooks for `forksafe_pool`: fill pools when a worker starts, close them when it stops.

With a ``gunicorn.conf.py``, as its last line::

    from forksafe_gunicorn import install; install(globals())

Without one: ``gunicorn -c python:forksafe_gunicorn app:app``, which uses the hooks as globals of
this module. gunicorn applies every global whose name is a setting, so this module must define no
other such name.

Pools are fork-safe without these hooks. They only add start and stop of a worker, and never raise.
"""

from forksafe_gunicorn._hooks import child_exit, post_fork, post_worker_init, worker_exit
from forksafe_gunicorn._install import install

__all__ = ["child_exit", "install", "post_fork", "post_worker_init", "worker_exit"]
