"""In a real browser: the card of a group comes alive again in its cell after a kernel restart, and reaches its end."""

import pathlib
from collections.abc import Callable

import pytest
from lab import Notebook

import cellq

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport cellq, pathlib, time\nq = cellq.Queue()\nhere = pathlib.Path.cwd()"
# The first half ends at once; each further job waits until there are as many gates.
MANY = """def simulate(n):
    while not (n < 20 or (here / f'go-{n // 20}').exists()): time.sleep(0.05)
    if n == 33: raise ValueError(f'no {n}')
jobs = q.map(simulate, range(60))
jobs"""


def go(notebook: Notebook, step: int) -> None:
    """Let twenty more jobs run."""
    notebook.path.with_name(f"go-{step}").touch()


def alive(notebook: Notebook) -> None:
    """Wait until the card below the second cell has its button, and does not say that it is stale."""
    button = notebook.cell(1).get_by_role("button", name="Cancel what is left")
    notebook.until(lambda: button.count() == 1 and "was restarted" not in notebook.text(1), "the card is alive")


def is_html(notebook: Notebook, index: int) -> None:
    """Wait until a cell's only output is a card that needs no kernel, also when it is saved."""
    notebook.until(
        lambda: [set(output["data"]) for output in notebook.outputs(index)] == [{"text/html", "text/plain"}],
        "the card is HTML",
    )
    assert [set(output.data) for output in notebook.save().cells[index].outputs] == [{"text/html", "text/plain"}]


def ended(notebook: Notebook) -> None:
    """Let all jobs of the notebook run and wait for them, without it."""
    go(notebook, 1)
    go(notebook, 2)
    with cellq.Queue(notebook.path.parent / ".cellq" / "jobs.db") as queue:
        assert cellq.wait(queue.jobs(), 60).not_done == set()


def test_a_group_in_its_midst_after_a_kernel_restart(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path, app: str
) -> None:
    notebook = open_notebook([LOAD, MANY], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "20 completed", 60)
    notebook.restart()
    notebook.wait_for(1, "The kernel was restarted")
    notebook.run(0)
    alive(notebook)
    go(notebook, 1)
    notebook.wait_for(1, "39 completed")
    notebook.wait_for(1, "1 failed")
    notebook.screenshot(artifacts / f"group-back-{app}.png")
    go(notebook, 2)
    notebook.wait_for(1, "59 completed")
    is_html(notebook, 1)
    notebook.screenshot(artifacts / f"group-back-end-{app}.png")


def test_what_is_left_is_cancelled_after_two_restarts_and_a_reload(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, MANY])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "20 completed", 60)
    for _ in range(2):
        notebook.restart()
        notebook.run(0)
        alive(notebook)
    notebook.save()
    notebook.reload()
    button = notebook.cell(1).get_by_role("button", name="Cancel what is left")
    button.wait_for()
    button.click()
    notebook.wait_for(1, "40 cancelled")
    is_html(notebook, 1)


def test_a_group_that_ended_while_nobody_was_there(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook([LOAD, MANY])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "20 completed", 60)
    notebook.save()
    notebook.page.close()
    notebook.lab.end_kernels()
    ended(notebook)
    again = notebook.reopen()
    again.run(0)
    again.wait_for(1, "59 completed")
    assert "ValueError: no 33" in again.text(1)
    is_html(again, 1)


def test_a_group_that_was_never_saved_is_there_after_a_crash_of_the_page(
    open_notebook: Callable[..., Notebook],
) -> None:
    notebook = open_notebook([LOAD, MANY])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "20 completed", 60)
    notebook.page.close()
    again = notebook.reopen()
    again.wait_for(1, "20 completed")
    ended(notebook)
    again.wait_for(1, "59 completed")
    is_html(again, 1)


def test_cards_of_a_job_and_of_groups_share_a_cell(open_notebook: Callable[..., Notebook]) -> None:
    cell = MANY.removesuffix("jobs") + "display(jobs)\nq.enqueue(simulate, 50)"
    notebook = open_notebook([LOAD, cell, "%%enqueue other\n1"])
    for index in (0, 1, 2):
        notebook.run(index)
    notebook.wait_for(1, "20 completed", 60)
    notebook.save()
    notebook.restart()
    notebook.run(0)
    alive(notebook)
    ended(notebook)
    notebook.wait_for(1, "59 completed")
    shown = "return panel.content.widgets[1].model.outputs.toJSON().map(one => one.data['text/plain'])"
    notebook.until(lambda: sum("completed" in one for one in notebook.js(shown)) == 2, "each is there, at its end")
