"""Coming back in real kernels: attaching to jobs, what a new kernel finds, cells that are run again, `--once`."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from frontend import Cell, Frontend

import cellq

pytestmark = pytest.mark.timeout(120)

LOAD = "%load_ext cellq"
FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2]); plt.show()\n"
UNTIL = "import pathlib, time\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)\n"


def kill(front: Frontend) -> None:
    """The kernel dies, and nothing of it is told to anybody."""
    os.kill(front.manager.provisioner.process.pid, signal.SIGKILL)  # type: ignore[union-attr]
    front.close()


def notes(cell: Cell) -> str:
    """What its card says below the first line."""
    return cell.card.partition("\n")[2]


def test_a_job_whose_kernel_was_killed_is_shown_whole_by_the_next_one(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    front = new_front()
    front.run(LOAD)
    cell = front.run("%%enqueue fit\nprint('one')\n" + FIGURE + UNTIL + "print('two')\nmodel = {'depth': 3}\nmodel")
    cell.until(lambda cell: "one" in cell.printed and cell.of("display_data")[1:], "the job is in its midst")
    kill(front)
    (tmp_path / "go").touch()
    with cellq.Queue(tmp_path / ".cellq" / "jobs.db") as queue:
        job = queue.jobs()[0]
        assert job.wait(60)

    after = new_front()
    after.run(LOAD)
    shown = after.run(f"%jobs attach {job.short}").ended()
    shown.until(lambda cell: cell.value, "the last value is there")
    assert shown.printed == "one\ntwo\n"
    assert [kind for kind, _ in shown.outputs] == ["display_data", "stream", "display_data", "stream", "execute_result"]
    assert "image/png" in shown.of("display_data")[1]["data"]
    shown.until(lambda cell: "model" in notes(cell), "it is told what came back")
    assert after.run("print(model, fit.name, fit['model'])").printed == "{'depth': 3} fit {'depth': 3}\n"


def test_attaching_to_a_running_job_follows_it_to_its_end(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    front = new_front()
    front.run(LOAD)
    cell = front.run("%%enqueue fit\nprint('one')\n" + UNTIL + "print('two')\nmodel = 3")
    cell.until(lambda cell: "one" in cell.printed, "it runs")
    kill(front)
    after = new_front()
    after.run(LOAD + "\nimport cellq\nmodel = 'mine'")
    shown = after.run("job = cellq.attach(cellq.Queue().jobs()[0])")
    shown.until(lambda cell: cell.printed == "one\n", "what it said before is there")
    again = after.run("cellq.attach(job.short);")
    (tmp_path / "go").touch()
    for one in (shown, again):
        one.ended().until(lambda cell: cell.printed == "one\ntwo\n", "all it said is there")
    assert after.run("print(model, fit['model'], fit is job)").printed == "mine 3 True\n"
    assert "model: exists here, left as it is" in notes(shown)


def test_a_function_job_of_another_program_is_shown(new_front: Callable[..., Frontend], tmp_path: pathlib.Path) -> None:
    program = "import cellq\ndef f(): print('said'); return 5\nprint(cellq.Queue().enqueue(f).id)"
    front = new_front()
    front.run(LOAD)
    told = front.run(
        f"import subprocess, sys\nprint(subprocess.check_output([sys.executable, '-c', {program!r}], text=True))"
    )
    shown = front.run(f"import cellq\njob = cellq.attach('{told.printed.strip()}')").ended()
    assert shown.printed == "said\n"
    assert front.run("print(job.result())").printed == "5\n"


def test_attaching_is_refused_with_a_reason(front: Frontend) -> None:
    front.run("import cellq")
    assert "there is no job 0badc0de" in front.run("cellq.attach('0badc0de')").error
    assert "no job id" in front.run("cellq.attach('x')").error
    assert "TypeError" in front.run("cellq.attach(5)").error
    told = subprocess.run(
        [sys.executable, "-c", "import cellq; cellq.attach('0badc0de')"], capture_output=True, text=True, timeout=60
    )
    assert told.stderr.splitlines()[-1].startswith("cellq.errors.CellqError: attach shows a job in a notebook's cell")


def test_headless_attaching_waits(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(LOAD, headless=True)
    cell = front.run("%%enqueue slow\nprint('said')\nx = 1 / 0", headless=True)
    assert cell.reply is not None
    assert cell.reply["status"] == "error"
    shown = front.run("import cellq\njob = cellq.attach(slow)\nprint(job.state)", headless=True)
    assert shown.printed == "said\nfailed\n"
    assert "ZeroDivisionError" in shown.error
    assert shown.reply is not None
    assert shown.reply["status"] == "ok"


# ------------------------------------------------------------------------------------------- a new kernel


def test_a_new_kernel_tells_what_was_left_and_brings_its_names(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    notebook = tmp_path / "work.ipynb"
    front = new_front(JPY_SESSION_NAME=str(notebook))
    assert front.run(LOAD).outputs == []
    assert not (tmp_path / ".cellq").exists(), "a notebook that enqueues nothing needs no database"
    done = front.run("%%enqueue early\n" + UNTIL.replace("go", "go-early") + "found = 1")
    saved = {"cells": [{"outputs": [{"data": content["data"]} for content in done.of("display_data")]}]}
    seen = front.run("%%enqueue\nseen = 1").ended()
    saved["cells"].append({"outputs": [{"data": content["data"]} for content in seen.of("display_data")]})
    notebook.write_text(json.dumps(saved))
    runs = front.run("%%enqueue fit\n" + UNTIL + "model = 3")
    runs.until(lambda cell: "running" in cell.card, "it runs")
    kill(front)
    (tmp_path / "go-early").touch()
    with cellq.Queue(tmp_path / ".cellq" / "jobs.db") as queue:
        assert queue.jobs(name="early")[0].wait(60)

    other = new_front(JPY_SESSION_NAME=str(tmp_path / "other.ipynb"))
    assert other.run(LOAD).outputs == [], "these are jobs of another notebook"
    after = new_front(JPY_SESSION_NAME=str(notebook))
    told = after.run(LOAD).printed
    assert told.startswith("cellq: early (")
    assert ") completed meanwhile, fit (" in told
    assert ") still runs; `%jobs attach ID`" in told
    assert after.run("print(found, fit.state)").printed == "1 running\n"
    (tmp_path / "go").touch()
    assert after.run("fit.wait()\nprint(model)").printed == "3\n"
    noted = f"from cellq.notebook.comeback import ends_seen\nprint(len(ends_seen({str(notebook)!r})))"
    deadline = time.monotonic() + 30
    while after.run(noted).printed != "3\n" and time.monotonic() < deadline:
        pass
    kill(after)
    assert new_front(JPY_SESSION_NAME=str(notebook)).run(LOAD).outputs == [], "what a kernel has seen is not told again"


def test_a_kernel_that_lives_keeps_its_jobs(new_front: Callable[..., Frontend], tmp_path: pathlib.Path) -> None:
    notebook = str(tmp_path / "work.ipynb")
    front = new_front(JPY_SESSION_NAME=notebook)
    front.run(LOAD)
    runs = front.run("%%enqueue fit\n" + UNTIL)
    runs.until(lambda cell: "running" in cell.card, "it runs")
    assert new_front(JPY_SESSION_NAME=notebook).run(LOAD).outputs == []
    assert front.run("%reload_ext cellq").outputs == []
    (tmp_path / "go").touch()
    runs.ended()


# ------------------------------------------------------------------------------------------- once


ONCE = """%%enqueue --once fit
with open('runs', 'a') as file: file.write('x')
print('said', sorted(tags))
for step in range(2):
    model = f(x)
    step = step + (model > 0)
