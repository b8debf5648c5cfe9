"""SQLAlchemy's own tests, run with our class for its: what passes there passes here.

They come with SQLAlchemy's source distribution, which `make test` fetches for the version
installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import sqlalchemy

from tests.support.programs import ROOT

SOURCE = Path(sys.prefix, "sqlalchemy", f"sqlalchemy-{sqlalchemy.__version__}")
FILES = ["test_pool.py", "test_reconnect.py", "test_transaction.py", "test_logging.py"]
LIMIT = 200.0

# They write into the queue inside SQLAlchemy's class; ours shows a picture of it.
WRITE_THE_QUEUE = {
    "test_connect_checkout_handler_always_gets_info",
    "test_connect_handler_not_called_for_recycled",
}

# They give an object as creator that nobody is going to call; ours asks for a function.
GIVE_NO_CREATOR = {
    "test_is_asyncio_from_dialect[QueuePool-False]",
    "test_recreate_state[QueuePool-pool_args0]",
    "test_recreate_state[QueuePool-pool_args1]",
}


def failed(folder: Path, file: str, *arguments: str) -> set[str]:
    """Run SQLAlchemy's tests in ``folder``; returns the names of those that fail."""
    report = folder / "report.xml"
    paths = [folder, ROOT, ROOT / "integrations", Path(sqlalchemy.__file__).parents[1]]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout=60"]
    command += ["-o", "addopts=", f"--junitxml={report}", *arguments, f"test/engine/{file}"]
    output = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert report.exists(), output.stdout + output.stderr
    cases = list(ElementTree.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it
    assert len(cases) > 50, output.stdout + output.stderr
    return {
        str(case.get("name"))
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not SOURCE.exists():
        version = sqlalchemy.__version__
        pytest.skip(f"SQLAlchemy {version}'s own tests are not here: `make test` gets them")
    for name in ("test", "lib/sqlalchemy/testing"):
        shutil.copytree(SOURCE / name, tmp_path / name)
    shutil.copy(SOURCE / "setup.cfg", tmp_path)
    shutil.copy(SOURCE / "pyproject.toml", tmp_path)
    shutil.copy(Path(__file__).with_name("swap_sqlalchemy_pools.py"), tmp_path)
    return tmp_path


@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("file", FILES)
def test_what_passes_with_theirs_passes_with_ours(folder: Path, file: str) -> None:
    swap = ("-p", "swap_sqlalchemy_pools")
    missing = failed(folder, file, *swap) - WRITE_THE_QUEUE - GIVE_NO_CREATOR
    if missing:
        # Some wait a given time for something to happen: they get a second chance.
        missing &= failed(folder, file, *swap)
        missing -= failed(folder, file)
    assert not missing
