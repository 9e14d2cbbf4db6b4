"""A worker that meets what should not be ends, or goes on, but never stands still."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence

import pytest

import cellq
from cellq.errors import StoreUnavailable
from cellq.ids import new_id
from cellq.message import Kind, Message, Outcome, Part, Row
from cellq.options import Options
from cellq.settings import RUNTIME
from cellq.store.memory import MemoryStore
from cellq.worker.supervisor import Settings, Supervisor

CODE = b"c" * 32
JOB = Message(
    id=new_id(), kind=Kind.CALL, task="t", code=CODE, payload=b"", runtime=RUNTIME, options=Options(), origin=""
)


def fail_with_a_name_that_is_no_text():
    raise ValueError(os.fsdecode(b"\xff"))


def one():
    return 1


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    store = MemoryStore()
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def working(store: MemoryStore) -> AsyncIterator[tuple[Supervisor, asyncio.Task[None]]]:
    """A worker in this program, and the task that it is."""
    worker = Supervisor(store, Settings(slots=1, concurrency=0, grace=0.5, drain=0.5, lease=5.0))
    running = asyncio.create_task(worker.run())
    started = asyncio.create_task(worker.started.wait())
    await asyncio.wait([running, started], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    assert worker.started.is_set()
    yield worker, running
    running.cancel()
    await asyncio.wait([running], timeout=30)


def test_an_exception_whose_words_are_no_text_fails_its_own_job_only(queue: cellq.Queue) -> None:
    with cellq.Worker(queue, slots=1):
        with pytest.raises(cellq.JobFailed, match="udcff"):
            queue.enqueue(fail_with_a_name_that_is_no_text).result(timeout=30)
        assert queue.enqueue(one).result(timeout=30) == 1


async def test_a_worker_that_cannot_write_what_became_of_jobs_ends_and_says_why(
    store: MemoryStore, working: tuple[Supervisor, asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(outcomes: Sequence[Outcome]) -> list[bool]:
        raise ZeroDivisionError("a fault of the store")

    monkeypatch.setattr(store, "finish", broken)
    await store.push([JOB], {CODE: b"not signed by anybody"})
    _, running = working
    with pytest.raises(ZeroDivisionError, match="a fault of the store"):
        await asyncio.wait_for(asyncio.shield(running), 30)


async def test_a_worker_that_waits_for_code_can_be_stopped(
    store: MemoryStore, working: tuple[Supervisor, asyncio.Task[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def away(ids: Sequence[bytes], parts: Sequence[Part] = ()) -> list[Row | None]:
        asked.set()
        raise StoreUnavailable("away")

    monkeypatch.setattr(store, "get", away)
    await store.push([JOB], {CODE: b"not signed by anybody"})
    await asyncio.wait_for(asked.wait(), 30)
    worker, running = working
    worker.stop()
    worker.stop()
    await asyncio.wait_for(asyncio.shield(running), 30)
