"""The worker: one asyncio process that claims jobs and sees them through. It never unpickles anything of a user's.

                    ┌─────────────── store ───────────────┐
          wait, claim│          beat│                     │report, finish
              ┌──────▼─────┐   ┌────▼────┐          ┌─────┴────┐
              │  Claimer   │   │  Heart  │          │  Funnel  │
              └──────┬─────┘   └────┬────┘          └─────▲────┘
   Handling, Backlog │      stop,   │ lost                │ events, outcomes
              ┌──────▼──────────────▼─────────────────────┴────┐
              │ slots: one child process each                   │
              └─────────────────────────────────────────────────┘

Claims of jobs that have middleware go through `Handling`, then those that take results of other jobs through `Inputs`;
all others go straight into the backlog.

Shutdown: the first `stop()` claims no more and lets what runs go on for `drain` seconds; what has not ended by then is
interrupted and released, so that another worker runs it and no attempt is lost. A second `stop()` does that at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import socket
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from cellq.errors import StoreUnavailable
from cellq.frames import flat
from cellq.ids import new_id, short_id
from cellq.message import Blob, Claim, Ending, Event, Failure, Lane, Lease, Outcome, Part, WorkerInfo
from cellq.settings import RUNTIME, secret
from cellq.store.contract import Store
from cellq.worker.backlog import Backlog
from cellq.worker.claiming import Claimer
from cellq.worker.funnel import Funnel
from cellq.worker.handling import Handling
from cellq.worker.heart import Heart
from cellq.worker.inputs import Inputs
from cellq.worker.nursery import Nursery
from cellq.worker.outcomes import outcome_of, refused
from cellq.worker.program import Program
from cellq.worker.slot import RECALL_AFTER, Ended, Slot, Watcher, Why
from cellq.worker.ticking import Ticker

log = logging.getLogger("cellq.worker")

_KEPT_CODE = 64
_TRY_AGAIN = 1.0  # seconds until the store is asked again that could not be reached
_FAREWELL = 3.0  # seconds that an ended worker tries to say so: a container has ten until it is killed


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a worker works. Durations are seconds, memory is bytes.

    Args:
        queues: names of the queues it serves.
        slots: how many calls and cells it runs at a time.
        concurrency: how many coroutine jobs it runs at a time, all in one more child.
        lease: how long it may be silent before its jobs are taken back.
        grace: time between asking a job to stop and killing it.
        drain: time that running jobs are given at shutdown.
        idle_exit: stop after having had nothing to do for so long; None: never.
        max_jobs, max_memory: when a slot's process is replaced by a new one; None: never.
        keep: cells do not get a process of their own: those of a slot share one, and what is left in it.
        preload: modules to import ahead of need: slots have them soon after the worker has started.
    """

    queues: tuple[str, ...] = ("default",)
    slots: int = 2
    concurrency: int = 100
    lease: float = 15.0
    grace: float = 2.0
    drain: float = 10.0
    idle_exit: float | None = None
    max_jobs: int | None = None
    max_memory: int | None = None
    keep: bool = False
    preload: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.queues or not all(isinstance(q, str) and q for q in self.queues):
            raise ValueError(f"queues must be names of queues, not {self.queues!r}")
        for name in ("slots", "concurrency"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise ValueError(f"{name} must be a whole number of 0 or more, not {value!r}")
        if self.slots + self.concurrency == 0:
            raise ValueError("a worker needs a slot, or a concurrency of at least 1")
        if not self.lease > 0:
            raise ValueError(f"lease must be more than 0 seconds, not {self.lease!r}")


class Supervisor(Watcher):
    """Claims, places, and turns what comes out of slots into outcomes.

    Args:
        store: an open store.
        settings: how to work.
        program: the tasks it knows by name, and middleware.
    """

    def __init__(self, store: Store, settings: Settings, program: Program | None = None) -> None:
        self.id = new_id()
        self.started = asyncio.Event()
        self._store = store
        self._settings = settings
        self._nursery = Nursery(store.spill_dir, settings.preload, self._on_warm)
        kinds = [(Lane.SYNC, 1)] * settings.slots
        if settings.concurrency:
            kinds.append((Lane.COROUTINES, settings.concurrency))
        self._slots = [
            Slot(
                self._nursery,
                self,
                lane,
                concurrency=concurrency,
                grace=settings.grace,
                max_jobs=settings.max_jobs,
                max_memory=settings.max_memory,
                keep=settings.keep,
            )
            for lane, concurrency in kinds
        ]
        self._program = program or Program()
        self._handling = Handling(store, self, self._program)
        self._backlog = Backlog(self._slots, self._elsewhere)
        self._inputs = Inputs(store, self._backlog.add, self._unsupplied)
        self._ticker = Ticker(store, self._program.reseal)
        self._claimer = Claimer(store, self.id, settings.queues, self._backlog, self._admit)
        self._code: OrderedDict[bytes, Blob | None] = OrderedDict()
        self._fetching: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()  # for `_drain`
        self._active = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._last_busy = time.monotonic()
        self._random = random.Random()
        self._process = psutil.Process()
        self._funnel = Funnel(store, self._on_stale)
        self._heart = Heart(
            store,
            introduce=self.introduce,
            leases=self.leases,
            on_lost=self._on_stale,
            on_cancel=self._on_cancel,
        )

    # -------------------------------------------------------------------------------------- life

    async def run(self) -> None:
        """Work until stopped.

        Raises:
            StoreUnavailable, WorkerUnavailable, CellqError: it could not start.
        """
        secret()  # what is wrong with it is said here, before slots are made that need it
        settings = self._settings
        self._nursery.start()
        funnel = asyncio.create_task(self._funnel.run(), name="funnel")
        loops: list[asyncio.Task[None]] = []
        try:
            await self._heart.beat()
            await asyncio.gather(*(slot.start() for slot in self._slots))
            loops = [
                asyncio.create_task(self._claimer.run(), name="claim"),
                asyncio.create_task(self._claimer.listen(), name="listen"),
                asyncio.create_task(self._heart.run(), name="heart"),
                asyncio.create_task(self._recall_forever(), name="recall"),
                asyncio.create_task(self._watch_idleness(), name="idle"),
            ]
            self.started.set()
            log.info("worker %s is ready: %d slots, queues %s", short_id(self.id), settings.slots, settings.queues)
            stopping = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([*loops, funnel, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for task in done:
                if task is not stopping:
                    task.result()  # a loop ends only by an error, which is ours to show
            claiming = loops[:2]
            for task in claiming:
                task.cancel()
            await asyncio.gather(*claiming, return_exceptions=True)
            await self._drain()
        finally:
            for task in (*loops, *self._fetching):
                task.cancel()
            await asyncio.gather(*loops, *self._fetching, return_exceptions=True)
            await self._inputs.close()
            for slot in self._slots:
                await slot.close()
            await self._nursery.close()
            await self._handling.close()
            await self._ticker.close(settings.lease)
            self._funnel.close()
            if not funnel.done():  # else by an error, which is on its way already
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(funnel, settings.lease)
            try:
                await asyncio.wait_for(self._store.beat(self.introduce(lease=0.0), []), _FAREWELL)
            except (StoreUnavailable, TimeoutError):
                log.warning(
                    "worker %s ends while its store is away; it is listed until its lease ends", short_id(self.id)
                )

    def stop(self) -> None:
        """Drain and end; called again: end now."""
        if self._stopping.is_set():
            self._hurry.set()
        self._stopping.set()

    def introduce(self, lease: float | None = None) -> WorkerInfo:
        """This worker as others see it."""
        busy = sum(len(slot.placed) for slot in self._slots)
        jobs = [
            {"id": p.claim.lease.id.hex(), "task": p.claim.task, "pid": slot.pid}
            for slot in self._slots
            for p in list(slot.placed.values())[:8]
        ]
        detail = {"jobs": jobs, "pids": [slot.pid for slot in self._slots]}
        return WorkerInfo(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._process.create_time(),
            runtime=RUNTIME,
            queues=self._settings.queues,
            slots=self._settings.slots,
            busy=busy,
            lease=self._settings.lease if lease is None else lease,
            detail=json.dumps(detail),
        )

    def leases(self) -> list[Lease]:
        """What this worker holds."""
        held = [p.claim.lease for slot in self._slots for p in slot.placed.values()]
        return held + self._backlog.leases() + self._inputs.leases() + self._handling.leases() + self._ticker.leases()

    async def _recall_forever(self) -> None:
        """Watch for jobs that wait behind a long one, in a slot or in the backlog."""
        while True:
            await self._active.wait()  # an idle worker needs no watching
            self._active.clear()
            while any(slot.placed for slot in self._slots) or self._backlog:
                await asyncio.sleep(RECALL_AFTER)
                for slot in self._slots:
                    slot.recall()
                for claim in self._backlog.overdue(10 * RECALL_AFTER):
                    self._release(claim)

    async def _watch_idleness(self) -> None:
        """Stop once there was nothing to do for as long as the settings say."""
        while not self._stopping.is_set():
            idle = self._idle_for()
            if idle > (self._settings.idle_exit or float("inf")):
                log.info("nothing to do for %.0f s: the worker ends", idle)
                self.stop()
            await asyncio.sleep(1.0)

    def _idle_for(self) -> float:
        if self._backlog or self._busy():
            self._last_busy = time.monotonic()
        return time.monotonic() - self._last_busy

    def _busy(self) -> bool:
        return bool(self._handling) or bool(self._inputs) or any(slot.placed for slot in self._slots)

    def _elsewhere(self) -> Mapping[Lane, int]:
        """How many claims of each lane will come into the backlog."""
        held = self._handling.held()
        if self._inputs:
            held.update(self._inputs.lanes())
        return held

    def _admit(self, claims: list[Claim]) -> list[Claim]:
        """Take in what was claimed; gives what can be placed at once."""
        self._active.set()
        self._last_busy = time.monotonic()
        accepted = []
        for claim in self._ticker.take(claims):
            if reason := self._program.refusal(claim):
                self._funnel.outcome(refused(claim, reason))
            else:
                accepted.append(claim)
        return self._inputs.begin(self._handling.begin(accepted))

    # ------------------------------------------------------------------------- what slots report

    def heard(self, event: Event) -> None:
        self._funnel.event(event)

    def freed(self) -> None:
        self._claimer.freed()
        self._news.set()

    def returned(self, claims: list[Claim]) -> None:
        if self._stopping.is_set():
            for claim in claims:
                self._release(claim)
        else:
            self._backlog.put_back(claims)
        self.freed()

    def wanted(self, slot: Slot, claim: Claim) -> None:
        if (place := self._program.tasks.get(claim.code)) is not None:
            slot.learn_task(claim.code, place)
            return
        if claim.code in self._code:
            self._code.move_to_end(claim.code)
            self._teach(slot, claim.code)
            return
        task = asyncio.create_task(self._fetch(slot, claim))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)

    async def _fetch(self, slot: Slot, claim: Claim) -> None:
        while True:
            try:
                (row,) = await self._store.get([claim.lease.id], [Part.CODE])
                break
            except StoreUnavailable as error:
                log.error("%s; trying again", error)
                await asyncio.sleep(_TRY_AGAIN)
        if row is not None and row.code is not None:
            self._code[claim.code] = row.code
            if len(self._code) > _KEPT_CODE:
                self._code.popitem(last=False)
        self._teach(slot, claim.code)

    def _teach(self, slot: Slot, digest: bytes) -> None:
        sealed = self._code.get(digest)
        slot.learn(digest, None if sealed is None else flat(sealed))

    def ended(self, ended: Ended) -> None:
        if self._handling.ended(ended):
            return
        outcome = self.outcome(ended)
        if outcome is not None:
            self._funnel.outcome(outcome)

    def _unsupplied(self, outcome: Outcome) -> None:
        if not self._handling.failed(outcome):
            self._funnel.outcome(outcome)
        self.freed()

    # -------------------------------------------------------------------- what handling asks for (see `Desk`)

    def place(self, claim: Claim) -> None:
        self._backlog.add(self._inputs.begin([claim]))

    def withdraw(self, lease: Lease) -> bool:
        slot = self._slot_of(lease)
        if slot is None:
            self._take_out(lease)
            return False
        slot.stop(lease, Why.CANCEL)
        return True

    def outcome(self, ended: Ended) -> Outcome | None:
        outcome = outcome_of(ended, self._random)
        if outcome is not None and outcome.failure is not None and outcome.failure.cause == "untrusted":
            log.warning("job %s was refused: %s", short_id(outcome.lease.id), outcome.failure.message)
        return outcome

    def finish(self, outcome: Outcome) -> None:
        self._funnel.outcome(outcome)

    # ---------------------------------------------------------------------------------------- giving back

    def _release(self, claim: Claim) -> None:
        if not self._handling.stop(claim.lease, Why.SHUTDOWN):
            self._funnel.outcome(Outcome(lease=claim.lease, ending=Ending.RELEASED))

    def _on_warm(self) -> None:
        for slot in self._slots:
            slot.renew()

    # ---------------------------------------------------------------------------------- stopping

    def _on_stale(self, lease: Lease) -> None:
        if self._stop_job(lease, Why.LOST):
            log.warning("job %s was lost to another worker; attempt %d is stopped", short_id(lease.id), lease.attempt)

    def _on_cancel(self, lease: Lease) -> None:
        self._stop_job(lease, Why.CANCEL)

    def _stop_job(self, lease: Lease, why: Why) -> bool:
        """Stop a job wherever it is; whether that was news."""
        slot = self._slot_of(lease)
        if slot is not None:
            return slot.stop(lease, why)
        waited = self._take_out(lease)
        if self._handling.stop(lease, why):
            return True
        if waited and why is Why.CANCEL:
            failure = Failure(cause="cancelled", message="cancelled before it was started")
            self._funnel.outcome(Outcome(lease=lease, ending=Ending.CANCELLED, failure=failure))
        return waited

    def _take_out(self, lease: Lease) -> bool:
        return self._backlog.take_out(lease) or self._inputs.take_out(lease)

    def _slot_of(self, lease: Lease) -> Slot | None:
        for slot in self._slots:
            if any(placed.claim.lease == lease for placed in slot.placed.values()):
                return slot
        return None

    async def _drain(self) -> None:
        log.info("worker %s drains", short_id(self.id))
        for slot in self._slots:
            slot.recall(force=True)
        for claim in self._backlog.take_all() + self._inputs.take_all():
            self._release(claim)
        self._handling.release()
        deadline = time.monotonic() + self._settings.drain
        while self._busy():
            left = deadline - time.monotonic()
            if left <= 0 or self._hurry.is_set():
                break
            await self._until_news_or_hurry(left)
        for slot in self._slots:
            for placed in list(slot.placed.values()):
                slot.stop(placed.claim.lease, Why.SHUTDOWN)
        last = time.monotonic() + self._settings.grace + 2.0
        while self._busy() and time.monotonic() < last:
            await self._until_news_or_hurry(0.2)

    async def _until_news_or_hurry(self, timeout: float) -> None:
        self._news.clear()
        waits = [asyncio.create_task(self._news.wait())]
        if not self._hurry.is_set():
            waits.append(asyncio.create_task(self._hurry.wait()))
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
