"""A pytest plugin (``-p swap_sqlalchemy_pools``): SQLAlchemy's name stands for our class."""

from __future__ import annotations

from typing import Any

import sqlalchemy
import sqlalchemy.pool
import sqlalchemy.pool.impl

import forksafe_sqlalchemy

modules: list[Any] = [sqlalchemy, sqlalchemy.pool, sqlalchemy.pool.impl]
for module in modules:
    module.QueuePool = forksafe_sqlalchemy.QueuePool
