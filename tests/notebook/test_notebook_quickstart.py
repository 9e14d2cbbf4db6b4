"""The quickstart, executed headless as nbconvert does it, in an empty folder: what it says and shows is right."""

import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def on_redis(
    tmp_path_factory: pytest.TempPathFactory,
    environment: dict[str, str],
    redis_part: Callable[[], AbstractContextManager[str]],
) -> Iterator[dict[str, str]]:
    """A part of a server and a worker that serves it: what tells a kernel of them."""
    folder = tmp_path_factory.mktemp("worker")
    with redis_part() as url:
        told = {"CELLQ_URL": url, "CELLQ_HOME": str(folder / "home"), "CELLQ_SECRET": "what both have been told"}
        with (folder / "log").open("wb") as log:
            command = [sys.executable, "-P", "-m", "cellq", "worker", "-n", "2"]
            worker = subprocess.Popen(command, cwd=folder, env=environment | told, stdout=log, stderr=subprocess.STDOUT)
        yield told
        worker.terminate()
        assert worker.wait(30) == 0, (folder / "log").read_text()


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def executed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]
) -> nbformat.NotebookNode:
    """The notebook with its outputs: on a file of its own, with the worker that it starts; and on a server with one."""
    told = request.getfixturevalue("on_redis") if request.param == "redis" else {}
    source = pathlib.Path(__file__).parents[2] / "notebooks" / "quickstart.ipynb"
    notebook = nbformat.read(source, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "it is to be committed without outputs"
    folder = tmp_path_factory.mktemp("quickstart")
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("CELLQ_")]:
            patch.delenv(name)
        for name, value in (environment | told).items():
            patch.setenv(name, value)
        return client.execute()


def outputs(notebook: nbformat.NotebookNode, ident: str) -> list[nbformat.NotebookNode]:
    return next(cell.outputs for cell in notebook.cells if cell.id == ident)


def printed(notebook: nbformat.NotebookNode, ident: str) -> str:
    return "".join(output.text for output in outputs(notebook, ident) if output.output_type == "stream")


def images(notebook: nbformat.NotebookNode, ident: str) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook, ident))


def test_the_training_cell(executed: nbformat.NotebookNode) -> None:
    card, *_, value = outputs(executed, "fit")
    assert re.match(r"✓ fit \(\w{8}\) completed · [\d.]+ (?:s|min \d+ s)\n  epochs 300/300", card.data["text/plain"])
    assert set(card.data) == {"text/html", "text/plain"}
    assert re.search(r"accuracy after 300 epochs: 0\.9\d\d", printed(executed, "fit"))
    assert images(executed, "fit") == 1
    assert float(value.data["text/plain"]) > 0.9


def test_the_model_that_came_back(executed: nbformat.NotebookNode) -> None:
    assert re.match(r"3[2-5]\d of 360 right", printed(executed, "result"))
    assert images(executed, "result") == 1


def test_the_map(executed: nbformat.NotebookNode) -> None:
    assert re.match(r"200 results, [56]\d of them chaotic", printed(executed, "map"))
    assert images(executed, "map") == 1


def test_the_cancelled_job(executed: nbformat.NotebookNode) -> None:
    assert printed(executed, "cancel") == "it is running\nit is cancelled\n"


def test_the_failing_cell(executed: nbformat.NotebookNode) -> None:
    card, error = outputs(executed, "fail")
    assert "failed" in card.data["text/plain"]
    assert (error.output_type, error.ename) == ("error", "ZeroDivisionError")
    assert "inverse = [1 / share for share in shares]" in re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))


def test_the_tables(executed: nbformat.NotebookNode) -> None:
    (jobs,) = outputs(executed, "overview")
    for words in ("broken", "endless", "⊘ cancelled", "✗ failed"):
        assert words in jobs.data["text/plain"]
    (workers,) = outputs(executed, "workers")
    assert "default" in workers.data["text/plain"]
