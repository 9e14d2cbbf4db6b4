"""In a real browser, with the jobs on a Valkey server: from "no worker" to the end, over a reload, and Cancel."""

import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from lab import Notebook

pytestmark = pytest.mark.timeout(120)

LOAD = "%env CELLQ_URL={url}\n%load_ext cellq\nimport time, pathlib"
FIT = """%%enqueue fit
print('first')
while not pathlib.Path('go').exists(): time.sleep(0.05)
print('second')
model = 42
model"""
ENDLESS = "%%enqueue endless\nprint('on it')\nwhile True: time.sleep(0.1)"


@pytest.fixture
def start_worker(environment: dict[str, str], tmp_path: pathlib.Path) -> Iterator[Callable[[str], None]]:
    """Starts a worker as people do, who have a terminal for it."""
    started: list[subprocess.Popen[bytes]] = []

    def start(url: str) -> None:
        command = [sys.executable, "-m", "cellq", "worker", "--url", url, "-n", "1"]
        with (tmp_path / "worker.log").open("wb") as log:
            started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log))

    yield start
    for worker in started:
        worker.terminate()
        worker.wait(30)


def test_a_cells_life_on_a_server(
    open_notebook: Callable[..., Notebook],
    start_worker: Callable[[str], None],
    redis_url: str,
    artifacts: pathlib.Path,
) -> None:
    notebook = open_notebook([LOAD.format(url=redis_url), FIT, "print(model)", ENDLESS])
    notebook.run(0)
    notebook.run(1)
    notebook.wait_for(1, f"no worker is running; start one with: cellq worker --url {redis_url}")
    assert "pending" in notebook.text(1)
    notebook.screenshot(artifacts / "redis-no-worker.png")

    start_worker(redis_url)
    notebook.wait_for(1, "first")
    notebook.until(lambda: "running" in notebook.text(1), "its card says that it runs")
    assert "no worker" not in notebook.text(1), "what it waited for is told after it has started"
    notebook.save()
    notebook.reload()
    notebook.wait_for(1, "first")
    button = notebook.cell(1).get_by_role("button", name="Cancel fit")
    notebook.until(lambda: button.count() == 1, "the card is alive after the reload")
    notebook.screenshot(artifacts / "redis-reloaded.png")
    notebook.path.with_name("go").touch()
    notebook.wait_for(1, "completed")
    notebook.until(
        lambda: (
            [output["output_type"] for output in notebook.outputs(1)] == ["display_data", "stream", "execute_result"]
        ),
        "the last value is below its cell",
    )
    notebook.run(2)
    notebook.wait_for(2, "42")
    card, said, _ = notebook.save().cells[1].outputs
    assert set(card.data) == {"text/html", "text/plain"}, "a finished card needs no widget"
    assert said.text == "first\nsecond\n"

    notebook.run(3)
    notebook.wait_for(3, "on it")
    notebook.cell(3).get_by_role("button", name="Cancel endless").click()
    notebook.wait_for(3, "cancelled")
    assert "KeyboardInterrupt" not in notebook.text(3)
    notebook.screenshot(artifacts / "redis-end.png")
