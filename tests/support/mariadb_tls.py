"""MariaDB with a certificate."""

from __future__ import annotations

import shutil

from tests.support.certificates import write_certificate
from tests.support.mariadb import MariaDB


class TlsMariaDB(MariaDB):
    def prepare(self) -> None:
        super().prepare()
        write_certificate(self.folder)
        if self.user:
            for path in self.folder.glob("*.pem"):
                shutil.chown(path, self.user)

    def command(self) -> list[str]:
        return [
            *super().command(),
            f"--ssl-cert={self.folder / 'cert.pem'}",
            f"--ssl-key={self.folder / 'key.pem'}",
            "--require-secure-transport=ON",
        ]
