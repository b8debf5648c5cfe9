"""MariaDB, from Debian's ``mariadb-server``."""

from __future__ import annotations

import shutil
import subprocess

from tests.support.server import UNPRIVILEGED, Server

MISSING = None if shutil.which("mariadbd") else "no MariaDB here: apt-get install mariadb-server"


class MariaDB(Server):
    """Its root has no password.

    Its ``tmpdir`` is its own: a server that starts removes every temporary table there, those of
    other servers too.
    """

    user = UNPRIVILEGED

    def prepare(self) -> None:
        if self.user:
            shutil.chown(self.folder, self.user)
        done = subprocess.run(
            [
                *("mariadb-install-db", "--no-defaults", f"--datadir={self.folder / 'data'}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
                f"--tmpdir={self.folder}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            user=self.user,
            cwd=self.folder,
        )
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db ended with {done.returncode}:\n{done.stdout}")

    def command(self) -> list[str]:
        options = {
            "datadir": self.folder / "data",
            "tmpdir": self.folder,
            "bind-address": self.host,
            "port": self.port,
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "innodb-flush-log-at-trx-commit": 0,
            "innodb-buffer-pool-size": "16M",
        }
        return [
            "mariadbd",
            "--no-defaults",
            *(f"--{key}={value}" for key, value in options.items()),
        ]

    def answers(self) -> bool:
        return b"MariaDB" in self.exchange(b"")

    def url(self, driver: str) -> str:
        """For SQLAlchemy: ``driver`` is ``pymysql`` or ``mysqldb``."""
        return f"mysql+{driver}://root@{self.host}:{self.port}/mysql"
