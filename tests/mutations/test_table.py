"""Each patch applies: what breaks no promise would be noticed by nobody."""

from __future__ import annotations

import pytest

from tests.mutations.__main__ import find
from tests.mutations.table import MUTANTS, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_old_text_is_there_once(mutant: Mutant) -> None:
    compile(find(mutant).read_text().replace(mutant.old, mutant.new), mutant.name, "exec")


def test_no_two_have_the_same_name() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
