"""The worker: one asyncio process that claims jobs and sees them through. It never unpickles anything of a user's.

                    ┌─────────────── store ───────────────┐
          wait, claim│          beat│                     │report, finish
              ┌──────▼─────┐   ┌────▼────┐          ┌─────┴────┐
              │  _claim    │   │  Heart  │          │  Funnel  │
              └──────┬─────┘   └────┬────┘          └─────▲────┘
          claims     │      stop,   │ lost                │ events, outcomes
              ┌──────▼──────────────▼─────────────────────┴────┐
              │ slots: one child process each                   │
              └─────────────────────────────────────────────────┘

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
from collections import Counter, OrderedDict
from dataclasses import dataclass

import psutil

from cellq.errors import StoreUnavailable
from cellq.frames import Done, blob, flat
from cellq.ids import new_id, short_id
from cellq.message import Blob, Claim, Ending, Event, Failure, Lane, Lease, Outcome, Part, Topic, WorkerInfo, lane_of
from cellq.options import retry_delay
from cellq.settings import RUNTIME
from cellq.store.contract import Store
from cellq.worker.funnel import STREAM_PACE, Funnel
from cellq.worker.heart import Heart
from cellq.worker.nursery import Nursery
from cellq.worker.slot import RECALL_AFTER, Ended, Slot, Watcher, Why, alone

log = logging.getLogger("cellq.worker")

_LOOK_AGAIN = 1.0
"""Seconds after which an idle worker looks for jobs of workers that died: nobody rings for those."""

_KEPT_CODE = 64
_MOST_PER_CLAIM = 512


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
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self.id = new_id()
        self.started = asyncio.Event()
        self._store = store
        self._settings = settings
        self._nursery = Nursery(store.spill_dir, settings.preload, self._on_warm)
        self._slots: list[Slot] = []
        self._backlog: list[tuple[float, Claim]] = []
        self._code: OrderedDict[bytes, Blob | None] = OrderedDict()
        self._fetching: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._more = set(Lane)  # those in which there may be something to claim
        self._looked = asyncio.Event()
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
            StoreUnavailable, WorkerUnavailable: it could not start.
        """
        settings = self._settings
        self._nursery.start()
        kinds = [(Lane.SYNC, 1)] * settings.slots + [(Lane.COROUTINES, settings.concurrency)] * bool(
            settings.concurrency
        )
        self._slots += [
            Slot(
                self._nursery,
                self,
                lane,
                concurrency=concurrency,
                grace=settings.grace,
                max_jobs=settings.max_jobs,
                max_memory=settings.max_memory,
            )
            for lane, concurrency in kinds
        ]
        funnel = asyncio.create_task(self._funnel.run(), name="funnel")
        loops: list[asyncio.Task[None]] = []
        try:
            await self._heart.beat()
            await asyncio.gather(*(slot.start() for slot in self._slots))
            loops = [
                asyncio.create_task(self._heart.run(), name="heart"),
                asyncio.create_task(self._claim_forever(), name="claim"),
                asyncio.create_task(self._listen_forever(), name="listen"),
                asyncio.create_task(self._recall_forever(), name="recall"),
            ]
            self.started.set()
            log.info("worker %s is ready: %d slots, queues %s", short_id(self.id), settings.slots, settings.queues)
            stopping = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([*loops, stopping], return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            for task in done:
                if task is not stopping:
                    task.result()  # a loop ends only by an error, which is ours to show
            loops[1].cancel()
            await asyncio.gather(loops[1], return_exceptions=True)
            await self._drain()
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, *self._fetching, return_exceptions=True)
            for slot in self._slots:
                await slot.close()
            await self._nursery.close()
            self._funnel.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(funnel, settings.lease)
            with contextlib.suppress(StoreUnavailable):
                await self._store.beat(self.introduce(lease=0.0), [])

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
        return held + [claim.lease for _, claim in self._backlog]

    # -------------------------------------------------------------------------------- claiming

    async def _claim_forever(self) -> None:
        """Claim while there may be something to claim and somewhere to put it.

        After a claim that gave less than was asked for there is nothing more for that lane, until the store rings, a
        delayed job is due, or it is time to look for what dead workers held. When it gave several jobs, jobs stream
        in, and the next claim waits a little: each transaction of ours stands in the way of those who push. Single
        jobs, one after the other, are claimed at once.
        """
        loop = asyncio.get_running_loop()
        earliest = 0.0
        while True:
            self._wake.clear()
            self._place()
            room = {lane: free if lane in self._more else 0 for lane, free in self._free().items()}
            pause = _LOOK_AGAIN
            if any(room.values()):
                if (early := earliest - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                try:
                    # Whoever rings from here on is heard. A lane that is not asked for may have more all the same.
                    self._more -= {lane for lane in Lane if room[lane]}
                    self._looked.set()
                    claims, next_due = await self._store.claim(self.id, self._settings.queues, room, RUNTIME)
                except StoreUnavailable as error:
                    log.error("%s; trying again", error)
                    self._more = set(Lane)
                    await asyncio.sleep(_LOOK_AGAIN * self._random.uniform(0.5, 1.0))
                    continue
                now = time.monotonic()
                earliest = 0.0
                if claims:
                    self._backlog += [(now, claim) for claim in claims]
                    self._place()
                    self._active.set()
                    self._last_busy = now
                    given = Counter(lane_of(claim.kind) for claim in claims)
                    full = {lane for lane, asked in room.items() if asked and given[lane] == asked}
                    self._more |= full
                    if len(claims) > 1 and not full:
                        earliest = now + STREAM_PACE
                    continue
                if next_due is not None:
                    pause = min(pause, max(0.0, next_due - time.time()))
            if self._idle_for() > (self._settings.idle_exit or float("inf")):
                log.info("nothing to do for %.0f s: the worker ends", self._idle_for())
                self.stop()
            timer = loop.call_later(pause, self._look_again)
            await self._wake.wait()
            timer.cancel()

    async def _listen_forever(self) -> None:
        cursor = 0
        while True:
            cursor = await self._store.wait(Topic.WORK, cursor, None)
            self._look_again()
            # Until somebody looks, further rings tell nothing new; a busy worker must not be woken by each.
            self._looked.clear()
            await self._looked.wait()

    def _look_again(self) -> None:
        self._more = set(Lane)
        self._wake.set()

    def _free(self) -> dict[Lane, int]:
        room = {Lane.SYNC: 0, Lane.COROUTINES: 0}
        for slot in self._slots:
            room[slot.lane] += slot.room()
        waiting = Counter(lane_of(claim.kind) for _, claim in self._backlog)
        return {lane: max(0, min(free, _MOST_PER_CLAIM) - waiting[lane]) for lane, free in room.items()}

    def _place(self) -> None:
        """Give waiting claims to slots: those that run alone to idle ones, the rest in even shares."""
        backlog, self._backlog = self._backlog, []
        for lane in Lane:
            mine = [entry for entry in backlog if lane_of(entry[1].kind) is lane]
            if mine:
                self._backlog += self._place_in([slot for slot in self._slots if slot.lane is lane], mine)

    def _place_in(self, slots: list[Slot], entries: list[tuple[float, Claim]]) -> list[tuple[float, Claim]]:
        """Place what has room in these slots; gives what has not."""
        left: list[tuple[float, Claim]] = []
        small: list[tuple[float, Claim]] = []
        idle = [slot for slot in slots if slot.idle]
        for entry in entries:
            if slots[0].lane is Lane.COROUTINES or not alone(entry[1]):
                small.append(entry)
            elif idle:
                idle.pop(0).give([entry[1]])
            else:
                left.append(entry)
        open_slots = sorted((slot for slot in slots if slot.room()), key=lambda slot: len(slot.placed))
        while small and open_slots:
            slot = open_slots.pop(0)
            share = min(slot.room(), -(-len(small) // (len(open_slots) + 1)))
            slot.give([claim for _, claim in small[:share]])
            del small[:share]
        return left + small

    async def _recall_forever(self) -> None:
        """Watch for jobs that wait behind a long one, in a slot or in the backlog."""
        while True:
            await self._active.wait()  # an idle worker needs no watching
            self._active.clear()
            while any(slot.placed for slot in self._slots) or self._backlog:
                await asyncio.sleep(RECALL_AFTER)
                for slot in self._slots:
                    slot.recall()
                patience = time.monotonic() - 10 * RECALL_AFTER
                for since, claim in self._backlog:
                    if since < patience:
                        self._release(claim)
                self._backlog = [(since, claim) for since, claim in self._backlog if since >= patience]

    def _idle_for(self) -> float:
        if self._backlog or any(slot.placed for slot in self._slots):
            self._last_busy = time.monotonic()
        return time.monotonic() - self._last_busy

    # ------------------------------------------------------------------------- what slots report

    def heard(self, event: Event) -> None:
        self._funnel.event(event)

    def freed(self) -> None:
        if self._more or self._backlog or self._stopping.is_set():
            self._wake.set()  # else nobody waits for room

    def returned(self, claims: list[Claim]) -> None:
        now = time.monotonic()
        if self._stopping.is_set():
            for claim in claims:
                self._release(claim)
        else:
            self._backlog = [(now, claim) for claim in claims] + self._backlog
        self._wake.set()

    def wanted(self, slot: Slot, claim: Claim) -> None:
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
                await asyncio.sleep(_LOOK_AGAIN)
        if row is not None and row.code is not None:
            self._code[claim.code] = row.code
            if len(self._code) > _KEPT_CODE:
                self._code.popitem(last=False)
        self._teach(slot, claim.code)

    def _teach(self, slot: Slot, digest: bytes) -> None:
        sealed = self._code.get(digest)
        slot.learn(digest, None if sealed is None else flat(sealed))

    def ended(self, ended: Ended) -> None:
        outcome = self._outcome(ended)
        if outcome is not None:
            self._funnel.outcome(outcome)

    def _outcome(self, ended: Ended) -> Outcome | None:
        """What an ended attempt means for its job."""
        claim, why, done = ended.placed.claim, ended.placed.why, ended.done
        lease = claim.lease
        if why is Why.LOST:
            return None
        if done is not None and done.status == "ok":
            return Outcome(lease=lease, ending=Ending.COMPLETED, result=_blob(done.result))
        stopped = done is None or done.status == "interrupted"
        if why is Why.SHUTDOWN and stopped:
            return Outcome(lease=lease, ending=Ending.RELEASED)
        if why is Why.CANCEL and stopped:
            failure = Failure(cause="cancelled", message="cancelled while it was running")
            return Outcome(lease=lease, ending=Ending.CANCELLED, failure=failure, result=_result(done))
        if not ended.started:
            return Outcome(lease=lease, ending=Ending.RELEASED)
        failure, error = self._failure(claim, why if stopped else None, done, ended.how)
        may_retry = failure.cause in ("exception", "timeout", "lost") and claim.attempt <= claim.retries
        if may_retry:
            delay = retry_delay(claim.backoff, claim.attempt, self._random)
            return Outcome(lease=lease, ending=Ending.RETRY, failure=failure, error=error, delay=delay)
        return Outcome(lease=lease, ending=Ending.FAILED, failure=failure, error=error, result=_result(done))

    def _failure(self, claim: Claim, why: Why | None, done: Done | None, how: str) -> tuple[Failure, Blob | None]:
        said = None if done is None or done.failure is None else done.failure
        if why is Why.TIMEOUT:
            message = f"stopped: one attempt took longer than its timeout of {claim.timeout:g} s"
            return Failure(cause="timeout", message=message, traceback=said[3] if said else ""), None
        if said is None:
            message = f"the process that ran it {how}"
            return Failure(cause="lost", message=message), None
        cause, types, message, traceback = said
        assert done is not None
        return Failure(cause=cause, types=tuple(types), message=message, traceback=traceback), _blob(done.error)

    def _release(self, claim: Claim) -> None:
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
        if any(slot.stop(lease, why) for slot in self._slots):
            return True
        for waiting in self._backlog:
            if waiting[1].lease == lease:
                self._backlog.remove(waiting)
                if why is Why.CANCEL:
                    failure = Failure(cause="cancelled", message="cancelled before it was started")
                    self._funnel.outcome(Outcome(lease=lease, ending=Ending.CANCELLED, failure=failure))
                return True
        return False

    async def _drain(self) -> None:
        log.info("worker %s drains", short_id(self.id))
        for slot in self._slots:
            slot.recall(force=True)
        for _, claim in self._backlog:
            self._release(claim)
        self._backlog = []
        deadline = time.monotonic() + self._settings.drain
        while any(slot.placed for slot in self._slots):
            left = deadline - time.monotonic()
            if left <= 0 or self._hurry.is_set():
                break
            await self._until_news_or_hurry(left)
        for slot in self._slots:
            for placed in list(slot.placed.values()):
                slot.stop(placed.claim.lease, Why.SHUTDOWN)
        last = time.monotonic() + self._settings.grace + 2.0
        while any(slot.placed for slot in self._slots) and time.monotonic() < last:
            await self._until_news_or_hurry(0.2)

    async def _until_news_or_hurry(self, timeout: float) -> None:
        self._wake.clear()
        waits = [asyncio.create_task(self._wake.wait())]
        if not self._hurry.is_set():
            waits.append(asyncio.create_task(self._hurry.wait()))
        await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _blob(value: bytes | tuple[str, int] | None) -> Blob | None:
    return None if value is None else blob(value)


def _result(done: Done | None) -> Blob | None:
    return None if done is None else _blob(done.result)
