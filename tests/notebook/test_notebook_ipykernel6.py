"""On ipykernel 6, where output of threads and widgets work otherwise than on 7: a cell, its card, its names, Cancel."""

import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

import pytest
from frontend import Frontend
from lab import Lab, Notebook, write_notebook
from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.timeout(180)

VERSION = "6.29"


@pytest.fixture(scope="module")
def ipykernel6(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with ipykernel 6 only: ahead of everything else on the path, it replaces the one that is installed."""
    folder = tmp_path_factory.mktemp("ipykernel6")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(folder), f"ipykernel=={VERSION}.*"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        reason = f"ipykernel {VERSION} cannot be installed:\n{done.stderr[-1000:]}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return str(folder)


@pytest.fixture
def six(new_front: Callable[..., Frontend], ipykernel6: str) -> Frontend:
    front = new_front(PYTHONPATH=ipykernel6)
    assert front.run("import ipykernel; ipykernel.__version__").value.startswith(f"'{VERSION}"), "another one runs"
    front.run("%load_ext cellq\nimport time")
    return front


def test_a_job_shows_itself_below_its_cell_while_another_cell_runs(six: Frontend) -> None:
    cell = six.send(
        "%%enqueue job\nimport cellq\nfrom IPython.display import display\n"
        "handle = display('before', display_id=True)\n"
        "for i in cellq.track(range(10)):\n    print('step', i)\n    time.sleep(0.1)\n"
        "handle.update('after')\nmade = 5\nmade + 1"
    )
    block = six.send("while not job.done(): pass\nprint('mine')")
    cell.until(lambda cell: "step 2" in cell.printed, "it speaks while the next cell runs")
    assert block.reply is None
    six.finish(block)
    cell.ended().until(lambda cell: cell.value, "its last value is there")
    assert cell.printed == "".join(f"step {i}\n" for i in range(10))
    assert cell.value == "6"
    assert [content["data"]["text/plain"] for content in cell.of("display_data")][1:] == ["'after'"]
    assert block.printed == "mine\n"
    assert set(cell.of("display_data")[0]["data"]) == {"text/html", "text/plain"}, "the widget is gone at the end"
    after = six.run("print(made)")
    assert (after.printed, after.error) == ("5\n", "")


def test_a_press_on_cancel_and_on_retry(six: Frontend) -> None:
    cell = six.run("%%enqueue job\nprint('on it')\nwhile True: time.sleep(0.1)")
    cell.until(lambda cell: cell.printed == "on it\n", "it runs")
    (card,) = cell.of("display_data")
    model = card["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    six.press(model, {"cmd": "cancel", "job": model.removeprefix("cellq-")})
    cell.ended("cancelled")
    six.press(model, {"cmd": "retry", "job": model.removeprefix("cellq-")})
    cell.until(lambda cell: "running" in cell.card and cell.printed == "on it\n", "it runs again")
    six.run("job.cancel()")
    cell.ended("cancelled")


def test_a_headless_run_waits(six: Frontend) -> None:
    cell = six.run("%%enqueue\nprint('said')\n7", headless=True)
    assert (cell.printed, cell.value) == ("said\n", "7")
    assert "completed" in cell.card


def test_a_card_in_a_page(
    chrome: BrowserContext, tmp_path: pathlib.Path, environment: dict[str, str], ipykernel6: str
) -> None:
    cells = [
        "%load_ext cellq\nimport ipykernel, time; ipykernel.__version__",
        "%%enqueue job\nimport cellq\nfor i in cellq.track(range(1000)):\n    print('step', i)\n    time.sleep(0.1)",
        "time.sleep(0.5); print('free')",
    ]
    write_notebook(tmp_path / "notebook.ipynb", cells)
    with Lab(tmp_path, environment | {"PYTHONPATH": ipykernel6}) as lab:
        page = chrome.new_page()
        notebook = Notebook(lab, page, "notebook.ipynb")
        notebook.run(0)
        notebook.wait_for(0, VERSION)
        notebook.run(1)
        notebook.wait_for(1, "step 3")
        notebook.run(2, wait=False)
        notebook.cell(1).get_by_role("button", name="Cancel job").click()
        notebook.wait_for(1, "Cancelling…")
        notebook.wait_for(1, "cancelled")  # on 6 a click waits until the cell that runs has ended
        notebook.cell(1).get_by_role("button", name="Retry job").click()
        notebook.wait_for(1, "running")
        notebook.cell(1).get_by_role("button", name="Cancel job").click()
        notebook.wait_for(1, "cancelled")
        page.close()
