"""What was found, kept in ``docs/torture.json``, from which ``docs/torture.md`` is written."""

from __future__ import annotations

import json
from typing import Any

from tests.support.programs import ROOT
from tests.torture import report
from tests.torture.report import Found

PAGE = ROOT / "docs" / "torture.md"
KEPT = PAGE.with_suffix(".json")
README = ROOT / "README.md"
FAULTS = "tests/faults"
#: What a long run must not find.
NOTHING = ("astray", "hangs", "places lost", "descriptors leaked", "connections left")


def load() -> dict[str, Any]:
    return dict(json.loads(KEPT.read_text())) if KEPT.exists() else {}


def write(key: str, value: Any) -> None:
    """Keep it in the place of what was found the last time, and write the page anew."""
    kept = {**load(), key: value}
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text("\n".join(page(kept)) + "\n")
    README.write_text(with_figures(README.read_text(), kept))


def page(kept: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    if "matrix" in kept:
        lines += report.page(unpack(kept["matrix"]), kept["matrix"])
    if "soak" in kept:
        lines += ["## The long run", "", *soak_table(kept["soak"]), ""]
    return [*lines, *figures(kept)]


# -- the matrix -----------------------------------------------------------------------------------


def pack(found: list[Found], **more: Any) -> dict[str, Any]:
    """The letters of each driver and pool, by way and misdeed, as rows of a table."""
    ways = list(dict.fromkeys(one.way for one in found))
    misdeeds = list(dict.fromkeys(one.misdeed for one in found))
    rows: dict[tuple[str, str, bool], dict[tuple[str, str], str]] = {}
    for one in found:
        row = rows.setdefault((one.driver, one.pool, one.ours), {})
        row[one.way, one.misdeed] = one.letters
    return {
        **more,
        "ways": ways,
        "misdeeds": misdeeds,
        "rows": [
            {
                "driver": driver,
                "pool": pool,
                "ours": ours,
                "letters": [" ".join(row[way, each] or "ok" for each in misdeeds) for way in ways],
            }
            for (driver, pool, ours), row in rows.items()
        ],
    }


def unpack(kept: dict[str, Any]) -> list[Found]:
    return [
        Found(row["driver"], row["pool"], row["ours"], way, misdeed, letters.replace("ok", ""))
        for row in kept["rows"]
        for way, line in zip(kept["ways"], row["letters"], strict=True)
        for misdeed, letters in zip(kept["misdeeds"], line.split(), strict=True)
    ]


# -- the long run ---------------------------------------------------------------------------------


def soak_table(found: dict[str, Any]) -> list[str]:
    faults = ", ".join(f"{name} ({count})" for name, count in found["faults"].items())
    rows = {
        "requests answered, each using both servers": f"{found['requests']:,}",
        "forks during requests; each child used both servers": f"{found['forks']:,}",
        "faults": faults,
        "requests that failed, most of them while a server was down": f"{found['errors']:,}",
        "**replies to somebody else's request**": found["astray"],
        "**requests that hung**": found["hangs"],
        "**slots lost**": found["places lost"],
        "**descriptors leaked**": found["descriptors leaked"],
        "**server connections left at the end**": found["connections left"],
        "longest time from a server's restart to a reply": (
            f"{found['recovery']} s, of {found['recoveries']} restarts"
        ),
        "the master's memory at the end ÷ at the beginning": found["memory"],
        "a worker's memory at the end ÷ after warm-up, at most": found.get(
            "workers' memory", "not measured"
        ),
    }
    return [
        f"`make soak ARGS={found['minutes']:g}` runs a preloaded Flask application on gunicorn,",
        "with three workers of four threads. Each worker uses redis-py and psycopg through our",
        "pools, with three connections each. Six clients check every reply. In the last quarter of",
        "the run no worker is killed or reloaded, while the other faults continue: a worker's",
        "memory, and its descriptors that are not connections to a server, are measured after",
        "warm-up and at the end.",
        "",
        "| | |",
        "| --- | ---: |",
        *(f"| {what} | {value} |" for what, value in rows.items()),
    ]


# -- the sum --------------------------------------------------------------------------------------


def figures(kept: dict[str, Any]) -> list[str]:
    """What all of it together has found of ours."""
    matrix, soak = kept.get("matrix"), kept.get("soak")
    if matrix is None or soak is None:
        return []
    ours = [one for one in unpack(matrix) if one.ours]

    def cells(letters: str) -> int:
        return sum(bool(set(letters) & set(one.bad)) for one in ours)

    suites: dict[str, dict[str, int]] = dict(matrix["faults"].values())

    def run(path: str) -> str:
        return f"{suites[path]['tests'] - suites[path]['skipped']:,} tests"

    failed = f"{suites[FAULTS]['failed']:,} tests failed"
    bad_input = [counts for path, counts in suites.items() if path != FAULTS]
    refused = sum(counts["tests"] - counts["skipped"] for counts in bad_input)
    accepted = sum(counts["failed"] for counts in bad_input)
    rows: dict[str, tuple[Any, Any, Any]] = {
        "forks survived": (f"{len(ours) - cells('HE'):,}", "", f"{soak['forks']:,}"),
        "faults injected": ("", f"in {run(FAULTS)}", f"{sum(soak['faults'].values()):,}"),
        "bad input": ("", f"in {refused:,} tests, {accepted:,} failed", ""),
        "requests answered": ("", "", f"{soak['requests']:,}"),
        "misdirected replies": (cells("RX"), failed, soak["astray"]),
        "sessions lost": (cells("S"), "", ""),
        "slots lost": ("", failed, soak["places lost"]),
        "descriptors leaked": (cells("D"), "", soak["descriptors leaked"]),
        "hangs": (cells("H"), failed, soak["hangs"]),
    }
    return [
        "## Figures",
        "",
        "Of our pools, without the known limits. Each fault test breaks a server, the network or a",
        "request at least once, and then checks for misdirected replies, lost slots and hangs.",
        "",
        "| | the matrix, `make torture` | fault tests | the long run, `make soak` |",
        "| --- | ---: | ---: | ---: |",
        *(f"| {name} | {a} | {b} | {c} |" for name, (a, b, c) in rows.items()),
    ]


def with_figures(text: str, kept: dict[str, Any]) -> str:
    """The README, with what the matrix and the long run have found."""
    if "matrix" not in kept or "soak" not in kept:
        return text
    found = unpack(kept["matrix"])
    sides = [[one for one in found if one.ours == ours] for ours in (True, False)]
    rows = [["cells of the matrix", *(f"{len(side):,}" for side in sides)]]
    for what, letters in {
        "a process hung; a reply reached the wrong reader": "HR",
        "the child got, or used, its parent's session": "X",
        "the parent lost a session or its open transaction": "S",
        "a descriptor was left open; the child got an error": "DE",
    }.items():
        counts = ("; ".join(count(side, letter) for letter in letters) for side in sides)
        rows.append([f"… {what}", *counts])
    soak = kept["soak"]
    rows.append(
        [
            f"{soak['minutes']:g} minutes of faults: {soak['requests']:,} requests, "
            f"{soak['forks']:,} forks, {sum(soak['faults'].values()):,} faults",
            f"{sum(soak[name] for name in NOTHING):,} misdirected, hung, lost or leaked",
            "not run",
        ]
    )
    begin = text.index("| cells of the matrix |")
    end = text.index("\n\n", begin)
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return text[:begin] + table + text[end:]


def count(side: list[Found], letter: str) -> str:
    """In how many cells it was found, and whether a pool could have done anything."""
    cells = [one for one in side if letter in one.letters]
    known = sum(letter in one.unavoidable for one in cells)
    if not known:
        return f"{len(cells):,}"
    which = "all" if known == len(cells) else f"{known} of them"
    return f"{len(cells):,}, {which} known limits"
