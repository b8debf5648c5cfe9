"""redis-py's own tests, run with its classes and with ours: what passes there passes here.

They come with redis-py's source distribution, which `make test` fetches for the version installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import redis

from tests.support.programs import ROOT
from tests.support.valkey import Valkey

SOURCE = Path(sys.prefix, "redis-py", f"redis-{redis.__version__}", "tests")
FILES = ["test_connection_pool.py", "test_multiprocessing.py", "test_pipeline.py", "test_lock.py"]
LIMIT = 300.0


def passed(folder: Path, url: str, *arguments: str) -> set[str]:
    """Run redis-py's tests in ``folder``; returns the names of those that pass."""
    report = folder / "report.xml"
    # Both have a package named "tests": the plugin is a module of the folder's own.
    paths = [folder, ROOT, ROOT / "integrations", Path(redis.__file__).parents[1]]
    command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={folder}"]
    command += ["-p", "no:cacheprovider", "--timeout=60", "-W", "ignore"]
    command += [f"--junitxml={report}", f"--redis-url={url}", *arguments]
    output = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert report.exists(), output.stdout + output.stderr
    return {
        f"{case.get('classname')}.{case.get('name')}"
        for case in ElementTree.parse(report).iter("testcase")  # noqa: S314 - pytest wrote it
        if case.find("failure") is None and case.find("error") is None
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not SOURCE.exists():
        pytest.skip(f"redis-py {redis.__version__}'s own tests are not here: `make test` gets them")
    shutil.copytree(SOURCE, tmp_path / "tests")
    shutil.copy(ROOT / "tests" / "support" / "swap_redis_pools.py", tmp_path)
    return tmp_path


@pytest.mark.timeout(3 * LIMIT)
@pytest.mark.parametrize("file", FILES)
def test_what_passes_with_theirs_passes_with_ours(folder: Path, valkey: Valkey, file: str) -> None:
    theirs = passed(folder, valkey.url, f"tests/{file}")
    assert len(theirs) > 5
    swap = ("-p", "swap_redis_pools")
    missing = theirs - passed(folder, valkey.url, *swap, f"tests/{file}")
    # Some wait a given time for something to happen: they get a second chance.
    missing = missing and missing - passed(folder, valkey.url, *swap, f"tests/{file}")
    assert not missing
