"""A card of a job that has ended comes alive when the job is run again, wherever that was asked for."""

import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from frontend import Cell, Frontend

from cellq import Queue
from cellq.client.portal import portal
from cellq.notebook.boards import pump
from cellq.notebook.boards.pump import Pumps
from cellq.notebook.sleepers import Sleepers

pytestmark = pytest.mark.timeout(120)

# Fails the first time, and each time says how often it was run.
FLAKY = """%%enqueue NAME
import pathlib, time
runs = pathlib.Path('runs-NAME')
runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')
print('run', len(runs.read_text()))
if len(runs.read_text()) == 1: 1 / 0
while not pathlib.Path('go-NAME').exists(): time.sleep(0.02)
found = len(runs.read_text())
found"""


def failed(front: Frontend, name: str) -> Cell:
    """A cell whose job has failed, and is at rest."""
    cell = front.run(FLAKY.replace("NAME", name)).ended("failed")
    cell.until(lambda cell: "ZeroDivisionError" in cell.error, "its error is shown")
    assert cell.printed == "run 1\n"
    return cell


def from_a_shell(front: Frontend, name: str) -> None:
    folder, job = front.run(f"import os\nprint(os.getcwd(), {name}.id)").printed.split()
    told = subprocess.run(
        [sys.executable, "-m", "cellq", "retry", job],
        cwd=folder,
        env=front.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert told.returncode == 0, told.stderr


WAYS: dict[str, Callable[[Frontend, str], object]] = {
    "magic": lambda front, name: front.run(f"%jobs retry {name}"),
    "method": lambda front, name: front.run(f"{name}.retry()"),
    "another_handle": lambda front, name: front.run(f"import cellq\ncellq.Queue().get({name}.id).retry()"),
    "shell": from_a_shell,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_failed_cell_that_is_run_again_is_shown_in_its_cell(front: Frontend, way: str) -> None:
    name = f"job_{way}"
    cell = failed(front, name)
    WAYS[way](front, name)
    cell.until(lambda cell: "failed" not in cell.card and cell.printed == "run 2\n", "it runs, its old log is gone")
    assert cell.error == ""
    front.run(f"import pathlib\npathlib.Path('go-{name}').touch()")
    cell.ended().until(lambda cell: cell.value == "2", "its value is shown")
    assert front.run(f"print(found, {name}.state)").printed == "2 completed\n"


def test_waiting_for_a_job_that_was_run_again_brings_its_names(front: Frontend) -> None:
    failed(front, "waited")
    told = front.run("import pathlib\npathlib.Path('go-waited').touch()\nwaited.retry()\nprint(waited.result(), found)")
    assert told.printed == "2 2\n"


def test_a_completed_cell_may_be_run_again_and_again(front: Frontend) -> None:
    cell = failed(front, "often")
    front.run("pathlib.Path('go-often').touch()\noften.retry()")
    for run in (2, 3, 4):
        cell.until(lambda cell, run=run: cell.value == str(run), f"run {run} is shown")
        cell.until(lambda cell: "completed" in cell.card, "it has ended")
        assert cell.printed == f"run {run}\n"
        front.run("%jobs retry often")
    cell.until(lambda cell: cell.value == "5", "the last one is shown")


def test_a_run_that_ended_before_anybody_looked_is_shown(front: Frontend) -> None:
    cell = failed(front, "quick")
    front.run("pathlib.Path('go-quick').touch()\nquick.retry()\nquick.wait()")
    cell.until(lambda cell: cell.value == "2" and cell.printed == "run 2\n", "all of it is shown")
    cell.until(lambda cell: "completed" in cell.card, "and how it ended")


def test_a_shown_function_job_that_is_run_again_is_alive(front: Frontend) -> None:
    front.run("import cellq, pathlib\nq = cellq.Queue()\ndef f():\n    if not pathlib.Path('f').exists(): 1 / 0")
    cell = front.run("call = q.enqueue(f)\ncall").ended("failed")
    front.run("pathlib.Path('f').touch()\ncall.retry()")
    cell.until(lambda cell: "completed" in cell.card, "it has ended well")


def test_who_sleeps_is_looked_at_only_when_something_has_happened(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLQ_SECRET", "a secret of the tests only")
    monkeypatch.setattr(pump, "_LONGEST", 0.05)
    with Queue(f"sqlite:///{tmp_path}/jobs.db") as queue:
        job = queue.enqueue(len, "ab")
        job.cancel()
        row, connection = job.row(), queue.asynchronous().connection
        get, wait = connection.get, portal().call(connection.ready()).wait
        reads: list[object] = []
        quiet, woken = threading.Semaphore(0), threading.Event()

        async def counted(ids: Any, parts: Any = ()) -> Any:
            reads.append(ids)
            return await get(ids, parts)

        async def waited(topic: Any, cursor: int, timeout: float | None) -> int:
            newer = await wait(topic, cursor, timeout)
            if newer == cursor:
                quiet.release()
            return newer

        monkeypatch.setattr(connection, "get", counted)
        monkeypatch.setattr(portal().call(connection.ready()), "wait", waited)
        sleepers = Sleepers(Pumps(), lambda url: connection)

        async def lay() -> None:
            sleepers.lay(queue.url, row, lambda row: woken.set())

        portal().call(lay())
        for _ in range(2):
            assert quiet.acquire(timeout=20)
        before = len(reads)
        for _ in range(3):
            assert quiet.acquire(timeout=20)
        assert len(reads) == before, "it was looked at though nothing had happened"
        assert not woken.is_set()
        job.retry()
        assert woken.wait(20), "it sleeps on though its job was run again"
        sleepers.close()
