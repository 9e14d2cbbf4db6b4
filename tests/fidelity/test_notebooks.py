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

_FILE = "an open file stays in the worker; it is said"
_GENERATOR = "a generator that has been started stays in the worker; it is said"
_STATSMODELS = "statsmodels' own pickle drops what a model has cached"

DIFFERENT: dict[str, dict[int, str]] = {
    "async_threads_processes": {32: "`asyncio.run` works in a worker, where no loop is running"},
    "decorators_closures_generators": {10: _GENERATOR, 11: _GENERATOR},
    "errors_and_survival": {
        21: "`sys.last_type` is the kernel's",
        34: "no job can ask for input, and it says so in its own words",
    },
    "files_sqlite_csv_json": {26: _FILE, 27: _FILE, 28: _FILE},
    "handles_and_registries": {16: "`WeakKeyDictionary._dirty_len`, a hint for its own use"},
    "ipython_features": {6: "`In` shows what the cell really says, with the magic"},
    "seaborn_statsmodels": {9: _STATSMODELS, 10: _STATSMODELS},
}
"""By notebook and number of the cell: why it differs."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_the_same_in_a_worker(path: Path) -> None:
    for module in _NEEDS.get(path.stem, ()):
        pytest.importorskip(module)
    verdicts = twice.hold(path)
    differ = {verdict.number for verdict in verdicts if verdict.differences}
    assert differ == set(DIFFERENT.get(path.stem, {})), twice.report(path, verdicts)
