"""What the kernel counts of this process's TCP connections: ``TCP_INFO``."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable

# Where they are in linux/tcp.h's struct tcp_info. Segments are counted by those with data alone:
# the kernel acknowledges what came whenever it likes.
_SIZE = 208
_STATE = struct.Struct("=B")
_BYTES_RECEIVED = struct.Struct("=128xQ")
_DATA_SEGMENTS_OUT = struct.Struct("=156xI")
_BYTES_SENT = struct.Struct("=200xQ")


def counters(sockets: Iterable[str]) -> dict[str, list[int]]:
    """For each TCP socket among these ``socket:[inode]``: its state, and what it has transmitted.

    It leaves the established state when either end has closed it.
    """
    wanted = set(sockets)
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{name}")
            if target in wanted:
                with socket.socket(fileno=os.dup(int(name))) as sock:
                    if sock.family == socket.AF_INET:
                        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
                        found[target] = _read(info)
    return found


def _read(info: bytes) -> list[int]:
    return [
        field.unpack_from(info)[0]
        for field in (_STATE, _BYTES_RECEIVED, _DATA_SEGMENTS_OUT, _BYTES_SENT)
        if len(info) >= field.size
    ]
