"""Groups, tables and the pump behind them: what is read, what is sent, what a kernel's cells show of many jobs."""

import json
import pathlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from frontend import Cell, Frontend

from cellq.client.portal import portal
from cellq.client.sync import JobGroup, Queue
from cellq.ids import parse_id
from cellq.message import Claim, Ending, Event, Failure, Lane, Outcome, State, WorkerInfo
from cellq.notebook.boards.board import Board, Line
from cellq.notebook.boards.census import Census
from cellq.notebook.boards.group import group_board
from cellq.notebook.boards.jobs import JobsFeed
from cellq.notebook.boards.pump import Pump
from cellq.notebook.boards.tail import Tail
from cellq.notebook.cards.card import Clock
from cellq.settings import RUNTIME

pytestmark = pytest.mark.timeout(120)


def square(x: int) -> int:
    return x * x


class Hand:
    """Plays the worker."""

    def __init__(self, queue: Queue) -> None:
        self.connection = queue.asynchronous().connection
        self.store = portal().call(self.connection.ready())
        self.worker = WorkerInfo(
            id=b"w" * 16, host="h", pid=1, started=0.0, runtime=RUNTIME, queues=("default",), slots=4, lease=600.0
        )
        portal().call(self.store.beat(self.worker, []))

    def start(self, count: int) -> list[Claim]:
        claimed = portal().call(self.store.claim(self.worker.id, ["default"], {Lane.SYNC: count}, RUNTIME))
        assert len(claimed.claims) == count
        return list(claimed.claims)

    def end(self, claim: Claim, ending: Ending = Ending.COMPLETED, why: str = "") -> None:
        failure = Failure(cause="exception", types=("ValueError",), message=why) if why else None
        accepted = portal().call(self.store.finish([Outcome(lease=claim.lease, ending=ending, failure=failure)]))
        assert accepted == [True]

    def say(self, claim: Claim, kind: str, **content: Any) -> None:
        portal().call(self.store.report([Event(claim.lease, kind, json.dumps(content))]))


