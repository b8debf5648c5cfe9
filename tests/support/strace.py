"""What a program and its children said to the kernel about their sockets, by strace."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

# All that reads, writes, ends or changes an open socket, for everybody who has it open. Closing
# one's own copy, or making it lead elsewhere, is not among it.
_TRACED = (
    "%network,read,readv,?preadv,?preadv2,write,writev,?pwritev,?pwritev2,"
    "sendfile,splice,tee,vmsplice,ioctl,fcntl,?io_submit,?io_uring_enter"
)
_HARMLESS = re.compile(
    r"getsockname\(|getpeername\(|getsockopt\(|fcntl\([^,]*, (F_GETFD|F_SETFD|F_GETFL|F_DUPFD)"
)


def _find_out_why_not() -> str | None:
    if shutil.which("strace") is None:
        return "no strace here: apt-get install strace"
    with tempfile.TemporaryDirectory() as folder:
        tried = subprocess.run([*tracing(Path(folder)), "true"], capture_output=True, text=True)
    return f"strace may not trace here: {tried.stderr}" if tried.returncode else None


def tracing(folder: Path) -> list[str]:
    """What to put before a command to have it, and its children, traced into ``folder``."""
    return [
        *("strace", "--seccomp-bpf", "--follow-forks", "--output-separately"),
        *("--decode-fds=path", "--quiet=all", "--signal=none", f"--trace={_TRACED}"),
        f"--output={folder / 'trace'}",
    ]


def touches(folder: Path, pid: int, sockets: Iterable[str]) -> list[str]:
    """The calls by which ``pid`` used one of these ``socket:[inode]``, as strace shows them."""
    wanted = tuple(f"<{socket}>" for socket in sockets)
    calls = (folder / f"trace.{pid}").read_text().splitlines()
    return [
        call
        for call in calls
        if any(socket in call for socket in wanted) and not _HARMLESS.match(call)
    ]


#: Why nothing can be traced on this machine.
MISSING = _find_out_why_not()
