"""`cellq.testing`: jobs run in the test's own process, all of them, without anybody waiting for delays."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

import pytest

import cellq
from cellq.testing import InlineWorker, inline

sent: list[str] = []
worker = cellq.Worker("emails", url="memory://never-used")


def deliver(to: str) -> None:
    raise OSError("no mail server here")


@worker.task(max_tries=3)
async def send_email(to: str) -> str:
    deliver(to)
    return f"sent to {to}"


@worker.task()
def newsletter(readers: list[str]) -> int:
    return len(send_email.map(readers))


def test_jobs_run_in_this_process_and_only_when_told(cellq_queue: cellq.Queue, cellq_drain: Callable[[], int]) -> None:
    job = cellq_queue.enqueue(os.getpid)
    assert job.state is cellq.State.PENDING
    assert cellq_drain() == 1
    assert job.result() == os.getpid()
    assert cellq_drain() == 0


def test_patches_reach_a_registered_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.deliver", sent.append)
    with inline(worker) as running:
        job = newsletter.enqueue(["a@example.org", "b@example.org"])
        assert running.drain() == 3  # with what the first has enqueued
        assert job.result() == 2
    assert sent == ["a@example.org", "b@example.org"]
    assert worker.url == "memory://never-used"


def test_retries_are_run_without_waiting_for_them() -> None:
    with inline(worker) as running:
        job = send_email.options(backoff=3600.0).enqueue("a@example.org")
        assert running.drain() == 3
        with pytest.raises(cellq.JobFailed, match="no mail server here"):
            job.result()


def test_middleware_wraps_the_jobs(cellq_worker: InlineWorker) -> None:
    seen: list[tuple[str, int]] = []

    class Logger(cellq.Middleware):
        async def handle(self, message: cellq.Message, next_handler: cellq.Handler) -> object:
            seen.append((message.task, message.kwargs["number"]))
            return await next_handler(message)

    logged = cellq.Worker("numbers", url="memory://", middlewares=[Logger()])

    @logged.task()
    async def double(number: int) -> int:
        return 2 * number

    with inline(logged) as running:
        job = double.enqueue(number=21)
        running.drain()
        assert job.result() == 42
    assert seen == [("numbers:double", 21)]


def test_timeouts_and_progress_of_coroutines(cellq_queue: cellq.Queue, cellq_drain: Callable[[], int]) -> None:
    async def stuck() -> None:
        cellq.progress(1, 2)
        await asyncio.Event().wait()

    job = cellq_queue.options(timeout=0.05).enqueue(stuck)
    cellq_drain()
    with pytest.raises(cellq.JobTimeout):
        job.result()
    assert job.progress


async def test_draining_works_inside_of_an_event_loop(cellq_queue: cellq.Queue, cellq_drain: Callable[[], int]) -> None:
    job = await cellq_queue.asynchronous().enqueue(time.monotonic)
    cellq_drain()
    assert await job > 0


def test_a_job_without_end_is_noticed(cellq_queue: cellq.Queue, cellq_drain: Callable[[], int]) -> None:
    def again() -> None:
        raise cellq.RetryMessage(60.0, "not yet")

    cellq_queue.enqueue(again)
    with pytest.raises(AssertionError, match="for ever"):
        cellq_drain()


def test_a_cell_is_refused(cellq_worker: InlineWorker) -> None:
    job = cellq_worker.queue.push_cell("a parcel", task="cell", origin="{}")
    cellq_worker.drain()
    with pytest.raises(cellq.JobFailed, match="needs a real worker"):
        job.result()


def test_jobs_among_arguments_become_their_results(cellq_queue: cellq.Queue, cellq_drain: Callable[[], int]) -> None:
    group = cellq_queue.map(abs, [-1, -2])
    job = cellq_queue.enqueue(sum, group)
    assert cellq_drain() == 3
    assert job.result() == 3
    cellq_queue.pause()
    orphan = cellq_queue.enqueue(abs, job)
    cellq_queue.delete([job])
    cellq_queue.resume()
    cellq_drain()
    with pytest.raises(cellq.JobFailed, match="is gone: that job was pruned or deleted"):
        orphan.result()


def test_registered_tasks_take_results_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.deliver", lambda to: None)
    with inline(worker) as running:
        first = send_email.enqueue("a@example.org")
        job = newsletter.enqueue([first])  # type: ignore[list-item]
        running.drain()
        assert job.result() == 1
