"""Break one promise after another in a copy of the package, and see which tests notice.

    python -m tests.mutations                      every promise
    python -m tests.mutations NAME …               some of them
    python -m tests.mutations --check              that each patch applies, and no more
    python -m tests.mutations --json FILE          also write what was found there
    python -m tests.mutations --tests PATH …       run these, instead of what the table says

It takes an hour or two. A file has noticed when the first of its tests has failed. The exit
status is 1 where nothing notices a broken promise, or where something fails with no promise broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutations.table import MUTANTS, TESTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
#: Seconds that one test, and all tests of a file, may take: what hangs has noticed.
TEST_LIMIT = 40
LIMIT = 300


# -- patching -------------------------------------------------------------------------------------


def find(mutant: Mutant, root: Path = ROOT) -> Path:
    """The file that holds ``mutant.old``. Raises LookupError where that is not there once."""
    found = [
        path
        for path in sorted((root / mutant.package).rglob("*.py"))
        if "conformance" not in path.parts
        for _ in range(path.read_text().count(mutant.old))
    ]
    if len(found) != 1:
        where = ", ".join(str(path.relative_to(root)) for path in found) or "nowhere"
        raise LookupError(
            f"{mutant.name!r}: its old text is to be in {mutant.package} once, and is in: {where}"
        )
    return found[0]


def copy_to(folder: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in ("forksafe_pool", "integrations", "tests", "examples", "bench"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", folder)


# -- running --------------------------------------------------------------------------------------


def by_file(tests: Iterable[str]) -> dict[str, list[str]]:
    """What pytest is to run of each file in these folders, or of these files, or what is named by
    ``file::test``. Not other projects' own suites, which take a minute each."""
    found: dict[str, list[str]] = {}
    for name in tests:
        path, _, test = name.partition("::")
        files = sorted((ROOT / path).glob("test_*.py")) or [ROOT / path]
        for file in files:
            if "yardstick" not in file.name:
                relative = str(file.relative_to(ROOT))
                found.setdefault(relative, []).append(name if test else relative)
    return found


def run(mutant: Mutant | None, tests: Iterable[str], workers: int) -> list[str]:
    """The files among ``tests`` that notice it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as name:
        folder = Path(name)
        copy_to(folder)
        if mutant is not None:
            path = find(mutant, folder)
            path.write_text(path.read_text().replace(mutant.old, mutant.new))
        chosen = by_file(tests)
        with ThreadPoolExecutor(workers) as executor:
            passed = executor.map(lambda tests: passes(folder, tests), chosen.values())
            return [file for file, good in zip(chosen, passed, strict=True) if not good]


def passes(folder: Path, tests: list[str]) -> bool:
    """Each in a process of its own: a broken promise may well break pytest."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "pytest", "-q", "-x", "--tb=no", "-p", "no:cacheprovider"),
            *(f"--timeout={TEST_LIMIT}", *tests),
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder / 'integrations'}"},
    )
    try:
        return process.wait(LIMIT) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a promise, or a part of it")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tests", nargs="+")
    parser.add_argument("-n", type=int, default=2, help="how many files run at a time")
    args = parser.parse_args()

    chosen = [m for m in MUTANTS if not args.names or any(name in m.name for name in args.names)]
    for mutant in chosen:
        find(mutant)
    if args.check:
        return
    found: dict[str, list[str]] = {}
    unbroken = sorted({path for mutant in chosen for path in args.tests or TESTS[mutant.package]})
    wrong = run(None, unbroken, args.n)
    told = ", ".join(wrong) or "nothing fails"
    print(f"no promise is broken: {told}", flush=True)  # noqa: T201
    for mutant in chosen:
        noticed = run(mutant, args.tests or TESTS[mutant.package], args.n)
        found[mutant.name] = noticed
        told = ", ".join(noticed) or "NOBODY NOTICES"
        print(f"{mutant.name}: {told}", flush=True)  # noqa: T201
        if args.json:
            args.json.write_text(json.dumps(found, indent=1))
    missed = [name for name, noticed in found.items() if not noticed]
    counted = f"{len(found) - len(missed)} of {len(found)}"
    print(f"{counted} broken promises are noticed", flush=True)  # noqa: T201
    sys.exit(bool(missed or wrong))


if __name__ == "__main__":
    main()
