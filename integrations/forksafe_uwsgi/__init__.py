"""uWSGI hooks for `forksafe_pool`: pools are filled when a worker starts, closed when it ends.

In the application, as the last line of the module that uWSGI loads::

    from forksafe_uwsgi import install; install()

Last, since a hook is an attribute of the module ``uwsgi``: ours join those that are there, and
what sets one later, as the import of ``uwsgidecorators`` does, replaces ours. And since with
``--lazy-apps`` the worker has begun already: what is filled is what exists by then.

=================================  =============================================================
a worker, with ``--master`` or     filled when it starts, closed when it ends
without
with ``--lazy-apps``               filled by ``install()`` itself, for uWSGI calls no hook
a mule                             not filled, it may never need its pools; closed when it ends
a spooler                          not filled; uWSGI calls no hook at its end
all of these, without              cut off, when they start, from the connections that the master
``--lazy-apps``                    had in use: not even by mistake does one reach its server
the master                         left alone
elsewhere, under ``flask run``     nothing happens
=================================  =============================================================

uWSGI skips what is to be done at the end of a worker that is killed in the middle of a request;
the kernel closes its connections then.

No pool needs these hooks to be safe: a fork is noticed without them, also the one of uWSGI, which
runs none of Python's at-fork hooks. ``--py-call-uwsgi-fork-hooks`` runs them and does no harm;
``--py-call-osafterfork`` crashes the workers of CPython 3.13, with any application.
"""

from forksafe_uwsgi._install import install

__all__ = ["install"]