model"""
SETUP = LOAD + "\nx = 2\ntags = {'a', 'b', 'c'}\ndef f(x): return 10 * x\n"


def test_a_cell_is_run_once_also_by_the_next_kernel(new_front: Callable[..., Frontend], tmp_path: pathlib.Path) -> None:
    runs = tmp_path / "runs"
    front = new_front()
    front.run(SETUP)
    first = front.run(ONCE).ended()
    first.until(lambda cell: cell.value, "the last value is there")
    again = front.run(ONCE).ended()
    again.until(lambda cell: cell.value, "the last value is there")
    assert (again.printed, again.value) == (first.printed, first.value) == ("said ['a', 'b', 'c']\n", "20")
    assert "not run again (--once): it ended" in notes(again)
    kill(front)

    after = new_front()
    after.run("import this\n" + SETUP)
    third = after.run(ONCE, headless=True)
    assert (third.printed, third.value) == (first.printed, "20")
    assert after.run("print(model, fit.result())").printed == "20 20\n"
    assert runs.read_text() == "x"
    for change in ("x = 3", "def f(x): return 11 * x", "tags.add('d')"):
        after.run(change)
        assert "not run again" not in after.run(ONCE, headless=True).card, change
    assert runs.read_text() == "xxxx"


def test_once_joins_what_runs_and_repeats_what_failed(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    front = new_front()
    front.run(LOAD)
    code = "%%enqueue --once fit\nprint('said')\n" + UNTIL + "if pathlib.Path('bad').exists(): 1 / 0\nmodel = 7"
    cell = front.run(code)
    cell.until(lambda cell: cell.printed, "it runs")
    kill(front)
    after = new_front()
    after.run(LOAD)
    joined = after.run(code)
    joined.until(lambda cell: cell.printed == "said\n", "what it said before is there")
    assert "not started again (--once): it goes on already" in notes(joined)
    (tmp_path / "bad").touch()
    (tmp_path / "go").touch()
    joined.ended("failed")
    (tmp_path / "bad").unlink()
    repeated = after.run(code).ended()
    assert "--once" not in notes(repeated)
    assert after.run("print(model)").printed == "7\n"


def test_once_says_when_inputs_cannot_be_compared(front: Frontend) -> None:
    front.run("deep = []\nfor _ in range(5000): deep = [deep]")
    for _ in range(2):
        cell = front.run("%%enqueue --once\nlen(deep)").ended()
        assert "--once has no effect: `deep` cannot be compared" in notes(cell)


# ------------------------------------------------------------------------------------------- run again


def test_a_cell_that_is_run_again_belongs_to_its_new_run(
    new_front: Callable[..., Frontend], tmp_path: pathlib.Path
) -> None:
    front = new_front(JPY_SESSION_NAME=str(tmp_path / "work.ipynb"))
    front.run(LOAD)
    code = "%%enqueue fit\nprint('said')\n" + UNTIL + "print('end')\nmade = 1"
    first = front.run(code).until(lambda cell: cell.printed, "it runs")
    second = front.run(code)
    second.until(lambda cell: "of this cell still runs" in notes(cell), "it is told that the earlier job runs")
    assert "%jobs cancel " in notes(second)
    (tmp_path / "go").touch()
    second.ended().until(lambda cell: cell.printed == "said\nend\n", "its own output is there")
    second.until(lambda cell: "still runs" not in notes(cell), "the note is gone with the earlier job")
    assert first.printed == "said\n", "the earlier run went on showing in a cell that is not its own"
    assert front.run("print(made)").printed == "1\n"


def test_several_jobs_of_one_run_share_their_cell(front: Frontend) -> None:
    loop = "for i in range(3): get_ipython().run_cell_magic('enqueue', '', f'print({i})')"
    cell = front.run(loop)
    cell.until(lambda cell: sorted(cell.printed.split()) == ["0", "1", "2"], "all have said their word")
    assert not any("still runs" in str(card["data"]) for card in cell.of("display_data"))
