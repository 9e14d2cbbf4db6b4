"""Whatever can be called and was defined in a notebook gives the same answer through a worker in another directory.

The notebook is a real kernel; what it defines is tests/wire/callables.py.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

CALLABLES = Path(__file__).parent.parent / "wire" / "callables.py"

ENQUEUE = """
import cellq
q = cellq.Queue({url!r})
def sent(func, args):
    try:
        return q.enqueue(func, *args)
    except Exception as error:
        return error
jobs = {{name: sent(func, args) for name, (func, args) in QUESTIONS.items()}}
"""

ANSWER = """
import json
def told(job):
    try:
        return job.result(timeout=20)
    except Exception as error:
        return repr(error)
away = {name: told(job) for name, job in jobs.items()}
here = {}
def answer_all():
    global scale
    for name, (func, args) in QUESTIONS.items():
        scale = 3  # one of them changes it, here; in the worker it changed its own
        here[name] = func(*args)
import threading
asker = threading.Thread(target=answer_all)  # a kernel's main thread has a running loop: asyncio.run would refuse
asker.start()
asker.join()
print(json.dumps([json.loads(json.dumps(here)), away], default=repr))
"""


def names() -> list[str]:
    space: dict[str, object] = {"__name__": "names"}
    exec(CALLABLES.read_text(), space)
    return list(space["QUESTIONS"])  # type: ignore[call-overload]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], dict[str, object]]:
    home, elsewhere = tmp_path_factory.mktemp("notebook"), tmp_path_factory.mktemp("elsewhere")
    os.environ["CELLQ_HOME"] = str(tmp_path_factory.getbasetemp() / "home")
    url = f"sqlite:///{home / 'jobs.db'}"
    worker = subprocess.Popen(
        [sys.executable, "-m", "cellq", "worker", "--url", url, "-n", "2"], cwd=elsewhere, stderr=subprocess.DEVNULL
    )
    try:
        v4 = nbformat.v4
        notebook = v4.new_notebook(
            cells=[v4.new_code_cell(source) for source in (CALLABLES.read_text(), ENQUEUE.format(url=url), ANSWER)]
        )
        resources = {"metadata": {"path": str(home)}}
        NotebookClient(notebook, timeout=110, kernel_name="python3", resources=resources).execute()
        printed = "".join(output["text"] for output in notebook.cells[2].outputs)
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(30)
    here, away = json.loads(printed)
    return here, away


@pytest.mark.parametrize("name", names())
def test_answers_the_same_through_a_worker(name: str, answers) -> None:
    here, away = answers
    assert away[name] == here[name]
