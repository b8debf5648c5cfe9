"""PyMongo, whose pool is below its client. The server is `echo`'s: a real one is not to be had."""

from __future__ import annotations

import sys
from typing import Any

import pymongo
from pymongo.pool_options import PoolOptions
from pymongo.synchronous.pool import Pool as PyMongoPool

import forksafe_pool
from tests.torture.sockets import TIMEOUT, Ours, Socket
from tests.torture.subject import PATIENCE, SIZE, Driver, Pool


class PyMongo(Socket):
    name = "PyMongo"
    server = "mongo"

    @property
    def where(self) -> tuple[str, int]:
        host, port, _ = self.address.split(":")
        return host, int(port)

    def connect(self) -> Any:
        options = PoolOptions(connect_timeout=TIMEOUT, socket_timeout=TIMEOUT)
        return PyMongoPool(self.where, options).connect()  # which the pool keeps no hold of

    def hear(self, conn: Any, word: str) -> list[str]:
        return list(conn.command("admin", {"echo": word})["heard"].split())


class OurPyMongo(Ours):
    def make(self, driver: Driver) -> forksafe_pool.Pool[Any]:
        return forksafe_pool.Pool(
            driver.connect,
            max_size=SIZE,
            timeout=PATIENCE,
            close=lambda conn: conn.close_conn(None),
            fileno=lambda conn: int(conn.conn.fileno()),
        )


class MongoClient(Pool):
    """Connections are taken and given back as its own commands do; an exhaust cursor keeps one."""

    name = "pymongo.MongoClient"

    def __init__(self, driver: PyMongo) -> None:
        self.client: Any = pymongo.MongoClient(
            *driver.where,
            directConnection=True,
            maxPoolSize=SIZE,
            waitQueueTimeoutMS=int(PATIENCE * 1000),
            serverSelectionTimeoutMS=int(PATIENCE * 1000),
            connectTimeoutMS=int(TIMEOUT * 1000),
            socketTimeoutMS=int(TIMEOUT * 1000),
        )
        self._blocks: dict[Any, Any] = {}

    def acquire(self) -> Any:
        block = self.client._conn_for_writes(None, "echo")
        conn = block.__enter__()
        self._blocks[conn] = block
        return conn

    def release(self, conn: Any) -> None:
        # With the error that ended the block, from which it may conclude that the server is gone.
        self._blocks.pop(conn).__exit__(*sys.exc_info())

    def close(self) -> None:
        self.client.close()

    def locks(self) -> dict[str, Any]:
        """Each once: the pool's conditions share its lock, as the topology's does."""
        topology = self.client._topology
        (server,) = topology._servers.values()
        return {
            "client._lock": self.client._lock,
            "topology._lock": topology._lock,
            "pool.lock": server.pool.lock,
        }
