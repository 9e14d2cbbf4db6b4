"""Kernels of their own: headless runs, kernels without widgets, workers that are started, missing or dead."""

import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import pytest
from frontend import Frontend

import cellq

pytestmark = pytest.mark.timeout(120)

LOAD = "%load_ext cellq"
UNTIL_GO = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)"


def test_a_headless_cell_waits_until_everything_is_recorded(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(LOAD, headless=True)
    cell = front.run("%%enqueue\nimport time\ntime.sleep(0.3)\nprint('late')\nname = 5\n6", headless=True)
    assert (cell.printed, cell.value) == ("late\n", "6")
    (card,) = cell.of("display_data")
    assert set(card["data"]) == {"text/html", "text/plain"}
    assert "completed" in cell.card
    assert "no worker was running: started one with" in cell.card
    assert front.run("print(name)", headless=True).printed == "5\n"

    failed = front.run("%%enqueue\n1 / 0", headless=True)
    assert failed.reply is not None
    assert failed.reply["ename"] == "ZeroDivisionError"
    assert failed.error.count("ZeroDivisionError: division by zero") == 1

    assert front.run("import os; os.environ['CELLQ_WAIT'] = '0'", headless=True).error == ""
    assert "completed" not in front.run(f"%%enqueue unwaited\n{UNTIL_GO}", headless=True).card
    front.run("open('go', 'w').close(); os.environ['CELLQ_WAIT'] = '1'; unwaited.wait()")
    assert front.run("%%enqueue\nimport time\ntime.sleep(0.3)\n7").value == "7"


def test_without_widgets_everything_else_is_the_same(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    block = "import sys\nfor name in ('ipywidgets', 'anywidget', 'traitlets.none'): sys.modules[name] = None\n"
    assert front.run(block + "import cellq\n" + LOAD).error == ""
    tracked = "for _ in cellq.track(range(100)): time.sleep(0.02)"
    began = time.monotonic()
    cell = front.run(f"%%enqueue job\nimport cellq, time\n{tracked}\nmade = 3\n8")
    cell.until(lambda cell: "/100" in cell.card, "the bar is shown while the job runs")
    cell.ended().until(lambda cell: cell.value, "the last value is there")
    (card, *_) = cell.of("display_data")
    assert set(card["data"]) == {"text/html", "text/plain"}
    assert cell.messages < 10 + 5 * (time.monotonic() - began), "more than a few messages a second"
    assert front.run("print(made)").printed == "3\n"


def test_a_worker_that_dies_at_its_start_is_reported_with_its_log(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    # What the worker needs is shadowed by a module that fails.
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "psutil.py").write_text("raise ImportError('this psutil is broken')\n")
    front = new_front()
    front.run(LOAD)
    front.run(f"import os\nos.environ['PYTHONPATH'] = {str(tmp_path / 'shadow')!r}")
    cell = front.run("%%enqueue job --wait\n1")
    assert cell.error.startswith("the worker ended at once with code 1"), cell.error
    assert "this psutil is broken" in cell.error
    assert front.run("print(job.state)").printed == "pending\n"


def test_a_worker_that_was_killed_is_replaced(new_front: Callable[..., Frontend], tmp_path: pathlib.Path) -> None:
    front = new_front()
    front.run(LOAD)
    front.run("%%enqueue --wait\n1")
    queue = cellq.Queue(tmp_path / ".cellq" / "jobs.db")
    (worker,) = queue.workers()
    psutil.Process(worker.pid).kill()
    cell = front.run("%%enqueue --wait\n2")
    assert "no worker was running: started one" in cell.card
    assert "completed" in cell.card
    queue.close()


def test_workers_are_started_listed_and_stopped(new_front: Callable[..., Frontend], tmp_path: pathlib.Path) -> None:
    front = new_front()
    front.run(LOAD)
    assert "no worker runs for" in str(front.run("%workers").of("display_data"))
    (table,) = front.run("%workers start -n 1 -q special").of("display_data")
    assert "special" in table["data"]["text/plain"]
    cell = front.run("%%enqueue -q special --wait\n3")
    assert "no worker" not in cell.card
    queue = cellq.Queue(tmp_path / ".cellq" / "jobs.db")
    (worker,) = queue.workers()
    assert worker.slots == 1
    assert f"asked to finish and end: {worker.pid}" in front.run("%workers stop").printed
    deadline = time.monotonic() + 20
    while queue.workers() and time.monotonic() < deadline:
        time.sleep(0.05)  # between two looks at who is there
    assert "no worker runs for" in str(front.run("%workers").of("display_data"))
    assert "needs at least one slot" in front.run("%workers start -n 0").warned
    queue.close()


def test_a_notebook_that_changes_its_directory_keeps_its_jobs(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    front = new_front()
    front.run(LOAD)
    front.run("import os\nos.chdir('elsewhere')")
    assert front.run("%%enqueue --wait\nimport os\nos.path.basename(os.getcwd())").value == "'elsewhere'"
    assert not (tmp_path / "elsewhere" / ".cellq").exists()


def test_a_notebook_in_a_terminal_gets_lines(tmp_path: pathlib.Path, environment: dict[str, str]) -> None:
    code = (
        "%load_ext cellq\nget_ipython().run_cell_magic('enqueue', 'fit --wait', "
        "'print(\"said\")\\nx = 4\\n5\\n')\nprint('back', x)\n"
    )
    script = tmp_path / "cells.ipy"
    script.write_text(code)
    told = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert "[fit] said" in lines
    assert "[fit] 5" in lines
    assert any(line.startswith("[fit] ✓ fit (") and "completed" in line for line in lines)
    assert lines[-1] == "back 4"
