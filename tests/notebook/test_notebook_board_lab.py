"""Groups and live tables in a real JupyterLab: what is on screen, what buttons do, and that the page stays smooth.

One theme each: that all of it can be read in both is pinned by `test_notebook_look`.
"""

import pathlib
import re
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from lab import Notebook

pytestmark = pytest.mark.timeout(180)

LOAD = "%load_ext cellq\nimport cellq, time\nq = cellq.Queue()"
EVIL = '<img src=x onerror="window.hit=1">'

SIMULATE = f"""
def simulate(x):
    import time
    time.sleep(0.1)
    if x % 17 == 3: raise ValueError(f'''{{x}} {EVIL}''')
    print('did', x)
jobs = q.map(simulate, range(40))
jobs
"""


def board(notebook: Notebook, index: int) -> Any:
    """The live board below a cell."""
    return notebook.cell(index).locator(".cq-board")


def lines(notebook: Notebook, index: int) -> list[str]:
    """The lines of the table below a cell, as they are read."""
    rows = "const rows = panel.content.widgets[arg].node.querySelectorAll('.cq-table tbody tr:not(.cq-below)');"
    found: list[str] = notebook.js(rows + "return [...rows].map(row => row.innerText)", index)
    return found


def test_a_group_is_one_live_card_and_html_in_the_end(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path
) -> None:
    notebook = open_notebook([LOAD, SIMULATE, "jobs[0]"])
    try:
        notebook.run(0)
        notebook.run(1)
        notebook.until(lambda: "failed" in notebook.text(1) and "running" in notebook.text(1), "one has failed")
        assert "no worker was running: started one" in notebook.text(1)
        assert board(notebook, 1).get_by_role("progressbar").get_attribute("aria-valuemax") == "40"
        assert board(notebook, 1).get_by_role("button", name="Cancel").count() == 1
        notebook.screenshot(artifacts / "group-running-light.png")
        notebook.wait_for(1, "37 completed")
        notebook.until(lambda: set(notebook.outputs(1)[0]["data"]) == {"text/html", "text/plain"}, "it is HTML")
        assert len(lines(notebook, 1)) == 3, "those that failed are listed, and nothing else"
        assert notebook.js("return window.hit === undefined"), "a job's text was read as markup"
        notebook.run(2)
        notebook.wait_for(2, "completed")
        notebook.screenshot(artifacts / "group-end-light.png")
        saved = notebook.save().cells[1].outputs
        assert [set(output.data) for output in saved] == [{"text/html", "text/plain"}]
    finally:
        notebook.change_theme("JupyterLab Light")


def test_what_is_left_of_a_group_is_cancelled_by_its_button(open_notebook: Callable[..., Notebook], app: str) -> None:
    slow = "def f(x):\n    while x: time.sleep(0.05)\njobs = q.map(f, [0, 0] + [1] * 30)\njobs"
    notebook = open_notebook([LOAD, slow], app=app)
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "2 completed")
    notebook.cell(1).get_by_role("button", name="Cancel what is left").focus()
    notebook.page.keyboard.press("Enter")
    notebook.wait_for(1, "30 cancelled")


def test_a_groups_card_goes_on_in_a_page_that_was_reloaded(open_notebook: Callable[..., Notebook]) -> None:
    gate = "import pathlib\ngate = pathlib.Path('gate').resolve()\n"
    slow = gate + "def f(x):\n    while x and not gate.exists(): time.sleep(0.05)\njobs = q.map(f, [0, 1])\njobs"
    notebook = open_notebook([LOAD, slow, "gate.touch()"])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "1 completed")
    notebook.save()
    notebook.reload()
    notebook.wait_for(1, "1 running")
    notebook.run(2)
    notebook.wait_for(1, "2 jobs\ncompleted")
    notebook.until(lambda: set(notebook.outputs(1)[0]["data"]) == {"text/html", "text/plain"}, "it is HTML")


def test_a_board_of_a_kernel_that_was_restarted_says_so(open_notebook: Callable[..., Notebook]) -> None:
    slow = "def f(x):\n    while x: time.sleep(0.05)\njobs = q.map(f, [0, 1])\njobs"
    notebook = open_notebook([LOAD, slow, "%jobs", "for job in q.jobs(): job.cancel()"])
    for index in range(3):
        notebook.run(index)
    notebook.wait_for(1, "1 completed")
    notebook.wait_for(2, "1 running")
    notebook.restart()
    notebook.wait_for(1, "The jobs go on")
    notebook.wait_for(2, "Run the cell again")
    assert not board(notebook, 1).get_by_role("button", name="Cancel").is_visible()
    notebook.run(0)
    notebook.run(3)


