"""A connection pool that survives ``fork()``: build it once, at import; use it in every worker."""

from forksafe_pool._errors import (
    PoolBackOff,
    PoolClosed,
    PoolError,
    PoolTimeout,
    TooManyWaiting,
)
from forksafe_pool._pool import Pool, pools
from forksafe_pool._stats import PoolStats
from forksafe_pool.workers import close_pools, fill_pools

__version__ = "0.1.0"

__all__ = [
    "Pool",
    "PoolBackOff",
    "PoolClosed",
    "PoolError",
    "PoolStats",
    "PoolTimeout",
    "TooManyWaiting",
    "close_pools",
    "fill_pools",
    "pools",
]
