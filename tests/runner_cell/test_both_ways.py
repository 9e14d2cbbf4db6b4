"""A cell in a slot shows and leaves behind what it does in the notebook: each category and trap of real notebooks.

The cells are in `cells/*.txt`, one small notebook per file.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from both_ways import both_ways, read_cells

CASES = sorted((Path(__file__).parent / "cells").glob("*.txt"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_cell_in_a_slot_is_a_cell_in_the_notebook(case: Path, tmp_path: Path) -> None:
    cells = read_cells(case)
    here, away = both_ways(cells, tmp_path)
    for number, cell in enumerate(cells):
        assert away.shape(number) == here.shape(number), f"cell {number + 1}:\n{cell}\n{away.merged}"
    assert away.names == here.names
