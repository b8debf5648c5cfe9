"""redis-py's connection pools, safe to build before a fork and to use after it."""

from forksafe_redis._blocking import BlockingConnectionPool
from forksafe_redis._lock import Lock
from forksafe_redis._pool import ConnectionPool
from forksafe_redis._sentinel import SentinelConnectionPool

__all__ = ["BlockingConnectionPool", "ConnectionPool", "Lock", "SentinelConnectionPool"]
