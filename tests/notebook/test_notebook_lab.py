"""In a real JupyterLab: what is on screen below the cells while jobs run, and what a press on Cancel does."""

import pathlib
from collections.abc import Callable

import pytest
from lab import Notebook

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport pathlib, time"
UNTIL_GO = "while not pathlib.Path('go').exists(): time.sleep(0.02)"


def go(notebook: Notebook) -> None:
    """Let the jobs go on that wait."""
    notebook.path.with_name("go").touch()


def index_of(notebook: Notebook, words: str) -> int:
    """The code cell that holds these words."""
    source = "return panel.content.widgets.map(w => w.model.type === 'code' ? w.model.sharedModel.source : '')"
    return next(i for i, code in enumerate(notebook.js(source)) if words in code)


def kinds(notebook: Notebook, index: int) -> list[str]:
    """The types of a cell's outputs as they would be saved."""
    return [str(output["output_type"]) for output in notebook.outputs(index)]


def test_the_quickstart(
    open_notebook: Callable[..., Notebook], quickstart: pathlib.Path, artifacts: pathlib.Path
) -> None:
    notebook = open_notebook(quickstart)
    fit, meanwhile = index_of(notebook, "%%enqueue fit"), index_of(notebook, "meanwhile")
    notebook.js("app.commands.execute('notebook:run-all-cells').catch(() => {}); return 0")

    notebook.wait_for(meanwhile, "meanwhile: about", 60)
    assert "completed" not in notebook.text(fit), "the later cell ran only after the job"
    notebook.wait_for(fit, "epochs", 60)
    notebook.cell(fit)
    notebook.screenshot(artifacts / "quickstart-running.png")

    notebook.wait_for(fit, "completed", 60)
    notebook.until(lambda: "execute_result" in kinds(notebook, fit), "the last value is below its cell")
    assert "accuracy after 300 epochs: 0.9" in notebook.text(fit)
    assert notebook.cell(fit).locator("img").count() == 1, "the figure is not below its cell"
    notebook.cell(fit)
    notebook.screenshot(artifacts / "quickstart-fit.png")

    notebook.wait_for(index_of(notebook, "predicted ="), "right; these are the others", 60)
    notebook.wait_for(index_of(notebook, "def lyapunov"), "200 results", 60)
    notebook.wait_for(index_of(notebook, "def endless"), "it is cancelled", 60)
    notebook.wait_for(index_of(notebook, "%%enqueue broken"), "ZeroDivisionError: division by zero", 60)
    notebook.wait_for(index_of(notebook, "%workers"), "busy slots", 60)
    notebook.cell(index_of(notebook, "%%enqueue broken"))
    notebook.screenshot(artifacts / "quickstart-end.png")

    saved = notebook.save().cells[fit].outputs
    assert [output.output_type for output in saved] == ["display_data", "stream", "display_data", "execute_result"]
    assert set(saved[0].data) == {"text/html", "text/plain"}, "a finished card needs no widget"
    assert "completed" in saved[0].data["text/plain"]


def test_a_cell_from_its_start_to_the_saved_file(open_notebook: Callable[..., Notebook], app: str) -> None:
    cell = (
        "%%enqueue job\nimport cellq\nfor i in cellq.track(range(8)):\n    print('step', i)\n    time.sleep(0.2)\n"
        f"    if i == 6:\n        {UNTIL_GO}\ni * 6"
    )
    notebook = open_notebook([LOAD, cell, "print(i, job.result())"], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "/8")
    assert notebook.cell(1).get_by_role("progressbar").count() == 1
    assert notebook.cell(1).get_by_role("button", name="Cancel job").count() == 1
    go(notebook)
    notebook.wait_for(1, "completed")
    notebook.until(lambda: "execute_result" in kinds(notebook, 1), "the last value is below its cell")
    notebook.run(2)
    notebook.wait_for(2, "7 42")
    card, said, value = notebook.save().cells[1].outputs
    assert set(card.data) == {"text/html", "text/plain"}, "a finished card needs no widget"
    assert "completed" in card.data["text/plain"]
    assert "<button" not in card.data["text/html"]
    assert said.text == "".join(f"step {i}\n" for i in range(8))
    assert value.data["text/plain"] == "42"


def test_cancel_in_the_page_stops_a_running_job(open_notebook: Callable[..., Notebook], app: str) -> None:
    endless = "%%enqueue job\nprint('on it')\nwhile True: time.sleep(0.1)"
    notebook = open_notebook([LOAD, endless, "print(job.state)"], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "on it")
    notebook.cell(1).get_by_role("button", name="Cancel job").click()
    notebook.wait_for(1, "cancelled")
    notebook.run(2)
    notebook.wait_for(2, "cancelled")
    assert "KeyboardInterrupt" not in notebook.text(1)