def test_a_page_with_a_thousand_jobs_stays_smooth(open_notebook: Callable[..., Notebook]) -> None:
    many = "def f(x):\n    time.sleep(0.01)\njobs = q.map(f, range(1000))\njobs"
    notebook = open_notebook([LOAD + "\nimport os\nprint(os.getpid())", many])
    notebook.run(0)
    kernel = psutil.Process(int(notebook.text(0).split()[-1]))
    notebook.run(1)
    notebook.wait_for(1, "jobs/s")
    before, began = kernel.cpu_times(), time.monotonic()
    watch = "window.longest = 0; let last = performance.now(); const step = () => { const now = performance.now();"
    watch += "window.longest = Math.max(window.longest, now - last); last = now; requestAnimationFrame(step); };"
    notebook.js(watch + "requestAnimationFrame(step); return 0")
    notebook.wait_for(1, "completed\n", 60)
    notebook.until(lambda: board(notebook, 1).locator("button").count() == 0, "it has ended", 60)
    after, ended = kernel.cpu_times(), time.monotonic()
    share = (after.user + after.system - before.user - before.system) / (ended - began)
    longest = notebook.js("return window.longest")
    print(f"longest gap between frames {longest:.0f} ms, kernel {share:.1%} of a core over {ended - began:.1f} s")
    # Far above what is measured on a quiet machine (80 ms, 3 %): a widget per job took seconds, and all of the kernel.
    assert longest < 1500
    assert share < 0.3
    assert notebook.page.locator(".cq-table tr").count() <= 52


def test_the_table_of_jobs_is_live_and_obeys(open_notebook: Callable[..., Notebook], artifacts: pathlib.Path) -> None:
    more = (
        "from tqdm import tqdm\n"
        "def training(n):\n    for i in tqdm(range(n)):\n        print('epoch', i)\n        time.sleep(0.1)\n"
        "t = q.enqueue(training, 10000)\nlater = q.options(delay=600, name='nightly').enqueue(simulate, 3)"
    )
    notebook = open_notebook([LOAD, SIMULATE, more, "%jobs -n 15"], dark=True)
    try:
        for index in range(4):
            notebook.run(index)
        table = board(notebook, 3)
        notebook.wait_for(3, "1 running")
        notebook.wait_for(3, "the newest 15 of 42 jobs")
        notebook.wait_for(3, "37 completed")
        assert len(lines(notebook, 3)) == 15

        table.get_by_role("button", name="Output training").click()
        notebook.wait_for(3, "epoch 2")
        notebook.wait_for(3, "it/s")
        notebook.screenshot(artifacts / "jobs-dark.png")
        table.get_by_role("button", name="Output training").click()
        notebook.until(lambda: "epoch 2" not in notebook.text(3), "the output is closed")

        table.get_by_role("button", name="3 failed").click()
        notebook.until(lambda: len(lines(notebook, 3)) == 3, "only the failed ones are listed")
        table.get_by_role("button", name="Output simulate").first.click()
        notebook.wait_for(3, "Traceback")
        assert notebook.js("return window.hit === undefined"), "a job's text was read as markup"
        notebook.screenshot(artifacts / "jobs-failed-dark.png")
        table.get_by_role("button", name="Retry simulate").first.click()
        notebook.until(lambda: "2 failed" in notebook.text(3) or "38 " in notebook.text(3), "it is tried again")

        table.get_by_role("button", name="failed").first.click()
        table.get_by_role("searchbox").fill("night")
        notebook.until(lambda: len(lines(notebook, 3)) == 1, "the one with this name is found")
        table.get_by_role("button", name="Cancel nightly").click()
        notebook.wait_for(3, "1 cancelled")
        table.get_by_role("searchbox").fill("")
        table.get_by_role("button", name="Show more").click()
        notebook.until(lambda: len(lines(notebook, 3)) == 42, "all are listed")
        table.get_by_role("button", name="Cancel training").focus()
        notebook.page.keyboard.press("Enter")
        notebook.wait_for(3, "2 cancelled")
    finally:
        notebook.change_theme("JupyterLab Light")


def test_the_table_of_workers_starts_and_stops_them(
    open_notebook: Callable[..., Notebook], artifacts: pathlib.Path
) -> None:
    notebook = open_notebook([LOAD, "%workers", "def f():\n    while True: pass\njob = q.enqueue(f)"])
    try:
        notebook.run(0)
        notebook.run(1)
        notebook.wait_for(1, "no worker runs for")
        table = board(notebook, 1)
        table.get_by_role("button", name="Start a worker").click()
        notebook.wait_for(1, "1 worker ·")
        notebook.run(2)
        notebook.wait_for(1, "f (")
        notebook.until(lambda: re.search(r"\t[1-9]\d* %", notebook.text(1)), "its CPU is told")
        notebook.screenshot(artifacts / "workers-light.png")
        notebook.js("await panel.sessionContext.session.kernel.requestExecute({code: 'job.cancel()'}).done; return 0")
        notebook.wait_for(1, "0 of 2 slots busy" if "of 2" in notebook.text(1) else "0 of")
        table.get_by_role("button", name="Stop worker").click()
        notebook.wait_for(1, "no worker runs for")
    finally:
        notebook.change_theme("JupyterLab Light")


def test_a_table_that_nobody_sees_is_not_fed(open_notebook: Callable[..., Notebook]) -> None:
    asked = "pumps = get_ipython().magics_manager.registry['CellqMagics'].session.pumps._pumps\n"
    asked += "print(sum(len(pump._looked) for pump in pumps.values()), 'fed')"
    notebook = open_notebook([LOAD, "%jobs", asked])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, "Jobs")

    def fed() -> str:
        notebook.run(2)
        return notebook.text(2).strip()

    notebook.until(lambda: fed() == "1 fed", "it is fed while it is seen")
    notebook.js("panel.content.activeCellIndex = 1; await app.commands.execute('notebook:clear-cell-output'); return 0")
    notebook.until(lambda: fed() == "0 fed", "it is fed no more")
