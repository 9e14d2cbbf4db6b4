"""`job.why()` tells what a pending job waits for, and nothing of one that has started."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from playing import Hand

from cellq.client.sync import Queue
from cellq.client.waiting import Surroundings, standstill, why
from cellq.message import Counts, Kind, QueueCount, Row, State, WorkerInfo

NOW = 1_000_000.0


def row(**changes: object) -> Row:
    made = Row(
        id=bytes(16),
        queue="gpu",
        name="fit",
        task="fit",
        kind=Kind.CALL,
        state=State.PENDING,
        priority=0,
        attempt=0,
        retries=0,
        timeout=None,
        key=None,
        concurrency_key=None,
        max_running=1,
        runtime="3.11",
        code_digest=b"",
        created=NOW,
        due=None,
        expires=None,
        after=(),
        started=None,
        finished=None,
        ended=None,
        worker=None,
        cancelling=False,
        progress="",
        failure=None,
        origin="",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def worker(**changes: object) -> WorkerInfo:
    made = WorkerInfo(
        id=bytes(16),
        host="here",
        pid=1,
        started=NOW,
        runtime="3.11",
        queues=("gpu",),
        slots=2,
        busy=0,
        lease=15.0,
        detail="",
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def told(
    job: Row,
    *workers: WorkerInfo,
    paused: bool = False,
    pending: int = 1,
    running: int = 0,
    limit: int | None = None,
    parents: tuple[Row, ...] = (),
    sharing: int = 0,
) -> str:
    states = {State.PENDING: pending, State.RUNNING: running}
    line = QueueCount(states=states, paused=paused, max_running=limit)
    counts = Counts(queues={"gpu": line}, workers=workers)
    return why(job, Surroundings(counts=counts, url="redis://server", parents=parents, sharing=sharing), NOW)


IDS = [bytes(14) + number.to_bytes(2, "big") for number in range(1, 6)]
LOAD = row(id=IDS[0], task="load", name="", state=State.RUNNING)
CLEAN = row(id=IDS[1], name="clean")


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param(told(row()), "cellq worker --url redis://server -q gpu", id="no worker"),
        pytest.param(told(row(), worker(queues=("default",))), "no worker serves its queue 'gpu'", id="other queues"),
        pytest.param(told(row(), worker(runtime="3.12")), "Python 3.11, as it was enqueued; those", id="Python"),
        pytest.param(told(row(), worker(), paused=True), "'gpu' is paused: cellq resume gpu", id="paused"),
        pytest.param(told(row(due=NOW + 90), worker()), "it is not due before 90 s from now", id="due"),
        pytest.param(told(row(due=NOW + 9, attempt=1), worker()), "its next attempt is not due before 9 s", id="retry"),
        pytest.param(
            told(row(due=NOW + 9, ctx='{"held": [0, "over the rate limit of task fetch (10/s)"]}'), worker()),
            "it is held back: over the rate limit of task fetch (10/s); its next try is 9 s from now",
            id="rate limit",
        ),
        pytest.param(
            told(row(due=NOW + 9, ctx='{"held": [0, ""]}'), worker()),
            "it is held back; its next try is 9 s from now",
            id="held back, and no reason given",
        ),
        pytest.param(
            told(row(due=NOW + 9, attempt=1, ctx='{"held": [0, "rate"]}'), worker()),
            "its next attempt is not due before 9 s",
            id="held back, then tried",
        ),
        pytest.param(told(row(ctx='{"held": [0, "rate"]}'), worker()), "it is about to start", id="held back no more"),
        pytest.param(told(row(due=NOW + 9, ctx="{"), worker()), "it is not due before 9 s", id="a ctx that is none"),
        pytest.param(told(row(), worker(busy=2), pending=5), "are busy; 4 other jobs wait", id="busy"),
        pytest.param(told(row(), worker(slots=0)), "no slots for calls", id="coroutines only"),
        pytest.param(told(row(kind=Kind.COROUTINE), worker(slots=0)), "about to start", id="a coroutine needs no slot"),
        pytest.param(told(row(), worker()), "it is about to start", id="nothing"),
        pytest.param(
            told(row(after=(IDS[0],), due=NOW + 9), parents=(LOAD,), paused=True),
            "it waits for job load 00000001 (running)",
            id="a job, before all else",
        ),
        pytest.param(
            told(row(after=(IDS[0], IDS[1])), parents=(LOAD, CLEAN)),
            "it waits for 2 jobs: load 00000001 (running), clean 00000002 (pending)",
            id="jobs",
        ),
        pytest.param(
            told(row(after=tuple(IDS)), parents=(LOAD, CLEAN)), "it waits for 5 jobs: load 00000001 (running), clean "
            "00000002 (pending) and 3 more", id="many jobs",
        ),
        pytest.param(
            told(row(), worker(busy=2), running=2, limit=2), "its queue 'gpu' may run 2 at once, and 2 run", id="limit",
        ),
        pytest.param(told(row(), worker(), running=1, limit=2), "it is about to start", id="limit not reached"),
        pytest.param(
            told(row(concurrency_key="api", max_running=3), worker(), sharing=3),
            "3 with its concurrency key 'api' may run at once, and 3 run",
            id="concurrency key",
        ),
        pytest.param(
            told(row(concurrency_key="api"), worker(), sharing=1, running=1, limit=1),
            "its queue 'gpu' may run 1",
            id="its queue before its key",
        ),
        pytest.param(told(row(concurrency_key="api"), worker()), "it is about to start", id="key not full"),
        pytest.param(
            told(row(expires=NOW + 30), worker()), "it is about to start; it expires 30 s from now", id="expires",
        ),
    ],
)  # fmt: skip
def test_it_names_what_stands_in_the_way(told: str, says: str) -> None:
    assert says in told


@pytest.mark.parametrize(
    ("job", "workers", "says"),
    [
        pytest.param(row(), (), "", id="no worker"),
        pytest.param(row(due=NOW + 9), (worker(),), "", id="due"),
        pytest.param(row(), (worker(runtime="3.12"),), "", id="another Python"),
        pytest.param(row(), (worker(),), "", id="nothing"),
        pytest.param(row(), (worker(busy=2),), "all 2 slots of the workers of its queue are busy", id="busy"),
        pytest.param(row(after=(IDS[0],)), (), "it waits for job 00000001", id="a job"),
        pytest.param(row(state=State.RUNNING), (worker(busy=2),), "", id="it has started"),
    ],
)
def test_a_card_is_told_what_it_does_not_show_by_itself(job: Row, workers: tuple[WorkerInfo, ...], says: str) -> None:
    counts = Counts(queues={"gpu": QueueCount(states={State.PENDING: 1})}, workers=workers)
    assert standstill(job, Surroundings(counts=counts, url="redis://server"), NOW) == says


def test_a_card_is_told_of_a_paused_queue_also_without_workers() -> None:
    counts = Counts(queues={"gpu": QueueCount(states={}, paused=True)}, workers=())
    assert "is paused" in standstill(row(), Surroundings(counts=counts, url="redis://server"), NOW)


@pytest.mark.parametrize("state", [State.RUNNING, State.COMPLETED, State.FAILED, State.CANCELLED])
def test_a_job_that_has_started_waits_for_nothing(state: State) -> None:
    assert told(row(state=state)) == ""


def test_a_job_tells_it_of_itself(queue: Queue, hand: Hand) -> None:
    job = queue.enqueue(time.time)
    assert "about to start" in job.why()
    queue.pause()
    assert "is paused" in job.why()
    queue.resume()
    hand.claim()
    assert job.why() == ""
