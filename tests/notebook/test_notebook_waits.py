"""The card of a job that waits says what for, as long as it does: a paused queue, full slots, a rate limit."""

from collections.abc import Iterator

import pytest
from frontend import Cell, Frontend

pytestmark = pytest.mark.timeout(120)

PAUSED = "its queue 'shut' is paused: cellq resume shut"
LIMITED = "held back · next try in 59 min"


def card(cell: Cell) -> str:
    """The card of a group or of a job as plain text, "" when there is none."""
    return "".join(str(content["data"]["text/plain"]) for content in cell.of("display_data"))


WITHOUT_WIDGETS = "import sys\nfor name in ('anywidget', 'ipywidgets'): sys.modules[name] = None\n%load_ext cellq"


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[Frontend]:
    """A kernel whose cards are HTML from their beginning, so that what they say is at hand."""
    found = Frontend(tmp_path_factory.mktemp("waits"), environment)
    try:
        found.run(f"{WITHOUT_WIDGETS}\nimport cellq, pathlib, time")
        yield found
    finally:
        found.close()


def test_a_paused_queue(front: Frontend) -> None:
    front.run("shut = cellq.Queue(name='shut')\nshut.pause()")
    cell = front.run("%%enqueue -q shut\n1 + 1")
    group = front.run("shut.map(abs, [1, 2, 3])")
    job = front.run("shut.enqueue(abs, 1)")
    for shown in (cell, group, job):
        shown.until(lambda one: PAUSED in card(one), "its card says that the queue is paused")
    front.run("shut.resume()")
    for shown in (cell, group, job):
        shown.until(lambda one: "completed" in card(one), "it has run")
        assert "paused" not in card(shown)


def test_a_rate_limit(front: Frontend) -> None:
    front.run("%%enqueue --wait\n1")
    front.run("@cellq.task(max_rate='1/h')\ndef fetch(): pass\nfetch.enqueue().wait(30)")
    cell = front.run("job = fetch.enqueue()\njob")
    cell.until(lambda one: LIMITED in card(one), "its card says that it is held back")
    assert "over the rate limit of task fetch (1/h)" in card(cell)
    front.run("job.cancel()")


def test_full_slots(front: Frontend) -> None:
    front.run("%workers start -q few --slots 1")
    first = front.run("%%enqueue -q few\nprint('on it')\nwhile not pathlib.Path('go').exists(): time.sleep(0.02)")
    first.until(lambda one: "on it" in one.printed, "the only slot is taken")
    second = front.run("%%enqueue -q few\n1 + 1")
    second.until(lambda one: "the only slot of the workers of its queue is busy" in one.card, "its card says so")
    front.run("pathlib.Path('go').touch()")
    second.ended()
    assert "busy" not in second.card