@pytest.fixture(params=["sqlite", "memory"])
def queue(request: pytest.FixtureRequest, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
    monkeypatch.setenv("CELLQ_SECRET", "a secret of the tests only")
    where = f"sqlite:///{tmp_path}/jobs.db" if request.param == "sqlite" else f"memory://{tmp_path.name}"
    with Queue(where) as queue:
        yield queue


def census_of(group: JobGroup[Any]) -> Census:
    return Census([parse_id(job.id) for job in group], group.asynchronous().sources())


def look(census: Census) -> dict[str, int]:
    portal().call(census.look())
    return {state.value: census.count(state) for state in State if census.count(state)}


@pytest.mark.parametrize("size", [20, 200])
def test_a_census_follows_its_jobs_however_many(queue: Queue, size: int) -> None:
    group = queue.map(square, range(size))
    hand, census = Hand(queue), census_of(group)
    assert look(census) == {"pending": size}
    first, second, third, fourth = hand.start(4)
    assert look(census) == {"pending": size - 4, "running": 4}
    hand.end(first)
    hand.end(second, Ending.FAILED, "no good")
    hand.end(third, Ending.RETRY)
    assert look(census) == {"pending": size - 3, "running": 1, "completed": 1, "failed": 1}
    shown = [(row.id, row.state) for row in census.first(4)]
    assert shown[:3] == [
        (fourth.lease.id, State.RUNNING),
        (second.lease.id, State.FAILED),
        (first.lease.id, State.COMPLETED),
    ]
    assert shown[3][1] is State.PENDING
    group.cancel()
    hand.end(fourth, Ending.CANCELLED)
    portal().call(census.look())
    while census.live:  # of many, what was cancelled in the queue may be seen with the next endings
        portal().call(census.look())
    assert census.count(State.CANCELLED) == size - 2


def test_a_census_of_many_reads_only_what_has_changed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    group = queue.map(square, range(300))
    hand, census = Hand(queue), census_of(group)
    look(census)
    read: list[object] = []
    get = hand.connection.get

    async def counted(ids: Any, parts: Any = ()) -> Any:
        read.extend(ids)
        return await get(ids, parts)

    monkeypatch.setattr(hand.connection, "get", counted)
    for claim in hand.start(3):
        hand.end(claim)
    assert look(census) == {"pending": 297, "completed": 3}
    assert read == []


def test_jobs_of_others_are_not_counted(queue: Queue) -> None:
    queue.map(square, range(5))
    group = queue.map(square, range(100))
    hand, census = Hand(queue), census_of(group)
    look(census)
    for claim in hand.start(4):
        hand.end(claim)
    hand.start(3)
    assert look(census) == {"pending": 98, "running": 2}


def test_a_deleted_job_is_not_waited_for(queue: Queue) -> None:
    group = queue.map(square, range(3))
    group[1].cancel()
    census = census_of(group)
    look(census)
    group[0].cancel()
    queue.delete([group[0]])
    assert look(census) == {"pending": 1, "cancelled": 1}
    board = group_board(census, [])
    assert "1 of 3 were deleted" in board.bundle()["text/plain"]


def test_a_groups_card_says_what_failed_and_why(queue: Queue) -> None:
    group = queue.map(square, range(4))
    hand, census = Hand(queue), census_of(group)
    for place, claim in enumerate(hand.start(4)):
        if place == 2:
            hand.end(claim, Ending.FAILED, "ValueError: <b>2</b>\nmore")
        else:
            hand.end(claim)
    look(census)
    shown = group_board(census, ["a note"]).bundle()
    first, note, failed = shown["text/plain"].splitlines()
    assert first.startswith("✗ square · 4 jobs · 3 completed, 1 failed · ")
    assert note == "  a note"
    assert failed == f"  ✗ [2] {group[2].short} ValueError: <b>2</b>"
    assert "ValueError: &lt;b&gt;2&lt;/b&gt;" in shown["text/html"]
    assert "<b>2" not in shown["text/html"]
    assert "<script" not in shown["text/html"]


def board(*lines: Line, **head: Any) -> Board:
    return Board("group", head, ("", ""), lines, {})


def test_a_board_sends_only_what_looks_different() -> None:
    one = Line("1", "", "running", ("a", Clock("", 1.0, 1)))
    later = Line("1", "", "running", ("a", Clock("", 2.0, 1)))
    two = Line("2", "", "pending", ("b", ""))
    assert board(one, total=2).changes(board(later, total=2)) == {}
    assert board(one, two).changes(board(one)) == {"lines": {"2": two.as_json()}, "order": ["1", "2"]}
    assert board(one).changes(board(two, one)) == {"order": ["1"]}
    assert board(one, total=3).changes(board(one, total=2)) == {"head": {"total": 3}}


def test_the_end_of_a_log_is_plain_and_short(queue: Queue) -> None:
    job = queue.enqueue(square, 1)
    hand, tail = Hand(queue), Tail()

    def read() -> str:
        row = job.row()
        portal().call(tail.read(hand.connection, row))
        return tail.shown(row)

    assert read() == "(it has not started)"
    (claim,) = hand.start(1)
    assert read() == "(nothing so far)"
    hand.say(claim, "stream", name="stdout", text="10%\r20%\r\x1b[31mred\x1b[0m\n")
    assert read() == "red"
    hand.say(claim, "stream", name="stdout", text="".join(f"line {i}\n" for i in range(1000)))
    lines = read().splitlines()
    assert lines[0] == "… (job.logs() has all)"
    assert lines[1:] == [f"line {i}" for i in range(900, 1000)]
    hand.end(claim, Ending.FAILED, "no")
    assert read().endswith("line 999")
    job.retry()
    assert read() == "(it has not started)"


class Watched:
    """A screen that keeps the last board."""

    watched = True

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.board: Board | None = None

    def draw(self, board: Board) -> None:
        with self.news:
            self.board = board
            self.news.notify_all()

    def until(self, condition: Callable[[Board], Any], what: str) -> Board:
        deadline = time.monotonic() + 20
        with self.news:
            while self.board is None or not condition(self.board):
                left = deadline - time.monotonic()
                assert left > 0, f"waited in vain until {what}: {self.board}"
                self.news.wait(left)
            return self.board


def names(board: Board) -> list[object]:
    return [line.cells[1] for line in board.lines]


def test_the_table_of_jobs_is_narrowed_and_obeys(queue: Queue) -> None:
    for name in ("anna", "bert", "carl", "dora"):
        queue.options(name=name).enqueue(square, 1)
    hand, screen = Hand(queue), Watched()
    _running, done = hand.start(2)
    hand.end(done, Ending.FAILED, "broken")
    pump = Pump(hand.connection)
    feed: Any = JobsFeed(hand.connection, pump, 2)
    feed.screen = screen
    feed.watch(True)
    try:
        shown = screen.until(lambda board: len(board.lines) == 2, "two lines are there")
        assert names(shown) == ["dora", "carl"]
        assert shown.head["told"] == "the newest 2 of 4 jobs"
        feed.press({"cmd": "more"})
        shown = screen.until(lambda board: len(board.lines) == 4, "more are there")
        feed.press({"cmd": "filter", "states": ["failed"], "text": ""})
        shown = screen.until(lambda board: names(board) == ["bert"], "the failed one is left")
        key = shown.lines[0].key
        feed.press({"cmd": "output", "key": key})
        screen.until(lambda board: board.lines[0].below == "broken", "its output is open")
        feed.press({"cmd": "retry", "key": key})
        screen.until(lambda board: not board.lines, "it is failed no more")
        feed.press({"cmd": "filter", "states": [], "text": "AN"})
        shown = screen.until(lambda board: names(board) == ["anna"], "the text is found")
        feed.press({"cmd": "cancel", "key": shown.lines[0].key})
        shown = screen.until(lambda board: "stopping" in str(board.lines[0].cells[3]), "it is being stopped")
        assert [button.open for button in shown.lines[0].buttons] == [True, False]
        feed.press({"cmd": "filter", "states": ["none such"], "text": ""})
        screen.until(lambda board: "none such" in str(board.head["notes"]), "nonsense is refused")
    finally:
        feed.watch(False)


def test_a_feed_that_fails_is_told_and_the_others_go_on(queue: Queue) -> None:
    class Feed:
        tick = 60.0

        def __init__(self, error: Exception | None) -> None:
            self.error, self.looks, self.lost = error, threading.Semaphore(0), threading.Event()

        async def look(self) -> bool:
            self.looks.release()
            if self.error:
                raise self.error
            return True

        def lose(self, error: Exception) -> None:
            self.lost.set()

    pump = Pump(queue.asynchronous().connection)
    good, bad = Feed(None), Feed(ZeroDivisionError())
    pump.add(good)
    pump.add(bad)
    try:
        assert bad.lost.wait(20)
        assert good.looks.acquire(timeout=20)
        queue.enqueue(square, 1)
        assert good.looks.acquire(timeout=20), "it was not looked at when there was news"
        assert not good.lost.is_set()
    finally:
        pump.remove(good)


# ------------------------------------------------------------------------------------------------ in kernels

SETUP = (
    "%load_ext cellq\nimport cellq, time\nq = cellq.Queue()\ndef f(x):\n    if x == 3: raise ValueError(f'no {x}')\n"
)


def card(cell: Cell) -> str:
    """The card of a group as plain text, "" when there is none."""
    cards = [c["data"] for c in cell.of("display_data") if "cq-board" in str(c["data"].get("text/html"))]
    assert len(cards) < 2, f"{len(cards)} cards below one cell"
    return str(cards[0]["text/plain"]) if cards else ""


def test_a_group_as_the_last_expression_is_one_card_that_ends_as_html(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(SETUP)
    cell = front.run("jobs = q.map(f, range(30))\njobs")
    assert len(cell.outputs) == 1
    assert "application/vnd.jupyter.widget-view+json" in cell.outputs[0][1]["data"]
    cell.until(lambda cell: "29 completed, 1 failed" in card(cell), "all have ended")
    assert "no worker was running: started one" in card(cell)
    assert f"✗ [3] {front.run('print(jobs[3].short)').printed.strip()} ValueError: no 3" in card(cell)
    assert set(cell.outputs[0][1]["data"]) == {"text/html", "text/plain"}
    again = front.run("jobs")
    assert "29 completed, 1 failed" in card(again)
    assert set(again.outputs[0][1]["data"]) == {"text/html", "text/plain"}, "what has ended needs no widget"


@pytest.mark.parametrize("page", ["with_widgets", "without"])
def test_the_card_of_a_group_goes_on_when_its_failed_jobs_are_run_again(
    new_front: Callable[..., Frontend], page: str
) -> None:
    front = new_front()
    front.run(SETUP.replace("x == 3", "x % 2 and not pathlib.Path('go').exists()") + "    return x\nimport pathlib")
    if page == "without":
        front.run("from cellq.notebook.cards.widgets import LiveView\nLiveView.blind = True")
    cell = front.run("jobs = q.map(f, range(120))\njobs")
    cell.until(lambda cell: "60 completed, 60 failed" in card(cell), "all have ended")
    front.run("pathlib.Path('go').touch()\nchanged = jobs.retry()")
    cell.until(lambda cell: "120 completed" in card(cell), "those that failed have been run again")
    assert "failed" not in card(cell)
    assert front.run("print(sum(jobs.results()))").printed == f"{sum(range(120))}\n"


def test_without_a_front_end_a_shown_group_is_waited_for(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(SETUP + "    time.sleep(0.1)", headless=True)
    cell = front.run("q.map(f, range(6))", headless=True)
    assert "5 completed, 1 failed" in card(cell)
    job = front.run("q.enqueue(f, 1)", headless=True)
    assert "completed" in job.card


def test_a_waiting_cell_that_is_interrupted_leaves_its_jobs_alone(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(SETUP + "    while x: time.sleep(0.05)", headless=True)
    cell = front.send("jobs = q.map(f, [1, 2])\njobs", headless=True)
    cell.until(card, "the card is there")
    front.interrupt()
    front.finish(cell)
    assert "the jobs go on" in cell.error
    front.run("jobs.cancel(), jobs.wait(30)")


def test_a_job_as_the_last_expression_is_its_card(new_front: Callable[..., Frontend]) -> None:
    front = new_front()
    front.run(SETUP)
    cell = front.run("job = q.enqueue(f, 3)\njob")
    cell.ended("failed")
    assert "ValueError: no 3" in cell.card
    assert "no worker was running: started one" in cell.card


def test_jobs_of_coroutines_are_shown_as_well(front: Frontend) -> None:
    front.run("import cellq\naq = cellq.AsyncQueue()\ndef double(x): return 2 * x")
    cell = front.run("group = await aq.map(double, range(3))\ngroup")
    cell.until(lambda cell: "3 completed" in card(cell), "all have ended")
    front.run("job = await aq.enqueue(double, 1)\njob").ended()


def test_an_empty_group_and_a_deleted_job_are_told_in_a_line(front: Frontend) -> None:
    front.run("import cellq\nq = cellq.Queue()")
    assert "0 jobs" in card(front.run("q.map(len, [])"))
    front.run("job = q.options(delay=60).enqueue(len, 'ab')\njob.cancel(), q.delete([job])")
    assert "it was pruned or deleted" in front.run("job").printed


def test_tables_stand_in_the_notebook_as_html_too(front: Frontend) -> None:
    for magic, words in (("%jobs", "completed"), ("%workers", "slots")):
        data = front.run(magic).of("display_data")[0]["data"]
        assert "application/vnd.jupyter.widget-view+json" in data
        assert words in data["text/html"]
        assert words in data["text/plain"]
        data = front.run(magic, headless=True).of("display_data")[0]["data"]
        assert set(data) == {"text/html", "text/plain"}
