"""uWSGI hooks for `forksafe_pool`: fill pools when a worker starts, close them when it stops.

In the application, as the last line of the module that uWSGI loads::

    from forksafe_uwsgi import install; install()

It must be last for two reasons. A hook is an attribute of the module ``uwsgi``: ours are combined
with existing ones, and code that sets a hook later, such as the import of ``uwsgidecorators``,
replaces ours. And with ``--lazy-apps`` the worker has already started: only pools that exist at
that moment are filled.

=================================  =============================================================
a worker, with or without          pools are filled when it starts, closed when it stops
``--master``
with ``--lazy-apps``               filled by ``install()`` itself, because uWSGI calls no hook
a mule                             not filled: it may not use its pools; closed when it stops
a spooler                          not filled; uWSGI calls no hook when it stops
all of these, without              severed from the master's connections in use when they start:
``--lazy-apps``                    not even by mistake can one of these reach its server
the master                         not affected
elsewhere, under ``flask run``     nothing happens
=================================  =============================================================

uWSGI runs no ``atexit`` hook for a worker that is killed during a request; the kernel closes its
connections then.

Pools are fork-safe without these hooks, even with uWSGI's own fork, which runs none of Python's
at-fork hooks. ``--py-call-uwsgi-fork-hooks`` runs them and is harmless;
``--py-call-osafterfork`` crashes the workers of CPython 3.13, with any application.
"""

from forksafe_uwsgi._install import install

__all__ = ["install"]