def test_retry_in_the_page_runs_a_failed_job_in_its_cell_again(
    open_notebook: Callable[..., Notebook], app: str
) -> None:
    cell = (
        "%%enqueue job\nimport pathlib\nfile = pathlib.Path('data.txt')\nprint('reading')\nlines = 0\n"
        "lines = len(file.read_text().split())\nlines"
    )
    notebook = open_notebook([LOAD, cell, "open('data.txt', 'w').write('a b c')", "print(lines)"], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "FileNotFoundError")
    notebook.run(2)
    retry = notebook.cell(1).get_by_role("button", name="Retry job")
    retry.wait_for()
    assert "widget" not in str(notebook.outputs(1)[0]["data"].keys()), "what is saved needs no widget"
    retry.click()
    notebook.wait_for(1, "completed")
    notebook.until(lambda: "execute_result" in kinds(notebook, 1), "the last value is below its cell")
    assert "FileNotFoundError" not in notebook.text(1), "what the first run said is gone, as when a cell is run again"
    assert retry.count() == 0
    notebook.run(3)
    notebook.wait_for(3, "3")
    saved = notebook.save().cells[1].outputs
    assert [output.output_type for output in saved] == ["display_data", "stream", "execute_result"]


def test_a_card_with_retry_survives_a_reload_of_the_page(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, "%%enqueue job\nprint('on it')\nwhile True: time.sleep(0.1)", "job.cancel()"])
    for index in (0, 1):
        notebook.run(index)
    notebook.wait_for(1, "on it")
    notebook.run(2)
    notebook.wait_for(1, "cancelled")
    notebook.save()
    notebook.reload()
    notebook.cell(1).get_by_role("button", name="Retry job").click()
    notebook.wait_for(1, "running")
    notebook.cell(1).get_by_role("button", name="Cancel job").click()
    notebook.wait_for(1, "cancelled")


def test_cancel_in_the_page_stops_a_job_while_another_cell_blocks_the_kernel(
    open_notebook: Callable[..., Notebook],
) -> None:
    block = "began = time.time()\nwhile job.state != 'cancelled' and time.time() - began < 60: pass\nprint(job.state)"
    notebook = open_notebook([LOAD, "%%enqueue job\nprint('on it')\nwhile True: time.sleep(0.1)", block])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "on it")
    notebook.run(2, wait=False)
    notebook.cell(1).get_by_role("button", name="Cancel job").click()
    notebook.wait_for(1, "cancelled")
    notebook.wait_for(2, "cancelled")


def test_output_arrives_under_its_own_cell_while_another_cell_blocks_the_kernel(
    open_notebook: Callable[..., Notebook],
) -> None:
    tell = "%%enqueue {0}\nfor i in range(4):\n    print('{0}', i)\n    time.sleep(0.3)\n" + UNTIL_GO
    block = "while not (a.done() and b.done()): pass\nprint('free')"
    notebook = open_notebook([LOAD, tell.format("a"), tell.format("b"), block])
    notebook.run(0)
    notebook.run(1)
    notebook.run(2)
    notebook.run(3, wait=False)
    notebook.wait_for(1, "a 0")
    notebook.wait_for(2, "b 0")
    assert "free" not in notebook.text(3), "the output came only after the blocking cell"
    go(notebook)
    notebook.wait_for(3, "free")
    notebook.wait_for(1, "a 3")
    notebook.wait_for(2, "b 3")
    assert "b" not in notebook.text(1).partition("a 0")[2]


def test_a_job_cannot_put_markup_into_the_page(open_notebook: Callable[..., Notebook]) -> None:
    evil = '<img src=x onerror="window.hit=1">'
    cell = (
        "%%enqueue job\nfrom tqdm.auto import tqdm\n"
        f"for _ in tqdm(range(20), desc='''{evil}'''): time.sleep(0.05)\n"
        f"raise ValueError('''{evil}''')"
    )
    notebook = open_notebook([LOAD, cell])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "onerror")
    notebook.wait_for(1, "failed")
    assert notebook.js("return window.hit === undefined")


def test_a_card_without_widgets_is_plain_html(open_notebook: Callable[..., Notebook]) -> None:
    block = "import sys, time\nfor name in ('anywidget', 'ipywidgets'): sys.modules[name] = None\n%load_ext cellq"
    tracked = f"for i in cellq.track(range(20)):\n    time.sleep(0.1)\n    if i == 18:\n        {UNTIL_GO}"
    notebook = open_notebook([block, f"%%enqueue job\nimport cellq, pathlib\n{tracked}"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "running")
    notebook.wait_for(1, "/20")
    go(notebook)
    notebook.wait_for(1, "completed")
    assert set(notebook.outputs(1)[0]["data"]) == {"text/html", "text/plain"}


def test_a_page_that_cannot_draw_widgets_gets_plain_html(open_notebook: Callable[..., Notebook]) -> None:
    slow = "%%enqueue {}\nimport cellq\nfor _ in cellq.track(range(1000)): time.sleep(0.1)"
    notebook = open_notebook(
        [LOAD, slow.format("job"), slow.format("other"), "job.cancel(), other.cancel()"], broken=True
    )
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "/1,000")
    assert notebook.cell(1).get_by_role("button", name="Cancel").count() == 0
    notebook.run(2)
    assert set(notebook.outputs(2)[0]["data"]) == {"text/html", "text/plain"}, "the next card begins as HTML"
    notebook.run(3)
    notebook.wait_for(1, "cancelled")
