"""For tests of programs that use cellq: a queue in memory, and a worker that runs jobs in the test's own process.

```python
pytest_plugins = ["cellq.testing"]  # in conftest.py


def test_simulate(cellq_queue, cellq_drain):
    job = cellq_queue.enqueue(simulate, 0.1)
    cellq_drain()
    assert job.result() == 42


def test_send_email(monkeypatch):
    monkeypatch.setattr(myapp.emails, "smtp", fake := Mock())  # reaches the job: it runs in this process
    with cellq.testing.inline(myapp.emails.worker) as worker:  # its tasks, its middleware, a store in memory
        myapp.emails.send_email.enqueue("a@example.org")
        worker.drain()
    fake.send.assert_called_once()
```

Nothing runs before `drain()`. Then everything does, with what the jobs enqueue themselves; and when only delayed jobs
and retries are left, the store's clock is put forward, so nobody waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from cellq import settings
from cellq.app import Worker
from cellq.client.queue import AsyncQueue
from cellq.client.sync import Queue
from cellq.frames import Done, Ticket, flat
from cellq.ids import new_id
from cellq.message import Claim, Event, Failure, Kind, Lane, Lease, Outcome, Part, WorkerInfo, lane_of
from cellq.runner import context
from cellq.runner.calls import Calls
from cellq.store.memory import MemoryStore
from cellq.wire.sealing import Seal
from cellq.worker.handling import Handling
from cellq.worker.inputs import rows_of, supply
from cellq.worker.outcomes import outcome_of, refused
from cellq.worker.slot import Ended, Placed, Why

_MOST_ATTEMPTS, _MOST_TRIES = 100_000, 100
"""Of all jobs in one `drain`, and of one job: more are taken for a loop without end."""


class InlineWorker:
    """Runs the jobs of a worker in this process, when told to. Coroutines run side by side, functions in threads.

    Everything else is as in a real worker: payloads are signed and pickled, middleware is applied, failures are
    retried. Cells, isolation, and timeouts of functions that are not coroutines need a real one.

    Args:
        worker: whose queues, tasks and middleware.
        store: where its jobs are.

    Attributes:
        queue: the worker's (first) queue.
    """

    def __init__(self, worker: Worker, store: MemoryStore) -> None:
        self.queue = Queue(store=store, name=worker.settings.queues[0])
        self._worker = worker
        self._store = store
        self._ahead = 0.0
        store._clock = lambda: time.time() + self._ahead

    def drain(self) -> int:
        """Run all that waits, until nothing does; gives how many attempts that were.

        Raises:
            AssertionError: there is no end to it.
        """
        outcome: list[int | BaseException] = []

        def run() -> None:
            try:
                outcome.append(asyncio.run(_Drain(self._worker, self._store, self._put_forward).run()))
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=run, name="cellq-inline")  # the caller's may be in an event loop
        thread.start()
        thread.join()
        (one,) = outcome
        if isinstance(one, BaseException):
            raise one
        return one

    def _put_forward(self, seconds: float) -> None:
        self._ahead += seconds


class _Drain:
    """One `drain`: claims until there is nothing more."""

    def __init__(self, worker: Worker, store: MemoryStore, put_forward: Callable[[float], None]) -> None:
        self._id = new_id()
        self._worker = worker
        self._store = store
        self._put_forward = put_forward
        self._program = worker._program()
        self._handling = Handling(store, self, self._program)
        self._functions = {
            digest: task.fn for digest, task in zip(self._program.tasks, worker.tasks.values(), strict=True)
        }
        self._calls = Calls(Seal(settings.secret()), None)
        self._outcomes: list[Outcome] = []
        self._running: dict[Lease, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._attempts = 0

    async def run(self) -> int:
        here = self._worker.settings
        await self._store.beat(
            WorkerInfo(
                id=self._id, host="", pid=os.getpid(), started=0.0, runtime=settings.RUNTIME, queues=here.queues,
                slots=1, lease=1e9,
            ),
            [],
        )  # fmt: skip
        room = {Lane.SYNC: max(here.slots, 1), Lane.COROUTINES: max(here.concurrency, 1)}
        while True:
            claims, next_due = await self._store.claim(self._id, here.queues, room, settings.RUNTIME)
            self._attempts += len(claims)
            if self._attempts > _MOST_ATTEMPTS:
                raise AssertionError(f"more than {_MOST_ATTEMPTS} attempts: do jobs enqueue each other for ever?")
            for claim in claims:
                if claim.attempt > _MOST_TRIES:
                    raise AssertionError(
                        f"{claim.task} has run {_MOST_TRIES} times: does it ask to run again for ever?"
                    )
                if reason := self._refusal(claim):
                    self.finish(refused(claim, reason))
                elif self._handling.begin([claim]):
                    self.place(claim)
            if claims or self._outcomes:
                outcomes, self._outcomes = self._outcomes, []
                await self._store.finish(outcomes)
            elif self._running or self._handling:
                self._changed.clear()
                await self._changed.wait()
            elif next_due is not None:
                self._put_forward(max(0.0, next_due - self._store._clock()) + 0.001)
            else:
                return self._attempts

    def _refusal(self, claim: Claim) -> str:
        if claim.kind is Kind.CELL:
            return "refused: a cell needs a real worker, not one of cellq.testing"
        return self._program.refusal(claim)

    # ------------------------------------------------------------------------- what handling asks of a worker

    def place(self, claim: Claim) -> None:
        """Run a claim."""
        self._running[claim.lease] = asyncio.create_task(self._attempt(claim))

    def withdraw(self, lease: Lease) -> bool:
        """Stop it."""
        self._running[lease].cancel()
        return True

    def outcome(self, ended: Ended) -> Outcome | None:
        """What an ended attempt means."""
        return outcome_of(ended, random.Random())

    def finish(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self._outcomes.append(outcome)
        self._changed.set()

    def freed(self) -> None:
        """Look again."""
        self._changed.set()

    # --------------------------------------------------------------------------------------------- one attempt

    async def _attempt(self, claim: Claim) -> None:
        said = _Said()
        context.enter(
            context.CurrentJob(claim.lease, claim.attempt, claim.task, claim.queue, said), whole_process=False
        )
        placed, done = Placed(claim, 0, 0.0), None
        try:
            async with asyncio.timeout(claim.timeout if claim.kind is Kind.COROUTINE else None):
                done = await self._answer(claim)
        except TimeoutError:
            placed.why = Why.TIMEOUT
        except asyncio.CancelledError:
            placed.why = Why.CANCEL
        await self._store.report(said.events)
        del self._running[claim.lease]
        ended = Ended(placed, done)
        if not self._handling.ended(ended) and (outcome := self.outcome(ended)) is not None:
            self.finish(outcome)
        self._changed.set()

    async def _answer(self, claim: Claim) -> Done:
        began = time.monotonic()
        supplied = supply(claim, await rows_of(self._store, claim.inputs))
        if isinstance(supplied, Failure):
            return Done(0, "error", None, (supplied.cause, (), supplied.message, ""), None, 0.0)
        (job_id, number), payload = claim.lease, flat(claim.payload)
        ticket = Ticket(
            0, job_id, number, claim.kind, claim.task, claim.queue, claim.code, payload, results=supplied.results
        )
        try:
            function = self._functions.get(claim.code)
            if function is None:
                if not self._calls.knows(ticket):
                    (row,) = await self._store.get([claim.lease.id], [Part.CODE])
                    assert row is not None
                    assert row.code is not None
                    self._calls.learn(claim.code, row.code)
                function, args, kwargs = self._calls.open_call(ticket)
            else:
                args, kwargs = self._calls.open_arguments(ticket, homeward=True)
            if lane_of(claim.kind) is Lane.SYNC:
                value = await asyncio.to_thread(function, *args, **kwargs)
            else:
                value = function(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
        except (asyncio.CancelledError, KeyboardInterrupt):
            raise
        except BaseException as error:
            return self._calls.failed(ticket, error, time.monotonic() - began)
        return self._calls.ok(ticket, value, time.monotonic() - began)


class _Said:
    """Takes what a job reports and shows; what it prints stays with the test."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def say(self, job: context.CurrentJob, kind: str, data: str) -> None:
        """Note an event."""
        self.events.append(Event(job.lease, kind, data))

    def mark(self, job: context.CurrentJob) -> None:
        """Note the progress."""
        self.events.append(Event(job.lease, "progress", job.snapshot()))


