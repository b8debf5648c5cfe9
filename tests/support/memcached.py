"""memcached, from Debian's package."""

from __future__ import annotations

import shutil

from tests.support.server import UNPRIVILEGED, Server

MISSING = None if shutil.which("memcached") else "no memcached here: apt-get install memcached"


class Memcached(Server):
    user = UNPRIVILEGED

    def command(self) -> list[str]:
        return ["memcached", "-l", self.host, "-p", str(self.port)]

    def answers(self) -> bool:
        return self.exchange(b"version\r\n").startswith(b"VERSION")
