"""Connection pools for Flask: built with the app, before the fork, and used in every worker."""

from forksafe_flask._extension import ForkSafePool

__all__ = ["ForkSafePool"]
