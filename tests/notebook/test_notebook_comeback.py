"""In a real browser: a page that is reloaded or closed and a kernel that is restarted mid-job lose nothing."""

import pathlib
import re
from collections.abc import Callable

import pytest
from lab import Notebook

import cellq

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport time, pathlib"
STEPS = """%%enqueue fit
import matplotlib.pyplot as plt
def until(name):
    while not pathlib.Path(name).exists(): time.sleep(0.05)
print('first')
plt.plot([1, 2]); plt.show()
until('go-1')
print('second')
until('go-2')
print('third')
model = 42
model
"""


def go(notebook: Notebook, step: int) -> None:
    """Let the job take its next step."""
    notebook.path.with_name(f"go-{step}").touch()


def reload(notebook: Notebook) -> None:
    """Load the page anew, as it was saved."""
    notebook.save()
    notebook.reload()


def alive(notebook: Notebook, index: int) -> None:
    """Wait until a cell's card has its button."""
    button = notebook.cell(index).get_by_role("button", name="Cancel")
    notebook.until(lambda: button.count() == 1, "the card is alive")


def types(notebook: Notebook, index: int) -> list[str]:
    return [output.output_type for output in notebook.save().cells[index].outputs]


WHOLE = ["display_data", "stream", "display_data", "stream", "execute_result"]


def test_a_reload_mid_job(open_notebook: Callable[..., Notebook], artifacts: pathlib.Path, app: str) -> None:
    notebook = open_notebook([LOAD, STEPS, "print('model is', model)"], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "first", 60)
    reload(notebook)
    notebook.wait_for(1, "first")
    go(notebook, 1)
    notebook.wait_for(1, "second")
    alive(notebook, 1)
    notebook.screenshot(artifacts / f"comeback-reload-{app}.png")
    go(notebook, 2)
    notebook.wait_for(1, "completed")
    notebook.until(lambda: types(notebook, 1) == WHOLE, "all output is saved")
    notebook.screenshot(artifacts / f"comeback-reload-end-{app}.png")
    saved = notebook.save().cells[1].outputs
    assert set(saved[0].data) == {"text/html", "text/plain"}, "a finished card needs no widget"
    assert saved[1].text == "first\n"
    assert saved[3].text == "second\nthird\n"
    notebook.run(2)
    notebook.wait_for(2, "model is 42")


def test_a_kernel_restart_mid_job(open_notebook: Callable[..., Notebook], artifacts: pathlib.Path, app: str) -> None:
    notebook = open_notebook([LOAD, STEPS, "print('model is', model, fit.state)"], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "first", 60)
    notebook.restart()
    go(notebook, 1)
    notebook.run(0)
    notebook.wait_for(0, "still runs")
    notebook.wait_for(1, "second")
    alive(notebook, 1)
    notebook.screenshot(artifacts / f"comeback-restart-{app}.png")
    go(notebook, 2)
    notebook.wait_for(1, "completed")
    notebook.until(lambda: types(notebook, 1) == WHOLE, "all output is saved")
    notebook.wait_for(1, "brought back")
    notebook.screenshot(artifacts / f"comeback-restart-end-{app}.png")
    notebook.run(2)
    notebook.wait_for(2, "model is 42 completed")


def test_cancel_after_a_kernel_restart_in_a_store_that_the_cell_has_named(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook(
        [LOAD, "%%enqueue job --url other.db\nprint('on it')\nwhile True: time.sleep(0.1)", "job.state"]
    )
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "on it", 60)
    notebook.restart()
    notebook.run(0)
    notebook.wait_for(0, "still runs")
    button = notebook.cell(1).get_by_role("button", name="Cancel job")
    notebook.until(lambda: button.count() == 1, "the card is alive")
    button.click()
    notebook.wait_for(1, "cancelled")
    notebook.run(2)
    notebook.wait_for(2, "CANCELLED")


def test_a_page_that_was_closed_finds_what_ended_meanwhile(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, STEPS])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "first", 60)
    notebook.save()
    notebook.page.close()
    go(notebook, 1)
    go(notebook, 2)
    with cellq.Queue(notebook.path.parent / ".cellq" / "jobs.db") as queue:
        assert queue.jobs()[0].wait(60)
    again = notebook.reopen()
    again.wait_for(1, "third")
    again.until(lambda: types(again, 1) == WHOLE, "all output is saved")
    assert "completed" in again.text(1)
    assert "model not found" not in again.text(1)


