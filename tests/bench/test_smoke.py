"""Each benchmark works; how fast anything is, is none of the tests' business."""

from __future__ import annotations

import pytest

from bench import __main__ as command
from bench.__main__ import MODULES, main


@pytest.mark.parametrize("name", MODULES)
def test_it_measures_something(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--only", name]) == 0
    said = capsys.readouterr().out
    assert "| work | ratio to | target | measured | met |" in said
    assert "forksafe" in said or "growth" in name


def test_the_rounds_of_several_processes_are_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "MODULES", ("memory",))
    monkeypatch.setattr(command, "PROCESSES", 2)
    tables = command.measure_in_new_processes(rounds=1)
    assert [table.name for table in tables] == ["memory-pool", "memory-connection"]
    assert {len(figures) for table in tables for figures in table.figures.values()} == {2}


def test_a_file_for_the_figures_goes_with_what_is_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--json", "figures.json"])
    assert "--json goes with --only" in capsys.readouterr().err
