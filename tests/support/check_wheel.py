"""Build the wheel, install it somewhere else, and import every module of it there.

The wheel's version is the package's own: ``forksafe_pool.__version__``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from tests.support.programs import ROOT

IMPORT_ALL = """
import importlib.metadata, pkgutil, sys
for top in sys.argv[1:]:
    package = importlib.import_module(top)
    assert "site-packages" in package.__file__, package.__file__
    for module in pkgutil.walk_packages(package.__path__, top + "."):
        importlib.import_module(module.name)
import forksafe_pool
built = importlib.metadata.version("forksafe-pool")
assert forksafe_pool.__version__ == built, (forksafe_pool.__version__, built)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, "-m", "build", "--outdir", folder, str(ROOT))
        (wheel,) = Path(folder).glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
        tops = sorted({name.split("/")[0] for name in names if not is_metadata(name)})
        integrations = (path.parent.name for path in ROOT.glob("integrations/*/__init__.py"))
        expected = sorted(["forksafe_pool", *integrations])
        assert tops == expected, f"the wheel holds {tops}, not {expected}"
        for top in tops:
            assert f"{top}/py.typed" in names, f"{top} is not marked as typed"
        venv.create(f"{folder}/venv", with_pip=True)
        python = f"{folder}/venv/bin/python"
        run(python, "-m", "pip", "install", "--quiet", f"{wheel}[all]")
        run(python, "-W", "error", "-c", IMPORT_ALL, *tops, cwd=folder)
    sys.stdout.write(f"{wheel.name}: every module of {', '.join(tops)} imports\n")


def is_metadata(name: str) -> bool:
    return name.split("/")[0].endswith(".dist-info")


def run(*command: str, cwd: str | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


if __name__ == "__main__":
    main()