@contextlib.contextmanager
def inline(worker: Worker) -> Iterator[InlineWorker]:
    """Put a worker, and what its tasks enqueue, on a new store in memory; its jobs run here, when told to.

    A program's own `@cellq.task` functions follow where `CELLQ_URL` decides about their store.
    """
    store = MemoryStore.named(f"testing-{secrets.token_hex(8)}")
    before = worker._full_url, worker._queue
    worker._full_url, worker._queue = store.url, AsyncQueue(store=store, name=worker.settings.queues[0])
    with _environment(CELLQ_URL=store.url, CELLQ_SECRET=os.environ.get("CELLQ_SECRET") or secrets.token_hex(32)):
        _forget_queues(worker)
        try:
            yield InlineWorker(worker, store)
        finally:
            worker._full_url, worker._queue = before
            _forget_queues(worker)
            del MemoryStore._named[store.url.removeprefix("memory://")]


def _forget_queues(worker: Worker) -> None:
    for task in worker.tasks.values():
        vars(task).pop("queue", None)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture
def cellq_worker() -> Iterator[InlineWorker]:
    """A worker without tasks of its own, on a new store in memory; it runs jobs in this process, when told to."""
    with inline(Worker(url="memory://")) as worker:
        yield worker


@pytest.fixture
def cellq_queue(cellq_worker: InlineWorker) -> Queue:
    """A queue in memory, which `cellq_worker` serves."""
    return cellq_worker.queue


@pytest.fixture
def cellq_drain(cellq_worker: InlineWorker) -> Callable[[], int]:
    """Runs all that waits in `cellq_queue`, until nothing does; gives how many attempts that were."""
    return cellq_worker.drain
