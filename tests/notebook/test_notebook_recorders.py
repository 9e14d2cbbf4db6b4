"""Notebooks that run without a person: whatever runs them records the jobs' whole output, and the names they gave."""

import os
import pathlib
import re
import subprocess
import sys

import nbclient
import nbformat
import pytest
from lab import write_notebook
from nbformat import NotebookNode

pytestmark = pytest.mark.timeout(120)

CELLS = [
    "%load_ext cellq",
    "%%enqueue job\nimport time, matplotlib.pyplot as plt\n"
    "from IPython.display import display\nfrom tqdm.auto import tqdm\n"
    "handle = display('waiting', display_id=True)\n"
    "for i in tqdm(range(5), desc='steps'):\n    print('step', i)\n    time.sleep(0.1)\n"
    "handle.update('done waiting')\nplt.plot([1, 2]); plt.show()\nmade = 41\n'the value'",
    "print('in the notebook:', made + 1, job.result())",
]


def run(command: list[str], folder: pathlib.Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command of this Python's environment."""
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), environment.get("PATH", "")])
    return subprocess.run(
        command, cwd=folder, env=environment | {"PATH": path}, capture_output=True, text=True, timeout=100
    )


def check(notebook: NotebookNode) -> None:
    """All that the job said is there, and the card is the last one."""
    card, *said, value = notebook.cells[1].outputs
    assert set(card.data) == {"text/html", "text/plain"}, "what is recorded needs no widget"
    assert "completed" in card.data["text/plain"]
    assert "steps 5/5" in card.data["text/plain"]
    first, *printed, figure = said
    assert first.data["text/plain"] == "'done waiting'", "an update of a display is lost"
    assert "".join(output.text for output in printed) == "".join(f"step {i}\n" for i in range(5))
    assert "image/png" in figure.data
    assert value.data["text/plain"] == "'the value'"
    assert notebook.cells[2].outputs[0].text == "in the notebook: 42 the value\n"


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("jupyter execute --output out.ipynb in.ipynb", id="jupyter-execute"),
        pytest.param("jupyter nbconvert --execute --to notebook --output out.ipynb in.ipynb", id="nbconvert"),
        pytest.param("papermill in.ipynb out.ipynb", id="papermill"),
    ],
)
def test_everything_is_recorded(command: str, tmp_path: pathlib.Path, environment: dict[str, str]) -> None:
    write_notebook(tmp_path / "in.ipynb", CELLS)
    done = run(command.split(), tmp_path, environment)
    assert done.returncode == 0, done.stderr
    check(nbformat.read(tmp_path / "out.ipynb", as_version=4))


def test_nbclient_records_everything(
    tmp_path: pathlib.Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(write_notebook(tmp_path / "in.ipynb", CELLS), as_version=4)
    nbclient.execute(notebook, cwd=str(tmp_path), timeout=100)
    check(notebook)


def test_a_page_made_by_nbconvert_shows_everything(tmp_path: pathlib.Path, environment: dict[str, str]) -> None:
    write_notebook(tmp_path / "in.ipynb", [*CELLS, "%%enqueue evil\nprint('<b>bold</b>')"])
    done = run(["jupyter", "nbconvert", "--execute", "--to", "html", "in.ipynb"], tmp_path, environment)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "in.html").read_text()
    assert len(re.findall('<div [^>]*class="cellq-card cellq-completed', page)) == 2
    for words in ("step 4", "data:image/png", "done waiting", "the value", "in the notebook: 42", "&lt;b&gt;bold"):
        assert words in page
    assert "model_id" not in page.partition("<body")[2]


def test_a_failure_ends_the_run(tmp_path: pathlib.Path, environment: dict[str, str]) -> None:
    write_notebook(tmp_path / "in.ipynb", [CELLS[0], "%%enqueue\n1 / 0", "print('never')"])
    done = run(["papermill", "in.ipynb", "out.ipynb"], tmp_path, environment)
    assert done.returncode != 0
    assert "ZeroDivisionError: division by zero" in done.stderr
    recorded = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    ran = [cell for cell in recorded.cells if cell.cell_type == "code"]
    assert "failed" in ran[1].outputs[0].data["text/plain"]
    assert ran[2].outputs == []
