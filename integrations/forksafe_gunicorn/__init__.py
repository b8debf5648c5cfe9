"""gunicorn hooks for `forksafe_pool`: pools are filled when a worker starts, closed when it ends.

With a ``gunicorn.conf.py``, as its last line::

    from forksafe_gunicorn import install; install(globals())

Without one: ``gunicorn -c python:forksafe_gunicorn app:app``, for which the hooks are globals of
this module. gunicorn applies every global that bears the name of a setting, so nothing else here
may bear one.

No pool needs these hooks to be safe: a fork is noticed without them. They add what only the server
knows, the beginning and the end of a worker, and none of them ever raises.
"""

from forksafe_gunicorn._hooks import child_exit, post_fork, post_worker_init, worker_exit
from forksafe_gunicorn._install import install

__all__ = ["child_exit", "install", "post_fork", "post_worker_init", "worker_exit"]
