"""Each benchmark works; how fast anything is, is none of the tests' business."""

from __future__ import annotations

import pytest

from bench.__main__ import MODULES, main


@pytest.mark.parametrize("name", MODULES)
def test_it_measures_something(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--smoke", "--only", name]) == 0
    said = capsys.readouterr().out
    assert "| work | ratio to | target | measured | met |" in said
    assert "forksafe" in said or "growth" in name
