"""Who holds which connection to Redis, as the kernel and Redis itself have it."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import redis

from examples.demo.servers import Gunicorn

# The connections of this network namespace: only Linux has it.
_TCP = Path("/proc/net/tcp")


class Witness:
    """Looks at the processes of a server, again and again, and remembers the worst.

    Fork copies descriptors, and each copy leads to the same socket, which has one inode number:
    where two processes have the same, they share a connection.

    Parameters:
        server: whose processes.
        redis_port: connections to this port are looked at.
    """

    def __init__(self, server: Gunicorn, redis_port: int) -> None:
        self._server = server
        self._port = redis_port
        self._admin = redis.Redis(port=redis_port, client_name="witness")
        self.can_see = _TCP.exists()
        self.looks = 0
        self.masters = 0
        self.per_worker: list[int] = []
        self.shared = 0
        self.inherited = 0

    def look(self) -> None:
        if not self.can_see:
            return
        master = self._server.master
        workers = sorted(self._server.workers())
        held = {pid: self._inodes(pid) for pid in (master, *workers)}
        ports = self._local_ports()
        held = {pid: inodes & ports.keys() for pid, inodes in held.items()}
        owners = Counter(inode for inodes in held.values() for inode in inodes)
        shared = sum(count > 1 for count in owners.values())
        inherited = sum(len(held[worker] & held[master]) for worker in workers)
        clients: Any = self._admin.client_list()
        known = {int(client["addr"].rpartition(":")[2]) for client in clients}
        self.looks += 1
        self.masters = max(self.masters, len(held[master]))
        self.per_worker = [len({ports[i] for i in held[pid]} & known) for pid in workers]
        self.shared = max(self.shared, shared)
        self.inherited = max(self.inherited, inherited)

    def _local_ports(self) -> dict[str, int]:
        """For each connection to Redis, the client's end: its port by its socket's inode."""
        ports = {}
        for line in _TCP.read_text().splitlines()[1:]:
            fields = line.split()
            local, remote, inode = fields[1], fields[2], fields[9]
            if int(remote.rpartition(":")[2], 16) == self._port:
                ports[f"socket:[{inode}]"] = int(local.rpartition(":")[2], 16)
        return ports

    def _inodes(self, pid: int) -> set[str]:
        inodes = set()
        with contextlib.suppress(OSError):  # the process has ended
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):  # it has been closed
                    inodes.add(os.readlink(descriptor.path))
        return inodes

    def close(self) -> None:
        self._admin.close()
