"""Each cell of the notebooks here gives the same output and the same names in a worker as in the notebook.

What cannot be the same is listed here, with the reason; a cell that gets better or worse fails its notebook's test.
"""

import os
from pathlib import Path

import pytest
import twice

pytestmark = pytest.mark.timeout(600)

FOLDER = Path(__file__).parent / "notebooks"

_QUICK = ("classes_and_dataclasses", "in_place_and_aliases", "pandas_titanic_style_analysis", "text_processing")
_ALL = os.environ.get("CELLQ_FIDELITY") == "all"  # takes some minutes

NOTEBOOKS = sorted(path for path in FOLDER.glob("*.txt") if _ALL or path.stem in _QUICK)

_NEEDS = {"sympy_symbols": ("sympy",), "seaborn_statsmodels": ("seaborn", "statsmodels", "networkx")}

_TASK = "a task belongs to the loop of its process"
_FILE = "an open file stays in the worker; it is said"
_GENERATOR = "a generator that has been started stays in the worker; it is said"
_VIEW = "a view of a dict's keys comes home as a view of a copy"
_OPEN_FIGURES = "figures that `plt.ioff` leaves open are not open in the next cell"

DIFFERENT: dict[str, dict[int, str]] = {
    "async_threads_processes": {
        8: _TASK,
        9: _TASK,
        27: "the running loop is that of its process",
        32: "`asyncio.run` works in a worker, where no loop is running",
    },
    "decorators_closures_generators": {10: _GENERATOR, 11: _GENERATOR},
    "errors_and_survival": {
        13: "told as SyntaxError, its base class",
        21: "`sys.last_type` is the kernel's",
        22: "IPython prints an exception group where the cell runs; the waiting cell adds JobFailed",
        32: "SystemExit in a job is JobFailed in the cell that waits",
        34: "no job can ask for input, and it says so in its own words",
    },
    "files_sqlite_csv_json": {2: "a csv.writer cannot travel; it is said", 26: _FILE, 27: _FILE, 28: _FILE},
    "in_place_and_aliases": {39: _VIEW, 42: _VIEW},
    "ipython_features": {
        6: "`In` shows what the cell really says, with the magic",
        56: "tqdm's bar is in the card; a widget that is a copy complains when it is thrown away",
    },
    "matplotlib_gallery": {23: _OPEN_FIGURES, 25: _OPEN_FIGURES},
    "numpy_linear_algebra": {
        20: "NumPy's own pickle fills in a masked array's fill value",
        24: "an nditer cannot travel; it is said",
    },
    "seaborn_statsmodels": {
        9: "statsmodels' own pickle drops what a model has cached",
        10: "the same",
        16: "`reset_defaults` resets what tells a kernel to show figures",
    },
    "sklearn_model_selection": {2: "scikit-learn's own pickle drops a private dict of a Bunch"},
    "state_and_patches": {
        31: "the display hook is the shell's own on each side",
        54: "a pandas accessor is registered inside pandas",
        57: "the first weekday is inside an object of the module calendar",
    },
}
"""By notebook and number of the cell: why it differs."""


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_are_the_same_in_a_worker(path: Path) -> None:
    for module in _NEEDS.get(path.stem, ()):
        pytest.importorskip(module)
    verdicts = twice.hold(path)
    differ = {verdict.number for verdict in verdicts if verdict.differences}
    assert differ == set(DIFFERENT.get(path.stem, {})), twice.report(path, verdicts)
