"""Each cell of the notebooks here gives the same output and the same names in a worker as in the notebook.

What cannot be the same is listed here, with the reason; a cell that gets better or worse fails its notebook's test.
"""

import os
from pathlib import Path

import pytest
import twice

pytestmark = pytest.mark.timeout(600)

FOLDER = Path(__file__).parent / "notebooks"

_QUICK = ("classes_and_dataclasses", "handles_and_registries", "in_place_and_aliases", "pandas_titanic_style_analysis")
_ALL = os.environ.get("CELLQ_FIDELITY") == "all"  # takes some minutes

NOTEBOOKS = sorted(path for path in FOLDER.glob("*.txt") if _ALL or path.stem in _QUICK)

_NEEDS = {"sympy_symbols": ("sympy",), "seaborn_statsmodels": ("seaborn", "statsmodels", "networkx")}

_GENERATOR = "a generator that has been started stays in the worker; it is said"

DIFFERENT: dict[str, dict[int, str]] = {
    "decorators_closures_generators": {10: _GENERATOR, 11: _GENERATOR},
    "handles_and_registries": {16: "`WeakKeyDictionary._dirty_len`, a hint for its own use"},
}
"""By notebook and number of the cell: why it differs."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_the_same_in_a_worker(path: Path) -> None:
    for module in _NEEDS.get(path.stem, ()):
        pytest.importorskip(module)
    verdicts = twice.hold(path)
    differ = {verdict.number for verdict in verdicts if verdict.differences}
    assert differ == set(DIFFERENT.get(path.stem, {})), twice.report(path, verdicts)
