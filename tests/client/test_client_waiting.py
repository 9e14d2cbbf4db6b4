"""`job.why()` tells what a pending job waits for, and nothing of one that has started."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from playing import Hand

from cellq.client.sync import Queue
from cellq.client.waiting import why
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
        runtime="3.11",
        code_digest=b"",
        created=NOW,
        due=None,
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


def told(job: Row, *workers: WorkerInfo, paused: bool = False, pending: int = 1) -> str:
    line = QueueCount(states={State.PENDING: pending}, paused=paused)
    return why(job, Counts(queues={"gpu": line}, workers=workers), "redis://server", NOW)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        pytest.param(told(row()), "cellq worker --url redis://server -q gpu", id="no worker"),
        pytest.param(told(row(), worker(queues=("default",))), "no worker serves its queue 'gpu'", id="other queues"),
        pytest.param(told(row(), worker(runtime="3.12")), "Python 3.11, as it was enqueued; those", id="Python"),
        pytest.param(told(row(), worker(), paused=True), "'gpu' is paused: cellq resume gpu", id="paused"),
        pytest.param(told(row(due=NOW + 90), worker()), "it is not due before 90 s from now", id="due"),
        pytest.param(told(row(due=NOW + 9, attempt=1), worker()), "its next attempt is not due before 9 s", id="retry"),
        pytest.param(told(row(), worker(busy=2), pending=5), "are busy; 4 other jobs wait", id="busy"),
        pytest.param(told(row(), worker(slots=0)), "no slots for calls", id="coroutines only"),
        pytest.param(told(row(kind=Kind.COROUTINE), worker(slots=0)), "about to start", id="a coroutine needs no slot"),
        pytest.param(told(row(), worker()), "it is about to start", id="nothing"),
    ],
)  # fmt: skip
def test_it_names_what_stands_in_the_way(told: str, says: str) -> None:
    assert says in told


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