def test_what_was_never_saved_is_there_after_a_crash_of_the_page(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, STEPS])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "first", 60)
    notebook.page.close()
    go(notebook, 1)
    again = notebook.reopen()
    again.wait_for(1, "second")
    alive(again, 1)
    again.page.close()
    go(notebook, 2)
    with cellq.Queue(notebook.path.parent / ".cellq" / "jobs.db") as queue:
        assert queue.jobs()[0].wait(60)
    again = notebook.reopen()
    again.wait_for(1, "third")
    again.until(lambda: types(again, 1) == WHOLE, "all output is saved")


def test_several_jobs_of_one_cell_after_a_reload(open_notebook: Callable[..., Notebook]) -> None:
    wait = "while not pathlib.Path('go-{n}').exists(): time.sleep(0.05)"
    body = f"import pathlib, time\nprint('{{n}} began')\n{wait}\nprint('{{n}} ends')"
    loop = f"for n in (1, 2): get_ipython().run_cell_magic('enqueue', f'job{{n}}', {body!r}.format(n=n))"
    notebook = open_notebook([LOAD, loop])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "1 began", 60)
    notebook.wait_for(1, "2 began")
    go(notebook, 1)
    notebook.wait_for(1, "1 ends")
    notebook.wait_for(1, "completed")
    reload(notebook)
    go(notebook, 2)
    notebook.wait_for(1, "2 ends")
    notebook.until(
        lambda: types(notebook, 1) == ["display_data", "stream"] * 2, "each job has its output below its card"
    )
    saved = notebook.save().cells[1].outputs
    assert [saved[1].text, saved[3].text] == ["1 began\n1 ends\n", "2 began\n2 ends\n"]


def test_coming_back_an_hour_later_shows_everything(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path
) -> None:
    notebook = open_notebook([LOAD, STEPS.replace("%%enqueue", "%%enqueue --once"), "print('model is', fit.result())"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "first", 60)
    notebook.save()
    notebook.page.close()
    notebook.lab.end_kernels()
    go(notebook, 1)
    go(notebook, 2)
    with cellq.Queue(notebook.path.parent / ".cellq" / "jobs.db") as queue:
        assert queue.jobs()[0].wait(60)
    again = notebook.reopen()
    again.run(0)
    again.wait_for(0, ") completed meanwhile")
    again.wait_for(1, "third")
    again.until(lambda: types(again, 1) == WHOLE, "all output is saved")
    again.screenshot(artifacts / "comeback-hour.png")
    again.restart()
    again.run_all()
    again.wait_for(1, "not run again (--once)")
    again.wait_for(2, "model is 42")
    again.until(lambda: types(again, 1) == WHOLE, "all output is there again")
    again.cell(2)
    again.screenshot(artifacts / "comeback-once.png")


def test_a_failed_job_that_is_run_again_is_shown_in_a_page_that_was_reloaded(
    open_notebook: Callable[..., Notebook],
) -> None:
    code = "%%enqueue job\nprint('on it')\nif not pathlib.Path('go-1').exists(): 1 / 0\n'well'"
    notebook = open_notebook([LOAD, code, "%jobs retry job"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "ZeroDivisionError", 60)
    notebook.wait_for(1, "failed")
    reload(notebook)
    go(notebook, 1)
    notebook.run(2)
    whole = ["display_data", "stream", "execute_result"]
    notebook.until(lambda: types(notebook, 1) == whole, "its new output stands in place of the old one")
    notebook.wait_for(1, "completed")


def test_a_cell_that_is_run_again_offers_its_earlier_job(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path
) -> None:
    code = "%%enqueue job\nprint('run', run)\nwhile True: time.sleep(0.1)"
    notebook = open_notebook([LOAD + "\nrun = 1", code, "run += 1"])
    for index in (0, 1):
        notebook.run(index)
    notebook.wait_for(1, "run 1", 60)
    notebook.run(2)
    notebook.run(1)
    notebook.wait_for(1, "run 2", 60)
    notebook.wait_for(1, "of this cell still runs")
    notebook.screenshot(artifacts / "comeback-again.png")
    notebook.cell(1).get_by_role("button", name="Return to").click()
    notebook.wait_for(1, "run 1")
    notebook.until(lambda: "run 2" not in notebook.text(1), "the later run is gone from the cell")
    notebook.screenshot(artifacts / "comeback-returned.png")
    notebook.run(1)
    notebook.wait_for(1, "run 2")
    notebook.cell(1).get_by_role("button", name=re.compile("^Cancel [0-9a-f]{8}")).click()
    notebook.until(lambda: "still runs" not in notebook.text(1), "the earlier run is gone")
    notebook.cell(1).get_by_role("button", name="Cancel job").click()
    notebook.wait_for(1, "cancelled")
