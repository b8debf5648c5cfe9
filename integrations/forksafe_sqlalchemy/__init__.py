"""SQLAlchemy's ``QueuePool``, for engines that are made before a fork and used after it.

::

    from sqlalchemy import create_engine
    from forksafe_sqlalchemy import QueuePool

    engine = create_engine("postgresql+psycopg://…", poolclass=QueuePool)  # at import

No ``engine.dispose()`` in the workers: each finds the engine with an empty pool of its own.
"""

from forksafe_sqlalchemy._pool import QueuePool

__all__ = ["QueuePool"]
